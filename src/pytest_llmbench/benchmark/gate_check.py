"""Gates that could judge nothing, refused before a model is loaded or a question asked."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, get_args

from pytest_llmbench.core.documents import Faults, nearest, suggestion
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.setting_sections import (
    FACTS_MARGIN,
    LIMITS_MARGIN,
    GateSettings,
    MetricsSettings,
    ReferenceMetric,
)
from pytest_llmbench.core.starter import present
from pytest_llmbench.generation.ray.cluster import answered_elsewhere

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.runs.baseline import Comparable

_log = logging.getLogger("pytest_llmbench")

BUILT_IN = frozenset(
    {*(name for name, field in MetricsSettings.model_fields.items() if field.annotation is bool)}
    - {"case_sensitive", "accent_sensitive"}
    | {*get_args(ReferenceMetric)}
)
"""The metrics that settings can switch on."""


def refuse_unjudgeable(settings: Settings, measured: Collection[str] | None = None) -> None:
    """Refuse a gate whose settings leave it nothing to judge.

    `measured` are the session's metrics, those of plugins included. Without them, as on the command line, a name that
    is no built-in metric is refused where it looks like a mistyped one, and announced otherwise.

    Raises:
        UsageError: a metric that nobody knows, metrics that are all off, or no fine-tune to hold against its base.
    """
    faults = Faults()
    margins = [name for name in settings.gate.margins if name not in {LIMITS_MARGIN, FACTS_MARGIN}]
    for key, names in (("gate.metrics", settings.gate.metrics), ("gate.margins", margins)):
        for name in names:
            _check_name(f"{key}: {name!r}", name, measured, faults)
    faults.raise_any()
    if settings.gate.kind == "off" and settings.gate.baseline is None:
        return
    if measured is not None:
        _refuse_unmeasured(settings, measured)
    if settings.gate.kind != "off" and settings.gate.baseline is None and _asks_the_base_alone(settings):
        raise UsageError(no_fine_tune(settings.gate.kind), names=WHAT_TO_COMPARE)


def refuse_unmatched(settings: Settings, baseline: Comparable, cases: Collection[str]) -> None:
    """Refuse a baseline that has no case, or no metric, in common with what is going to be asked.

    Raises:
        UsageError: there is nothing that could be compared.
    """
    known = {row["case"] for row in baseline.rows}
    if cases and not known & set(cases):
        raise UsageError(
            f"gate.baseline: {baseline.name} has none of the {len(cases)} selected cases: nothing could be compared; "
            "select cases that it has, or give another baseline"
        )
    scored = dict.fromkeys(metric for row in baseline.rows for metric in row["scores"])
    if not set(settings.gate.metrics) & set(scored):
        raise UsageError(
            f"gate.metrics: {baseline.name} has no {' and no '.join(settings.gate.metrics)}, so nothing could be "
            f"compared; it has {', '.join(scored) or 'no scores'}"
        )


def refuse_base_alone(settings: Settings, baseline: Comparable | None, variants: Collection[str]) -> None:
    """Refuse to ask `variants` where the gate would find no two of them, or of the baseline's, to compare.

    Raises:
        UsageError: the base stands alone, or no variant has a counterpart in the baseline.
    """
    from pytest_llmbench.runs.gate import namesakes

    gate = settings.gate
    if gate.kind != "off" and gate.baseline is None and not {*variants} - {BASE}:
        raise UsageError(no_fine_tune(gate.kind), names=WHAT_TO_COMPARE)
    if baseline is not None and not namesakes(baseline.metadata["variants"], [*variants]):
        theirs = ", ".join(baseline.metadata["variants"])
        raise UsageError(
            f"gate.baseline: {baseline.name} was answered by {theirs}, and this run by {', '.join(variants)}: nobody "
            "has a counterpart; give the adapters the names that they had"
        )


def refuse_unconfirmable(settings: Settings, baseline: Comparable | None) -> None:
    """Refuse to promise a confirmation that could not be had: greedy answers, or a baseline's model that is gone.

    Raises:
        UsageError: nothing new would be learnt, or the baseline's model cannot be asked again.
    """
    from pytest_llmbench.benchmark.asking_again import is_greedy, settings_as_asked

    if is_greedy(settings.generation):
        raise UsageError(
            "gate.confirm: the answers are greedy, so that a fresh seed would repeat them; leave it "
            "out, or sample (generation.do_sample, generation.temperature)",
            names=("gate.confirm",),
        )
    if baseline is not None:
        try:
            settings_as_asked(baseline.metadata, baseline.name, settings)
        except UsageError as error:
            raise UsageError(f"gate.confirm: {error}; or leave it out", names=("gate.confirm",)) from error


WHAT_TO_COMPARE = ("model.adapter", "server.adapter", "gate.baseline")
"""Settings that give a gate something to judge."""


def no_fine_tune(kind: str) -> str:
    """Why a gate of that kind has nothing to judge, and what to do."""
    return (
        f"gate.kind: {kind} holds each fine-tune against its base, and there is no fine-tune; give one "
        "(model.adapter, or server.adapter), or a run to compare with (gate.baseline)"
    )


def _check_name(where: str, name: str, measured: Collection[str] | None, faults: Faults) -> None:
    known = BUILT_IN if measured is None else BUILT_IN | {*measured}
    if name in known:
        return
    if measured is not None or nearest(name, sorted(known)):
        faults.add(f"{where} is no metric; {suggestion(name, sorted(known))}")
    else:
        _log.warning("%s is no built-in metric; a plugin or conftest.py must add it", where)


def _refuse_unmeasured(settings: Settings, measured: Collection[str]) -> None:
    """A metric that was named is wanted; those of the default may be off, but not all of them."""
    gate = settings.gate
    off = [name for name in gate.metrics if name not in measured]
    if off and (gate.metrics != GateSettings().metrics or len(off) == len(gate.metrics)):
        raise UsageError(
            f"gate.metrics: {', '.join(off)} cannot be judged, being switched off; switch on in the section 'metrics' "
            "what is to gate, or name others"
        )


def _asks_the_base_alone(settings: Settings) -> bool:
    if settings.server.url:
        return settings.server.adapter is None and settings.server.adapter_body is None
    return settings.model.adapters == ("none",)


def refuse_missing_adapter(settings: Settings) -> None:
    """Refuse `auto` where there is no adapter at all; one that fits the base is looked for when that is loaded.

    Raises:
        UsageError: the folder of adapters holds none.
    """
    folder = present(settings.model.adapters_dir)
    here = not settings.server.url and not answered_elsewhere(settings.ray)
    auto = here and settings.model.adapters == ("auto",)
    if auto and not any(folder.glob("*/adapter_config.json")):
        raise UsageError(f"{folder} holds no adapter, and {no_fine_tune(settings.gate.kind)}", names=WHAT_TO_COMPARE)
