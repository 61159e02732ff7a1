"""Which of the packages that an extra needs are installed, and in which version."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "pytest-llmbench"


class Package(NamedTuple):
    """A needed package: the installed version, or None; and what is wrong with it, or nothing."""

    name: str
    version: str | None
    fault: str


def needed_packages(extra: str) -> list[Package]:
    """What the extra adds to the core (`""` is the core itself), each held against the version it must have.

    Raises:
        importlib.metadata.PackageNotFoundError: this distribution itself is not installed.
    """
    return [_package(requirement) for requirement in _requirements(extra) if requirement.name != DISTRIBUTION]


def _requirements(extra: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if _applies(requirement, extra) and not (extra and _applies(requirement, "")):
            yield requirement


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _package(requirement: Requirement) -> Package:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Package(requirement.name, None, f"{requirement.name} is missing")
    if requirement.specifier.contains(version, prereleases=True):
        return Package(requirement.name, version, "")
    return Package(requirement.name, version, f"{requirement.name} {version} is not {requirement.specifier}")
