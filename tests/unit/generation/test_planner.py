"""What is asked, how many at once, and never twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.backend import OutOfMemoryError
from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal
from pytest_llmbench.generation.planner import Planner


def case(number: int, epoch: int = 0) -> Case:
    return Case("suite", f"{number:02}", "x" * number, ({"role": "user", "content": "x" * number},), epoch=epoch)


class Recorder:
    """Answers with the prompt's length, remembers each call, and breaks when told."""

    def __init__(self, size: int = 3, variants: Sequence[str] = ("base", "finetuned"), version: str = "1") -> None:
        self.variants = tuple(variants)
        self.size, self.version = size, version
        self.calls: list[tuple[str, list[str]]] = []
        self.embedded: list[str] = []
        self.break_at: Callable[[int, int], BaseException | None] = lambda _size, _answered: None

    def identity(self, variant: str) -> Mapping[str, str]:
        return {"variant": variant, "version": self.version}

    def weight(self, case: Case) -> int:
        return len(case.prompt)

    def batch_size(self) -> int:
        return self.size

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        self.calls.append((variant, [case.id for case in cases]))
        for answered, case in enumerate(reversed(cases)):  # in any order
            if error := self.break_at(len(cases), answered):
                raise error
            yield Completion(case.name, case.epoch, variant, str(len(case.prompt)), "stop")

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        self.embedded += [f"{done.variant} {case.id}" for case, done in pairs]
        return [Completion(**{**done.to_json(), "embedding": "AACAPw=="}) for _, done in pairs]

    def describe(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        pass


class Renamed(Recorder):
    """Is the first recorder's base, by whatever name."""

    def identity(self, variant: str) -> Mapping[str, str]:
        return super().identity(variant.replace("other", "base"))


class Silent:
    """Counts."""

    def __init__(self) -> None:
        self.wanted = self.got = 0

    def planned(self, answers: int) -> None:
        self.wanted = answers

    def answered(self, completion: Completion) -> None:
        self.got += completion.variant != ""


def planner(backend: Recorder, cases: Sequence[Case], folder: Path, **changed: Any) -> Planner:
    def question(case: Case) -> Mapping[str, object]:
        return {"case": case.name, "epoch": case.epoch}

    known = {"cache": None, "embed": False, "progress": Silent(), "question": question, **changed}
    cache = known.pop("cache")
    return Planner(
        backend,
        cases,
        CompletionJournal(folder),
        cache,
        **known,
    )


def test_batches_are_of_near_lengths_and_a_neighbour_finds_its_answer_ready(tmp_path: Path) -> None:
    backend = Recorder(size=2)
    cases = [case(number) for number in (9, 1, 8, 2)]
    plan = planner(backend, cases, tmp_path)
    assert plan.answers(cases[0])["finetuned"].text == "9"
    assert backend.calls == [("base", ["08", "09"]), ("finetuned", ["08", "09"])]
    plan.answers(cases[2])
    assert len(backend.calls) == 2
    plan.answers(cases[1])
    assert backend.calls[2:] == [("base", ["01", "02"]), ("finetuned", ["01", "02"])]


def test_variants_that_are_answered_together_are_asked_case_by_case(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    class Together(Recorder):
        def complete_together(self, pairs: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
            asked.extend((one.id, variant) for one, variant in pairs)
            return (Completion(one.name, one.epoch, variant, "", "stop") for one, variant in pairs)

    cases = [case(2), case(1)]
    planner(Together(), cases, tmp_path).answers(cases[0])
    assert asked == [("01", "base"), ("01", "finetuned"), ("02", "base"), ("02", "finetuned")]


def test_variants_that_are_equal_share_an_answer_and_keep_their_names(tmp_path: Path) -> None:
    answers = planner(Renamed(variants=["base", "other"]), [case(1)], tmp_path).answers(case(1))
    assert {name: (done.variant, done.text) for name, done in answers.items()} == {
        "base": ("base", "1"),
        "other": ("other", "1"),
    }


def test_a_part_that_is_planned_by_itself_is_not_divided_among_processes(tmp_path: Path) -> None:
    backend, cases = Recorder(size=8, variants=["base"]), [case(number) for number in range(6)]
    plan = planner(backend, (), tmp_path, processes=3)
    plan.plan(cases)
    plan.answers(cases[0])
    assert [len(asked) for _, asked in backend.calls] == [6]


def test_no_process_of_those_that_share_a_plan_is_left_without_a_batch(tmp_path: Path) -> None:
    cases = [case(number) for number in range(6)]
    for processes, sizes in ((1, [6]), (2, [3, 3]), (4, [1] * 6), (9, [1] * 6)):
        backend = Recorder(size=8, variants=["base"])
        plan = planner(backend, cases, tmp_path / str(processes), processes=processes)
        for one in cases:
            plan.answers(one)
        assert [len(asked) for _, asked in backend.calls] == sizes


def test_epochs_of_one_case_are_answers_of_their_own(tmp_path: Path) -> None:
    backend = Recorder(variants=["base"])
    cases = [case(1, epoch) for epoch in range(3)]
    plan = planner(backend, cases, tmp_path)
    assert [plan.answers(one)["base"].epoch for one in cases] == [0, 1, 2]
    assert backend.calls == [("base", ["01", "01", "01"])]


def test_a_case_that_was_not_planned_is_answered_alone(tmp_path: Path) -> None:
    backend = Recorder()
    assert planner(backend, [case(1)], tmp_path).answers(case(5))["base"].text == "5"
    assert backend.calls == [("base", ["05"]), ("finetuned", ["05"])]


@pytest.mark.parametrize("planned", [True, False])
def test_a_second_case_of_one_name_that_asks_something_else_is_refused(tmp_path: Path, *, planned: bool) -> None:
    def named(prompt: str, **changed: Any) -> Case:
        return dataclasses.replace(case(1), prompt=prompt, messages=({"role": "user", "content": prompt},), **changed)

    first, second, scored = named("red", source="a.yaml:3"), named("blue"), named("red", expect={"exact": True})
    plan = planner(
        Recorder(),
        [first, second] if planned else [],
        tmp_path,
        question=lambda case: {"case": case.name, "epoch": case.epoch, "messages": case.messages},
    )
    told = (
        r"different things are called suite/01, epoch 0: 'red' \(a\.yaml:3\) and 'blue'; give one of them another id$"
    )
    if not planned:
        assert plan.answers(first) == plan.answers(scored)
        assert plan.answers(named("blue", epoch=1))["base"].epoch == 1
    with pytest.raises(UsageError, match=told):
        plan.answers(second)


def test_every_completion_is_told_once(tmp_path: Path) -> None:
    progress = Silent()
    cases = [case(number) for number in range(5)]
    plan = planner(Recorder(), cases, tmp_path, progress=progress)
    for one in cases:
        plan.answers(one)
    assert progress.wanted == progress.got == 10


def test_what_was_answered_before_a_fault_is_not_asked_again(tmp_path: Path) -> None:
    backend = Recorder()
    cases = [case(number) for number in range(3)]
    backend.break_at = lambda _size, answered: KeyboardInterrupt() if answered == 2 else None
    with pytest.raises(KeyboardInterrupt):
        planner(backend, cases, tmp_path).answers(cases[0])
    backend.calls.clear()
    backend.break_at = lambda _size, _answered: None
    planner(backend, cases, tmp_path).answers(cases[0])
    assert backend.calls == [("base", ["00"]), ("finetuned", ["00", "01", "02"])]


def test_a_batch_that_does_not_fit_is_halved_for_good_and_keeps_what_it_had(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Recorder(size=8, variants=["base"])
    out = OutOfMemoryError(at_once=6)
    backend.break_at = lambda size, answered: out if size > 4 and answered == 1 else None
    cases = [case(number) for number in range(16)]
    plan = planner(backend, cases, tmp_path)
    assert [plan.answers(one)["base"].text for one in cases] == [str(number) for number in range(16)]
    assert [len(asked) for _, asked in backend.calls] == [8, 4, 3, 4, 4]
    assert len([name for _, asked in backend.calls[1:] for name in asked]) == 15
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 6 prompts at once: going on with fewer"
    ]


def test_one_prompt_that_never_fits_is_an_error_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = Recorder(size=2, variants=["base"])
    backend.break_at = lambda _size, _answered: OutOfMemoryError(at_once=1)
    cases = [case(1), case(2)]
    plan = planner(backend, cases, tmp_path)
    done = plan.answers(cases[0])["base"]
    assert caplog.messages == []  # with fewer than one prompt at once nobody goes on
    assert (done.finish, done.text) == ("error", "")
    assert done.error is not None
    assert "out of memory with this prompt alone" in done.error


@pytest.mark.parametrize("fits_alone", [True, False])
def test_a_prompt_too_heavy_for_a_batch_leaves_the_lighter_ones_their_batches(
    tmp_path: Path, *, fits_alone: bool
) -> None:
    class Narrow(Recorder):
        def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
            for completion in super().complete(cases, variant):
                if any(len(one.prompt) == 90 for one in cases) and not (fits_alone and len(cases) == 1):
                    raise OutOfMemoryError
                yield completion

    backend = Narrow(size=4)
    cases = [case(number) for number in (1, 2, 3, 4, 5, 6, 7, 90)]
    plan = planner(backend, cases, tmp_path)
    assert plan.answers(cases[-1])["base"].finish == ("stop" if fits_alone else "error")
    sizes = [(variant, len(asked)) for variant, asked in backend.calls]
    assert sizes == [("base", 4), ("base", 2), ("base", 2), *[("base", 1)] * 2, ("finetuned", 3), ("finetuned", 1)]
    backend.calls.clear()
    plan.answers(cases[0])
    assert [len(asked) for _, asked in backend.calls] == [4, 4]


def test_a_backend_that_answers_a_case_twice_is_told_so(tmp_path: Path) -> None:
    class Stutters(Recorder):
        def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
            for completion in super().complete(cases, variant):
                yield completion
                yield completion

    backend = Stutters()
    with pytest.raises(UsageError, match=r"answered suite/\d+ \(epoch 0\) twice"):
        planner(backend, [case(1), case(2)], tmp_path).answers(case(1))


def test_the_cache_answers_in_the_place_of_the_backend_until_its_identity_changes(tmp_path: Path) -> None:
    cases = [case(number) for number in range(3)]
    cache = CompletionCache(tmp_path / "cache.sqlite")
    planner(Recorder(), cases, tmp_path / "a", cache=cache).answers(cases[0])
    again = Recorder()
    answer = planner(again, [*cases, case(4)], tmp_path / "b", cache=cache).answers(cases[0])
    assert answer["finetuned"].cached
    assert again.calls == []
    changed = Recorder(version="2")
    planner(changed, cases, tmp_path / "c", cache=cache).answers(cases[0])
    assert len(changed.calls) == 2
    cache.close()


def test_a_cached_answer_is_named_after_the_variant_that_asked(tmp_path: Path) -> None:
    cache = CompletionCache(tmp_path / "cache.sqlite")
    renamed = Renamed(variants=["other"])
    planner(Recorder(variants=["base"]), [case(1)], tmp_path / "a", cache=cache).answers(case(1))
    assert planner(renamed, [case(1)], tmp_path / "b", cache=cache).answers(case(1))["other"].variant == "other"
    cache.close()


def test_embeddings_are_filled_once_and_remembered(tmp_path: Path) -> None:
    cache = CompletionCache(tmp_path / "cache.sqlite")
    cases = [case(1), case(2)]
    backend = Recorder()
    answers = planner(backend, cases, tmp_path / "a", cache=cache, embed=True).answers(cases[0])
    assert answers["base"].embedding == answers["finetuned"].embedding == "AACAPw=="
    assert sorted(backend.embedded) == ["base 01", "base 02", "finetuned 01", "finetuned 02"]
    again = Recorder()
    assert planner(again, cases, tmp_path / "b", cache=cache, embed=True).answers(cases[0])["base"].embedding
    assert again.embedded == []
    cache.close()


def test_answers_that_do_not_fit_are_read_in_halves_and_one_that_never_fits_stays_without_embedding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(Recorder):
        def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
            if len(pairs) > 1 or pairs[0][0].id == "02":
                raise OutOfMemoryError
            return super().embed(pairs)

    cases = [case(number) for number in range(3)]
    answering = planner(Small(variants=["base"]), cases, tmp_path, embed=True)
    embedded = {one.id: answering.answers(one)["base"].embedding for one in cases}
    assert embedded == {"00": "AACAPw==", "01": "AACAPw==", "02": None}
    assert caplog.messages == ["out of memory reading the answer to suite/02 alone: it stays without an embedding"]


def test_while_another_process_has_the_batch_the_next_free_one_is_worked_on(tmp_path: Path) -> None:
    cases = [case(number) for number in range(4)]
    mine, theirs = Recorder(size=2, variants=["base"]), Recorder(size=2, variants=["base"])
    other = planner(theirs, cases, tmp_path)

    def interrupt(_size: int, answered: int) -> None:
        """In the middle of the other's first batch, this process asks for the same one."""
        if answered == 1 and not mine.calls:
            plan = planner(mine, cases, tmp_path)
            assert not plan._claim(tuple(cases[:2]), blocking=False)
            plan.answers(cases[2])

    theirs.break_at = interrupt
    other.answers(cases[0])
    other.answers(cases[2])
    assert mine.calls == [("base", ["02", "03"])]
    assert theirs.calls == [("base", ["00", "01"])]
