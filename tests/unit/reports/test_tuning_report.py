from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.schemas import schema

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.context.tuning.document import (
    Outcome,
    ParameterDocument,
    RoundDocument,
    TrialOutcome,
    TuningDocument,
    TuningMetadata,
    TuningTrial,
    UsersDocument,
    Value,
)
from pytest_llmbench.core.settings import OutputSettings, Settings
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.tuning import tuning_report
from pytest_llmbench.reports.writing.tuning import write_tuning
from pytest_llmbench.runs.context_document import NumberWithInterval, PromiseDocument


def held(users: int) -> UsersDocument:
    return UsersDocument(users=users, low=users - 1, high=users + 1, mean=users + 0.1, deviation=0.5)


def trial(number: int, slots: int, outcome: TrialOutcome = "measured", reason: str = "") -> TuningTrial:
    launch = LaunchSettings(engine="llamacpp", model="m.gguf", max_context=1024, slots=slots, device="cpu")
    found = held(slots) if outcome == "measured" else None
    settings: dict[str, Value] = {"slots": slots, "unified_kv": slots > 4, "batch_tokens": None}
    return TuningTrial(
        number=number,
        settings=settings,
        launch=launch,
        command=f"llama-server --parallel {slots}",
        outcome=outcome,
        reason=reason,
        held=found,
    )


def document(outcome: Outcome, ratio: NumberWithInterval | None = None) -> TuningDocument:
    return TuningDocument(
        metadata=TuningMetadata(created="2026-11-29T12:00:00+00:00"),
        study="tune",
        engine="llamacpp",
        launcher="embedded",
        model="m",
        context=1024,
        promise=PromiseDocument(latency_s=2.0, quantile=0.95, latency="total"),
        parameters=(ParameterDocument(name="slots", choices=(4, 8, 32), baseline=4),),
        trials=(trial(1, 4), trial(2, 8), trial(3, 32, "not_started", "out of [b]memory[/b]")),
        baseline=1,
        winner=2 if outcome != "baseline_best" else 1,
        rounds=(RoundDocument(baseline=held(4), winner=held(8), winner_first=True),) * 2,
        outcome=outcome,
        ratio=ratio,
    )


UNSEEN = RoundDocument(baseline=held(4), winner=held(8).model_copy(update={"more": True}), winner_first=True)
BETTER = document("better", NumberWithInterval(value=2.0, low=1.5, high=2.7))
OPEN = document("no_better", NumberWithInterval(value=1.2, low=0.8, high=1.7))


@pytest.mark.parametrize(
    ("found", "language", "told"),
    [
        (BETTER, "en", "The winner holds 2.000 times the users of the baseline (95 % interval 1.500 to 2.700)."),
        (BETTER, "fr", "Le gagnant tient 2,000 fois les utilisateurs de la référence"),
        (
            BETTER.model_copy(update={"rounds": (UNSEEN, UNSEEN)}),
            "en",
            "The winner holds at least 2.000 times the users of the baseline (95 % interval from 1.500)",
        ),
        (OPEN, "en", "The winner is no better than the baseline, as far as was measured"),
        (
            document("not_told_apart"),
            "en",
            "Keep the baseline, or raise tune.trial_time, tune.budget or load.max_users",
        ),
        (document("baseline_best"), "en", "No settings seemed to hold more users than the baseline; keep it."),
        (document("unconfirmed"), "fr", "Les réglages de l'essai 2 semblent tenir le plus d'utilisateurs"),
    ],
)
def test_the_verdict_is_one_sentence_in_its_own_words(found: TuningDocument, language: str, told: str) -> None:
    report = tuning_report(found, language)
    assert told in " ".join(Text().render(report.only("answer")).split())


def test_the_settings_to_run_are_those_of_what_was_shown_to_be_better() -> None:
    better, kept = (Text().render(tuning_report(one, "en").only("settings")) for one in (BETTER, OPEN))
    assert "8 (baseline: 4)" in better
    assert "--parallel 8" in better
    assert "the server's own" in better
    assert "--parallel 4" in kept


def test_every_trial_is_told_and_why_it_could_not_run() -> None:
    text = Text().render(tuning_report(BETTER, "en").only("trials"))
    assert "measured, winner" in text
    assert "did not start" in text
    assert "Trial 3: out of [b]memory[/b]" in text


def test_the_files_are_written_and_the_document_obeys_its_schema(tmp_path: Path) -> None:
    paths = write_tuning(BETTER, Settings(output=OutputSettings(report_dir=tmp_path)))
    assert {path.name for path in tmp_path.glob("*.*")} == {
        f"tune.{end}" for end in ("json", "txt", "md", "html", "png")
    }
    advised = OptimizedConfig.read(paths["serving"] / "serving.yaml")
    assert advised.launch == BETTER.trial(2).launch
    assert advised.reasons["slots"] == "measured: 8 users held, 2.00 times the baseline's (1.50 to 2.70)"
    assert (paths["serving"] / "serve.sh").read_text() == "#!/bin/sh\nexec llama-server \\\n  --parallel 8\n"
    found: Any = json.loads(paths["json"].read_text())
    jsonschema.validate(found, schema("tune"))
    assert TuningDocument.model_validate(found) == BETTER
    assert "https://" not in paths["html"].read_text().replace("http://www.w3.org", "")


def test_what_a_template_alone_knows_is_in_the_command_that_was_measured_and_no_file_lacks_it(tmp_path: Path) -> None:
    settings = Settings(output=OutputSettings(report_dir=tmp_path, png=False))
    write_tuning(BETTER, settings)
    measured = {"settings": {"policy": "lpm"}, "command": "serve --policy 'a b' -p 8000:8000"}
    trials = tuple(BETTER.trial(number).model_copy(update=measured) for number in (1, 2))
    policy = ParameterDocument(name="policy", choices=("fcfs", "lpm"), baseline="fcfs")
    serving = write_tuning(BETTER.model_copy(update={"trials": trials, "parameters": (policy,)}), settings)["serving"]
    assert {path.name for path in serving.iterdir()} == {"serve.sh"}
    assert (serving / "serve.sh").read_text() == "#!/bin/sh\nexec serve \\\n  --policy 'a b' -p 8000:8000\n"


def test_which_side_of_a_round_came_first_is_no_button_to_the_beginning() -> None:
    """As the pages of a table have one, whose French is another."""
    assert "Début" not in Text().render(tuning_report(BETTER, "fr"))


def test_the_promise_has_the_numbers_of_its_language() -> None:
    promise = PromiseDocument(latency_s=2.5, quantile=0.995, latency="total")
    told = Text().render(tuning_report(document("baseline_best").model_copy(update={"promise": promise}), "fr"))
    assert "99,5 %" in told
    assert "1 024" in told.replace("\u202f", " ").replace("\xa0", " ")
