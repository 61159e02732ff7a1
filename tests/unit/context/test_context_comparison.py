"""A later context run against an earlier one: limits by their intervals, facts question by question."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.context_documents import Known, document, later, limit, limits, saved, target

from pytest_llmbench.context.comparison import compare_context
from pytest_llmbench.context.limit_intervals import limits_at
from pytest_llmbench.context.promise_points import timed_points
from pytest_llmbench.context.session import context_baseline
from pytest_llmbench.core.settings import GateSettings, Settings
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.serving.words import serving_words
from pytest_llmbench.reports.views.context_comparison import comparison_report, failing
from pytest_llmbench.runs.context_document import (
    ContextDocument,
    ContextVerdict,
    LimitDocument,
    PromiseDocument,
    RefusalDocument,
)
from pytest_llmbench.stats.crossing import crossing

GATE = GateSettings(kind="regression")
TOLERANT = GateSettings(kind="regression", margins={"context": 0.05, "facts": 0.3})


def run(**changed: Any) -> ContextDocument:
    return document(target(**changed))


def end_of_range(tokens: int) -> LimitDocument:
    return limit(tokens, tokens, None, "end_of_range", tokens=tokens)


def in_time(tokens: int, low: int, high: int | None) -> Any:
    return limits(Known(), in_time=limit(tokens, low, high, "late", seconds=1.9, promised_s=2.0))


def verdict(after: ContextDocument, about: str, gate: GateSettings = GATE) -> ContextVerdict:
    return next(one for one in compare_context(saved(run()), after, gate).verdicts if one.about == about)


def test_a_limit_fell_where_its_interval_lies_below_that_of_before() -> None:
    fell = verdict(run(limits=in_time(3000, 2900, 3100)), "in_time")
    assert (fell.outcome, fell.before, fell.after) == ("fail", 6680, 3000)
    assert fell.effect is not None
    assert fell.effect == pytest.approx(3000 / 6680 - 1)
    assert fell.low is not None
    assert fell.high is not None
    assert fell.low < fell.effect < fell.high < 0


def test_a_limit_within_its_interval_is_open_and_passes_with_a_margin() -> None:
    near = run(limits=in_time(6600, 6540, 6700))
    assert verdict(near, "in_time").outcome == "inconclusive"
    assert verdict(near, "in_time", TOLERANT).outcome == "pass"


def test_an_exact_limit_that_is_the_same_passes_and_one_token_less_fails() -> None:
    assert verdict(run(), "accepted").outcome == "pass"
    less = limits(Known(), accepted=limit(8190, 8190, 8190, "refused", length=8191))
    assert verdict(run(limits=less), "accepted").outcome == "fail"


def in_time_by(seconds: float, seed: int) -> ContextDocument:
    """A run whose prompts crossed 1.5 s where `seconds` a token says, and whose limit was taken from them."""
    promise = PromiseDocument(latency_s=1.5, quantile=0.95)
    known = Known(law=lambda tokens: seconds * tokens, lengths=(1024, 2048, 3072, 4096), seed=seed)
    made = target(known=known, promise=promise)
    found = crossing(timed_points(made.probes, promise), promise.latency_s, promise.quantile)
    assert found is not None
    ends = (round(found.size), math.floor(found.low), math.floor(found.high))
    return document(made.model_copy(update={"limits": limits(known, in_time=limit(*ends, "late"))}))


def test_intervals_of_limits_are_those_of_the_gates_alpha() -> None:
    before, after = saved(in_time_by(5.0e-4, 1)), in_time_by(5.2e-4, 2)
    outcomes = {}
    for alpha in (0.3, 0.05, 0.0001):
        found = compare_context(before, after, GateSettings(kind="regression", alpha=alpha))
        outcomes[alpha] = next(one for one in found.verdicts if one.about == "in_time")
        told = [note.values["share"] for note in found.notes if note.code == "confidence"]
        assert told == ([] if alpha == 0.05 else [1 - alpha])
    assert outcomes[0.3].outcome == "fail"
    assert outcomes[0.05].outcome == outcomes[0.0001].outcome == "inconclusive"
    assert outcomes[0.3].low == outcomes[0.05].low  # what is shown is the interval of 95 %


@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_late_answers_that_were_counted_are_believed_at_every_alpha(alpha: float) -> None:
    """The cost hardly rises: its line surely keeps the promise at the longest length, where 7 of 30 answers do not."""
    promise = PromiseDocument(latency_s=30.0, quantile=0.95)
    made = target(known=Known(law=lambda _: 5.5), promise=promise)
    late = {probe.id for probe in [one for one in made.probes if one.sought == "sweep"][-7:]}
    slow = {"first_token_s": 33.0, "total_s": 33.0}
    asked = tuple(one.model_copy(update=slow) if one.id in late else one for one in made.probes)
    counted = limit(4096, 2048, 8158, "late", seconds=5.5, promised_s=30.0)
    told = made.model_copy(update={"probes": asked, "limits": limits(Known(), in_time=counted)})
    assert limits_at(told, alpha, {}).in_time == counted


@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_prompts_that_timed_out_are_counted_at_every_alpha(alpha: float) -> None:
    """A line through the prompts that were answered keeps the promise up to some 3,000 tokens; a fifth timed out."""
    promise = PromiseDocument(latency_s=1.5, quantile=0.95)
    made = target(known=Known(law=lambda tokens: 5e-4 * tokens, lengths=(1024, 2048, 3072, 4096)), promise=promise)
    timed_out = {"refusal": RefusalDocument(code="timeout", text=""), "first_token_s": None, "total_s": 60.0}
    asked = [one.model_copy(update=timed_out if place % 5 == 0 else {}) for place, one in enumerate(made.probes)]
    counted = limit(0, 0, 1023, "never", share_timed_out=0.2, promised_s=1.5)
    told = made.model_copy(update={"probes": tuple(asked), "limits": limits(Known(), in_time=counted)})
    assert limits_at(told, alpha, {}).in_time == counted


def test_fewer_facts_at_a_length_fail_the_session() -> None:
    found = compare_context(saved(run()), later(chance=lambda _length, _depth: 0.2), GATE)
    assert found.failed
    facts = [one for one in found.verdicts if one.about == "facts"]
    assert {one.outcome for one in facts} == {"fail"}
    assert all(one.p_adjusted is not None and one.p_adjusted <= 0.05 for one in facts)
    assert {one.n for one in facts} == {30}


def test_the_same_run_again_passes_though_what_is_found_has_no_settled_limit() -> None:
    found = compare_context(saved(run()), run(), TOLERANT)
    assert (found.outcome, found.failed) == ("pass", False)


@pytest.mark.parametrize("kind", ["improvement", "off"])
def test_a_longer_range_of_lengths_is_no_rise_of_a_limit_whose_end_was_not_seen(kind: Any) -> None:
    before = saved(run(probes=(), limits=limits(Known(), accepted=None, in_time=None, right=end_of_range(4096))))
    after = run(probes=(), limits=limits(Known(), accepted=None, in_time=None, right=end_of_range(8159)))
    found = compare_context(before, after, GateSettings(kind=kind))
    assert [(one.outcome, one.low, one.high) for one in found.verdicts] == [("inconclusive", None, None)]
    assert (found.outcome, found.failed) == ("inconclusive", kind == "improvement")
    assert compare_context(before, after, GATE).verdicts[0].outcome == "pass"


def test_a_limit_that_rose_above_a_seen_end_is_an_improvement() -> None:
    found = compare_context(saved(run()), run(limits=in_time(8000, 7900, None)), GateSettings(kind="improvement"))
    assert next(one for one in found.verdicts if one.about == "in_time").outcome == "pass"


def test_without_a_gate_a_fall_fails_nothing() -> None:
    found = compare_context(saved(run()), run(limits=in_time(3000, 2900, 3100)), GateSettings())
    assert (found.kind, found.outcome, found.failed) == ("compare", "fail", False)


def test_what_cannot_be_compared_is_noted() -> None:
    promise = PromiseDocument(latency_s=3.0, quantile=0.95)
    other = target("other", known=Known(lengths=(300,)), promise=promise)
    found = compare_context(saved(run()), document(other), GATE)
    assert [note.code for note in found.notes] == ["model_differs", "promise_differs", "other_lengths"]
    assert [one.about for one in found.verdicts] == ["accepted", "right"]


def test_ways_of_counting_are_told_in_the_language_of_the_report() -> None:
    before = target()
    counted = before.counting.model_copy(update={"method": "calibrated"})
    found = compare_context(saved(document(before.model_copy(update={"counting": counted}))), run(), GATE)
    assert [note.code for note in found.notes] == ["counting_differs"]
    told = Text().render(comparison_report(found, "fr"))
    assert "calibrated" not in told
    assert "par étalonnage" in told


def test_a_limit_that_only_one_run_has_is_told() -> None:
    found = compare_context(saved(run()), run(limits=limits(Known(), in_time=None)), GATE)
    assert [(note.code, note.values["limit"]) for note in found.notes] == [("limit_missing", "in_time")]
    told = " ".join(Text().render(comparison_report(found, "fr")).split())
    assert "À temps : mesuré dans l'une des deux exécutions seulement" in told


def test_comparing_nothing_guards_nothing() -> None:
    found = compare_context(saved(document(target("one"), target("two"))), document(target("other")), GATE)
    assert found.verdicts == ()
    assert {note.code for note in found.notes} == {"target_missing"}
    assert found.failed


def test_lengths_that_one_run_alone_asked_at_are_told() -> None:
    shorter = target(known=Known(lengths=(256, 512, 1024, 2048, 4096, 7000)))
    found = compare_context(saved(run()), document(shorter), GATE)
    assert [(note.code, note.values["lengths"]) for note in found.notes] == [("other_lengths", "7000, 8159")]
    assert [one.length for one in found.verdicts if one.about == "facts"] == [256, 512, 1024, 2048, 4096]


def test_lengths_that_follow_from_the_answers_are_none_that_was_left_out() -> None:
    bisected = target(known=Known(lengths=(256, 512, 1024, 2048, 3072, 4096, 8159)))
    asked_for = document(bisected.model_copy(update={"lengths": target().lengths}))
    assert compare_context(saved(run()), asked_for, GATE).notes == ()


def test_other_questions_are_no_pairs() -> None:
    renamed = [
        probe.model_copy(update={"needle": f"new {probe.needle}"}) if probe.needle else probe
        for probe in target().probes
    ]
    found = compare_context(saved(run()), run(probes=tuple(renamed)), GATE)
    assert {note.code for note in found.notes} == {"other_questions"}
    assert all(one.about != "facts" for one in found.verdicts)


def test_a_limit_that_was_nothing_rose() -> None:
    nothing = limits(Known(), in_time=limit(0, 0, 0, "late", seconds=3.0, promised_s=2.0))
    found = compare_context(saved(run(limits=nothing)), run(), GateSettings())
    rose = next(one for one in found.verdicts if one.about == "in_time")
    assert (rose.outcome, rose.effect, rose.low, rose.high) == ("pass", None, None, None)
    rows = [line.split("│") for line in Text().render(comparison_report(found, "en")).splitlines()]
    row = next(cells for cells in rows if "Limit: In time" in "".join(cells))
    assert [cell.strip() for cell in row[1:8]] == ["better", rose.target, "Limit: In time", "0", "6,680", "-", "-"]


def test_facts_change_by_points_and_small_p_values_are_not_nothing() -> None:
    found = compare_context(saved(run()), later(chance=lambda _length, _depth: 0.0), GATE)
    first = next(one for one in found.verdicts if one.about == "facts")
    told = Text().render(comparison_report(found, "en"))
    assert f"{100 * (first.effect or 0):+.1f} points" in told
    assert "<0.001" in told
    assert " 0.000 " not in told


def test_a_margin_that_is_nearly_one_of_ours_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gate = {"baseline": "before", "missing_baseline": "warn", "margins": {"contxt": 0.1, "relevance": 0.1, "facts": 0}}
    settings = Settings.model_validate({"gate": gate, "output": {"report_dir": str(tmp_path)}})
    assert context_baseline(settings) is None
    told = [line for line in caplog.messages if "margins" in line]
    assert told == ["gate.margins: a context run has no 'contxt'; did you mean 'context'?"]


def test_the_p_of_facts_that_fail_an_improvement_gate_is_of_their_loss() -> None:
    found = compare_context(saved(run()), later(chance=lambda _length, _depth: 0.2), GateSettings(kind="improvement"))
    failed = [one for one in found.verdicts if one.about == "facts" and one.outcome == "fail"]
    assert failed
    assert all(one.p_adjusted is not None and one.p_adjusted <= found.alpha for one in failed)


@pytest.mark.parametrize(("promise_s", "outcome"), [(2.0, "pass"), (3.0, "inconclusive")])
def test_no_gate_passes_where_one_of_several_targets_was_judged_on_nothing(promise_s: float, outcome: str) -> None:
    timed = limits(Known(), accepted=None, right=None, in_time=end_of_range(4096))
    first, now = (
        target("timed", probes=(), limits=timed, promise=PromiseDocument(latency_s=seconds, quantile=0.95))
        for seconds in (2.0, promise_s)
    )
    accepting = target("accepting", probes=(), limits=limits(Known(), in_time=None, right=None))
    found = compare_context(saved(document(first, accepting)), document(now, accepting), GATE)
    assert (found.outcome, found.failed) == (outcome, False)


def test_a_target_that_was_judged_on_nothing_is_named_where_a_strict_gate_fails_for_it() -> None:
    timed = limits(Known(), accepted=None, right=None, in_time=end_of_range(4096))
    first, now = (
        target("timed", probes=(), limits=timed, promise=PromiseDocument(latency_s=seconds, quantile=0.95))
        for seconds in (2.0, 3.0)
    )
    accepting = target("accepting", probes=(), limits=limits(Known(), in_time=None, right=None))
    gate = GateSettings(kind="regression", inconclusive="fail")
    found = compare_context(saved(document(first, accepting)), document(now, accepting), gate)
    assert [(note.code, note.values["target"]) for note in found.notes][-1] == ("target_unjudged", "timed")
    assert failing(found, serving_words("en")) == "inconclusive: timed: nothing could be compared"
    [alert] = comparison_report(found, "en").alerts
    assert (alert.level, alert.title) == ("error", "inconclusive: timed")
    open_gate = compare_context(saved(document(first, accepting)), document(now, accepting), GATE)
    assert [one.level for one in comparison_report(open_gate, "en").alerts] == ["warning"]
    assert "timed: nothing of it could be compared" in Text().render(comparison_report(found, "en"))


def test_a_gate_that_fails_because_nothing_was_compared_says_so_to_ci() -> None:
    found = compare_context(saved(document(target("one"), target("two"))), document(target("other")), GATE)
    assert failing(found, serving_words("en")) == "inconclusive: 0007_accepted: nothing could be compared"
    assert [alert.level for alert in comparison_report(found, "en").alerts] == ["error"]
