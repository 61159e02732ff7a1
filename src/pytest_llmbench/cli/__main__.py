"""`python -m pytest_llmbench.cli`: the command line of this very interpreter, wherever its scripts are."""

from __future__ import annotations

from pytest_llmbench.cli import main

main()
