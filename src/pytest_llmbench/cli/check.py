"""`llmbench check`."""

from __future__ import annotations

from pytest_llmbench.cli import findings
from pytest_llmbench.cli.options import Config, Json, ModelOptions, chosen_settings


def check_command(
    *,
    config: Config = None,
    model: ModelOptions,
    as_json: Json = False,
) -> None:
    """Tell what is missing, and what to do about it.

    Looks at Python, PyTorch and GPUs, packages, folders, adapters and the base. Nothing is loaded, converted or
    downloaded. Exit code 3 when something is
    missing, 2 when what you wrote is wrong.
    """
    from pytest_llmbench.benchmark.environment import check_setup
    from pytest_llmbench.benchmark.gate_check import refuse_unjudgeable

    settings = chosen_settings(config, model)
    refuse_unjudgeable(settings)
    found = check_setup(settings)
    if as_json:
        findings.tell_json(found)
    else:
        findings.tell(found)
