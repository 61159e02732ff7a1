"""The main job without pytest: cases selected, answered, scored and held against what they expect."""

from __future__ import annotations

import base64
import dataclasses
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.benchmark import main_job
from pytest_llmbench.benchmark.main_job import Answers, Benchmark, ExpectationError, case_result
from pytest_llmbench.benchmark.preflight import check_expectations
from pytest_llmbench.benchmark.stored import Stored
from pytest_llmbench.cases.selection import select
from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import CaseResult, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal
from pytest_llmbench.generation.provenance import NO_HIDDEN_STATES
from pytest_llmbench.metrics import MetricRegistry
from pytest_llmbench.metrics.similarity import cosine_similarity
from pytest_llmbench.runs.metadata import metadata

CASE = Case("lights", "lamp", "allume", ({"role": "user", "content": "allume"},), tool="set_lights", source="s.yaml:3")


def completion(variant: str, text: str = "oui", **changed: Any) -> Completion:
    return dataclasses.replace(Completion(CASE.name, CASE.epoch, variant, text, "stop"), **changed)


def answers(expect: Mapping[str, float], **scores: float | None) -> Answers:
    """Both variants' answers; the scores are the fine-tune's, the base has 0 in everything."""
    scored = {name: {"base": 0.0, "finetuned": score} for name, score in scores.items()}
    both = {variant: completion(variant) for variant in ("base", "finetuned")}
    return Answers(dataclasses.replace(CASE, expect=expect), both, scored)


@pytest.mark.parametrize(
    ("expect", "score", "miss"),
    [
        ({"tool_accuracy": True}, 1.0, None),
        ({"tool": True}, 1.0, None),
        ({"tool": True}, 0.5, "tool_accuracy of finetuned is 0.5, expected at least 1"),
        ({"tool": 0.5}, 0.5, None),
        ({"tool": 0}, 0.0, None),
        ({"tool": 0.667}, 2 / 3, "tool_accuracy of finetuned is 0.6667, expected at least 0.667"),
        ({"tool": 0.3}, 0.1 + 0.2 - 1e-16, "is 0.2999999999999999, expected at least 0.3"),
        ({"tool": 0}, None, "tool_accuracy of finetuned is unscored, expected at least 0"),
        ({}, 0.0, None),
    ],
)
def test_the_fine_tunes_score_is_held_against_what_the_case_expects(
    expect: Mapping[str, float], score: float | None, miss: str | None
) -> None:
    given = answers(expect, tool_accuracy=score)
    if miss is None:
        given.check()
    else:
        with pytest.raises(ExpectationError, match=miss):
            given.check()


@pytest.mark.parametrize(("score", "misses"), [(0.5, False), (2.5, True)])
def test_where_lower_is_better_the_case_expects_at_most(score: float, misses: bool) -> None:  # noqa: FBT001
    given = dataclasses.replace(answers({"latency_s": 2.0}, latency_s=score), lower_is_better=frozenset({"latency_s"}))
    if not misses:
        given.check()
        return
    with pytest.raises(ExpectationError, match=r"latency_s of finetuned is 2\.5, expected at most 2"):
        given.check()


def test_a_metric_of_the_users_own_goes_before_a_short_name() -> None:
    answers({"tool": True}, tool=1.0, tool_accuracy=0.0).check()
    with pytest.raises(ExpectationError, match="tool of finetuned is 0, expected at least 1"):
        answers({"tool": True}, tool=0.0, tool_accuracy=1.0).check()


def test_true_is_refused_where_less_is_better() -> None:
    registry = MetricRegistry()
    registry.add("runaway", lambda _case, _completion: 1.0, higher_is_better=False)
    registry.add("brief", lambda _case, _completion: 1.0)
    kept = [dataclasses.replace(CASE, expect=expect) for expect in ({"runaway": 0}, {"brief": True}, {"runaway": 1})]
    check_expectations(kept, registry.metrics)
    with pytest.raises(UsageError, match=r"s\.yaml:3: lights/lamp expects 'runaway: true', but less is better there"):
        check_expectations([dataclasses.replace(CASE, expect={"runaway": True})], registry.metrics)


def test_without_a_fine_tune_the_base_is_judged() -> None:
    alone = Answers(
        dataclasses.replace(CASE, expect={"tool": True}), {"base": completion("base")}, {"tool_accuracy": {"base": 0.0}}
    )
    with pytest.raises(ExpectationError, match="tool_accuracy of base is 0"):
        alone.check()
    with pytest.raises(UsageError, match=r"no fine-tuned answer.*\(model\.adapter\)") as raised:
        _ = alone.finetuned
    assert raised.value.names == ("model.adapter",)


def test_a_variant_that_could_not_answer_fails_the_case_with_its_reason() -> None:
    failed = completion("base", "", finish="error", error="the prompt has 9000 tokens")
    with pytest.raises(ExpectationError, match=r"lights/lamp: no answer\n  base: the prompt has 9000 tokens"):
        Answers(CASE, {"base": failed, "finetuned": completion("finetuned")}, {}).check()


def cases() -> list[Case]:
    return [
        dataclasses.replace(CASE, category=category, id=name)
        for category in ("lights", "sound")
        for name in ("one", "two", "three")
    ]


