"""Refuses wrong settings before anything is loaded or asked: base, adapters, the server's address, expectations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.documents import Faults, suggestion
from pytest_llmbench.core.errors import AdapterError, NotReadyError, UsageError, WrongModelError
from pytest_llmbench.core.starter import present
from pytest_llmbench.generation.ray.cluster import answered_elsewhere

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import Metric

METRIC_ALIASES = {"tool": "tool_accuracy", "keyword": "keywords", "calls": "call_accuracy"}
"""Short names that `expect` takes too, where no metric has them."""

_HOOK = "pytest_llmbench_metrics"
_log = logging.getLogger("pytest_llmbench")


def check_models(settings: Settings) -> None:
    """Refuse a base and adapters that are not there, an engine that cannot run them, or an address that is none.

    What a server answers with is its own business, and what other machines have is looked for there.

    Raises:
        UsageError: one line for each of them.
        NotReadyError: a GGUF file cannot be read.
    """
    faults = Faults()
    if settings.server.url:
        _note_address(settings, faults)
    elif not answered_elsewhere(settings.ray):
        _note_base(settings, faults)
        _note_adapters(settings, faults)
    faults.raise_any()
    if not settings.server.url:
        from pytest_llmbench.benchmark.engines import check_engine

        check_engine(settings)


def check_base(settings: Settings) -> None:
    """Refuse a base that goes by no such name. Raises UsageError."""
    faults = Faults()
    _note_base(settings, faults)
    faults.raise_any()


def check_expectations(cases: Sequence[Case], metrics: Mapping[str, Metric]) -> None:
    """Refuse what no metric can judge.

    Raises:
        UsageError: one line for each `expect` of a metric that is not among `metrics`, or that is `true` where less is
            better: what is best is no score of 1 there.
    """
    faults = Faults()
    known = [*metrics, *(alias for alias, name in METRIC_ALIASES.items() if name in metrics)]
    for case in cases:
        for name, wanted in () if case.epoch else case.expect.items():
            metric = metrics.get(name) or metrics.get(METRIC_ALIASES.get(name, name))
            if metric is None:
                meant = suggestion(name, known) if known else "there are none"
                faults.add(
                    f"{case.source}: {case.name} expects '{name}', which no metric that is switched on gives; {meant}"
                )
            elif isinstance(wanted, bool) and not metric.higher_is_better:
                faults.add(
                    f"{case.source}: {case.name} expects '{name}: true', but less is better there; "
                    "write the most that is allowed, such as 0"
                )
    faults.raise_any()


def check_suites(settings: Settings) -> int:
    """Refuse what no metric can judge in the settings' suites, and count their cases.

    The command line, which this is for, sees no metrics of a `conftest.py`; what cannot be checked so is announced.

    Raises:
        UsageError: a suite is wrong, or expects what no metric gives; one line for each fault.
    """
    from pytest_llmbench.cases.selection import chosen_cases
    from pytest_llmbench.cases.suites import load_vocabulary
    from pytest_llmbench.metrics import default_metrics

    vocabulary = load_vocabulary(present(Path(settings.benchmark.vocabulary)))
    cases = chosen_cases(settings, vocabulary)
    if adding := _adding_metrics():
        _log.warning("%s adds metrics: `pytest --collect-only -m benchmark` checks what cases expect", adding)
        return len(cases)
    try:
        metrics = default_metrics(settings.metrics, vocabulary, cases).metrics
    except NotReadyError as error:
        _log.warning("what cases expect is not checked: %s", error)
        return len(cases)
    check_expectations(cases, metrics)
    return len(cases)


def _note_address(settings: Settings, faults: Faults) -> None:
    from pytest_llmbench.generation.client.server_address import api_url

    try:
        api_url(settings.server.url)
    except UsageError as error:
        faults.add(str(error))


def _note_base(settings: Settings, faults: Faults) -> None:
    from pytest_llmbench.models.sources import locate

    try:
        locate(settings.model.base)
    except WrongModelError as error:
        faults.add(f"base: {error}")


def _note_adapters(settings: Settings, faults: Faults) -> None:
    from pytest_llmbench.models.adapters import check_folder

    for choice in settings.model.adapters:
        if choice in {"auto", "none"}:
            continue
        try:
            check_folder(Path(choice).expanduser())
        except AdapterError as error:
            faults.add(f"{error}{_meant(choice, settings.model.adapters_dir)}")


def _meant(choice: str, folder: Path) -> str:
    """The adapter that a path to nowhere may mean."""
    if Path(choice).expanduser().exists():
        return ""
    others = {str(path): path.name for path in sorted(folder.glob("*")) if path.is_dir()}
    meant = [path for path, name in others.items() if name == Path(choice).name]
    if meant or not others:
        return f"; did you mean '{meant[0]}'?" if meant else "; 'auto' takes the newest that fits, 'none' takes none"
    return f"; {suggestion(choice, others)}"


def _adding_metrics() -> Path | None:
    """A `conftest.py` of the project with the hook that adds metrics."""
    written = [*Path().glob("conftest.py"), *Path("tests").rglob("conftest.py")]
    return next((file for file in written if _HOOK in file.read_text(encoding="utf-8", errors="replace")), None)
