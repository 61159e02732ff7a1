"""Whatever the trials, nothing that goes out claims a level above the highest that was tried."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rendered import limits_lines as summary_lines

from pytest_llmbench.autotune import model_limits
from pytest_llmbench.autotune.document import Finding, LimitsDocument, LimitsMetadata, TargetLimits
from pytest_llmbench.autotune.findings import finding
from pytest_llmbench.autotune.questions import Question, history, max_tokens, rate, users
from pytest_llmbench.autotune.trial_summary import trial_summary
from pytest_llmbench.core.settings import LoadSettings, Settings
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.search import Found
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.reports.serving.explanation_words import explain
from pytest_llmbench.stats.capacity import CapacityFit
from pytest_llmbench.stats.observation import Observation

SETTINGS = Settings(load=LoadSettings(max_users=40, max_tokens=64, max_history=12, require_users=9))
QUESTIONS = (users(SETTINGS), rate(SETTINGS, 3.2), history(SETTINGS, 2), max_tokens(SETTINGS, 2))
REQUIRED = 9
STEPS = st.tuples(st.integers(1, 12), st.floats(0, 1), st.booleans())


def found_by(question: Question, trials: list[tuple[int, float, bool]]) -> Finding:
    """The finding of trials at these steps with these shares of good answers; some are invalid."""
    kept: list[Observation | InvalidTrial] = []
    for wanted, share, valid in trials:
        step, good = min(wanted, question.plan.highest), round(40 * share)
        made = Trial(
            question.level(step), (), "undecided" if valid else "invalid", Reason("time_over"), 9.0, 0.0, 0.0, sent=40
        )
        detail = {**trial_summary(made, SLO(), level=made.level, started_s=0.0).json_ready(), "good": good, "total": 40}
        kept.append(
            Observation(step, good, 40, (), 40, detail) if valid else InvalidTrial(step, "why", 40, detail=detail)
        )
    seen = [one for one in kept if isinstance(one, Observation)]
    capacity = CapacityFit(seen, question.plan.share, question.plan.highest).capacity(range(1, 20))
    required = REQUIRED if question.name == "users" else None  # nobody requires anything else
    return finding(
        question, Found(capacity, ended_by="budget", sent=0, kept=tuple(kept)), SLO(), required=required, resumed=0
    )


def document_of(made: Finding) -> LimitsDocument:
    """As reports have it, without what takes time to find out of this machine."""
    name = made.question
    target = TargetLimits(
        name="m", url="http://h/v1", model_name="m", engine=None, findings={name: made}, why={name: explain(made)}
    )
    metadata = LimitsMetadata(
        timestamp="",
        command="",
        git=None,
        versions={},
        machine={},
        settings=SETTINGS.model_dump(mode="json", include={"load"}),
    )
    return LimitsDocument(schema_version=1, metadata=metadata, targets=(target,))


def levels_told(made: Finding) -> list[float]:
    curve = [point["level"] for point in made["curve"]]
    return [made["value"], made["low"], made["high"], *map(float, made["chances"]), *curve]


@settings(max_examples=25)
@given(st.sampled_from(QUESTIONS), st.lists(STEPS, min_size=1, max_size=6))
def test_no_level_above_the_highest_tried_goes_out(question: Question, trials: list[tuple[int, float, bool]]) -> None:
    trials = [(1, 1.0, True), *trials]
    tried = question.level(max(min(step, question.plan.highest) for step, _, valid in trials if valid))
    made = found_by(question, trials)
    assert made["highest_tried"] == tried
    assert max(levels_told(made)) <= tried
    assert sum(made["chances"].values()) > 0.9
    assert (made["chance_required"] or 0) < 0.95 or tried >= REQUIRED
    document = document_of(made)
    sentence = re.sub(r"95 % sure|, with \d+ users?", "", summary_lines(document, 300)[0].partition(" keep")[0])
    assert max(map(float, re.findall(r"\d+(?:\.\d+)?", sentence))) <= max(round(tried, 2), 1)
    assert max(limits(document)) <= tried


def limits(document: LimitsDocument) -> list[float]:
    """The numbers in the file that programs read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "limits.json"
        model_limits.write_limits_file(path, document)
        written = json.loads(path.read_text(encoding="utf-8"))
    names = ("max_concurrent_users", "max_history_messages", "max_tokens", "max_requests_per_s")
    return [value for value in (*(written[name] for name in names), *(written["interval"] or ())) if value is not None]


def test_an_interval_that_goes_on_beyond_what_was_tried_has_no_upper_end() -> None:
    made = found_by(QUESTIONS[0], [(1, 1.0, True), (2, 1.0, True)])
    assert (made["value"], made["capped"], made["unbounded"], made["chance_required"]) == (2, True, True, None)
    document = document_of(made)
    lines = " ".join(summary_lines(document, 300))
    assert lines.startswith("2 users or more keep 95 % of answers under 3.0 s; no more were tried")
    unsure = summary_lines(document_of(made.model_copy(update={"low": 1})), 300)
    assert unsure[0] == "2 users or more (95 % sure: 1 or more) keep 95 % of answers under 3.0 s; no more were tried"
    assert "Required: 9 users. No more than 2 users were tried, so whether they are held is not known." in lines
    assert "the most that was allowed" not in lines
    french = " ".join(summary_lines(document, 300, language="fr"))
    assert "Exigé : 9 utilisateurs. Il n'a pas été essayé plus que 2 utilisateurs" in french
    decided = found_by(QUESTIONS[0], [(1, 1.0, True), (4, 1.0, True), (8, 0.0, True), (5, 0.5, True)])
    assert not decided["capped"]
    assert not decided["unbounded"]