def settings(**sections: Mapping[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def test_categories_then_limit_then_epochs_select_cases() -> None:
    chosen = select(cases(), settings(benchmark={"categories": ["sound"], "limit": 2}, generation={"epochs": 2}))
    assert [(case.name, case.epoch) for case in chosen] == [
        ("sound/one", 0),
        ("sound/one", 1),
        ("sound/two", 0),
        ("sound/two", 1),
    ]
    assert select(cases(), settings()) == cases()


def test_a_category_that_no_suite_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no suite is called 'light'; there are lights, sound"):
        select(cases(), settings(benchmark={"categories": ["sound", "light"]}))


class Echo:
    """Repeats the prompt."""

    variants: tuple[str, ...] = ("base", "finetuned")
    closed = False

    def identity(self, variant: str) -> Mapping[str, str]:
        return {"variant": variant}

    def weight(self, case: Case) -> int:
        return len(case.prompt)

    def batch_size(self) -> int:
        return 8

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        for case in cases:
            yield Completion(case.name, case.epoch, variant, f"{variant} {case.prompt}", "stop")

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        return [dataclasses.replace(done, embedding="AACAPw==") for _, done in pairs]

    def describe(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        self.closed = True


class Silent:
    def planned(self, answers: int) -> None:
        pass

    def answered(self, completion: Completion) -> None:
        pass


def benchmark(folder: Path, cases: Sequence[Case], backend: Echo) -> Benchmark:
    registry = MetricRegistry()
    registry.add("length", lambda _case, completion: len(completion.text))
    journal = CompletionJournal(folder)
    return Benchmark(settings(), backend, cases, registry, journal=journal, cache=None, progress=Silent())


def test_the_job_runs_without_pytest_and_its_record_is_whole_but_for_embeddings(tmp_path: Path) -> None:
    backend = Echo()
    job = benchmark(tmp_path, [CASE], backend)
    given = job.answers(CASE)
    assert (given.base.text, given["finetuned"].text) == ("base allume", "finetuned allume")
    assert given.scores == {"length": {"base": 11.0, "finetuned": 16.0}}
    assert given.base.embedding is not None
    result = case_result(given)
    assert result.completions["base"].embedding is None
    assert CaseResult.from_json(result.to_json()) == result
    job.close()
    assert backend.closed


def test_an_expectation_that_no_metric_judges_is_refused_when_the_job_is_made(tmp_path: Path) -> None:
    expecting = dataclasses.replace(CASE, expect={"politeness": True})
    with pytest.raises(UsageError, match=r"s\.yaml:3: lights/lamp expects 'politeness'.*choose from length"):
        benchmark(tmp_path, [expecting], Echo())


def test_metadata_names_the_pair_and_hides_what_is_secret() -> None:
    secret = settings(server={"headers": {"X-Token": "hush"}})
    about = metadata(
        {"base_model": "m", "device": "cpu", "adapters": {"finetuned": {"path": "adapters/a"}}}, secret, Vocabulary({})
    )
    assert (about["base_model"], about["lora_adapter"], about["device"], about["seed"]) == (
        "m",
        "adapters/a",
        "cpu",
        42,
    )
    assert "hush" not in str(about)


class Telling(Echo):
    """Embeds each answer by its prompt."""

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        vectors = ((done, struct.pack("<2f", 1.0, float(case.prompt))) for case, done in pairs)
        return [dataclasses.replace(done, embedding=base64.b64encode(of).decode()) for done, of in vectors]


def test_which_cases_are_held_against_each_other_does_not_depend_on_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_job, "_SAMPLED", 3)
    cases = [dataclasses.replace(CASE, id=f"c{number}", prompt=str(number)) for number in range(8)]
    found = []
    for order in (cases, cases[::-1]):
        registry, journal = MetricRegistry(), CompletionJournal(tmp_path / f"{order[0].id}")
        registry.add("cosine_similarity", cosine_similarity, pair=True)
        job = Benchmark(settings(), Telling(), cases, registry, journal=journal, cache=None, progress=Silent())
        for case in order:
            job.answers(case)
        found.append(job.cosine_between_cases()["finetuned"])
        job.close()
    assert found[0] == found[1]


class Blind(Echo):
    """Shows no hidden states, and says so."""

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        pytest.fail(f"asked in vain for {len(pairs)} embeddings")

    def describe(self) -> Mapping[str, Any]:
        return {"limits": [NO_HIDDEN_STATES]}


def test_stored_answers_of_an_engine_without_hidden_states_lack_no_embedding(tmp_path: Path) -> None:
    backend = Blind()
    job = benchmark(tmp_path, [CASE], backend)
    job.answers(CASE)
    job.close()
    stored = Stored(CompletionJournal(tmp_path), CompletionCache(tmp_path / "cache.sqlite"))
    assert stored.holds_all([CASE], backend, settings())
    assert not stored.holds_all([CASE], Echo(), settings())


class Together(Echo):
    def complete_together(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        for case, variant in asked:
            yield from self.complete([case], variant)


class InTurn(Together):
    mixes_variants = False


@pytest.mark.parametrize(("backend", "together"), [(Echo(), False), (Together(), True), (InTurn(), False)])
def test_variants_are_asked_together_where_their_backend_mixes_them(
    tmp_path: Path,
    backend: Echo,
    together: bool,  # noqa: FBT001
) -> None:
    job = benchmark(tmp_path, [CASE], backend)
    assert job.asks_together is together
    job.close()
