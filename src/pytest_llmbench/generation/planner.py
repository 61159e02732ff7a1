"""Groups the cases that items ask for one by one into batches of near length; halves them when memory runs out.

The planner knows every case that was selected. It cuts them into batches of near length once; the first item that asks
for its answer has its whole batch answered, its neighbours find theirs ready. So `-x` costs at most one batch too many,
an item run alone costs one answer, and nothing is asked that the journal or the cache already holds.

Several processes may work on one plan (pytest-xdist): a batch is claimed with a file lock, and who finds its own batch
taken works on another until the answers are in the journal.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from pytest_llmbench.cases.case import namesakes
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import InUseError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.backend import ALONE, AnswersTogether, Backend, OutOfMemoryError
from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal, content_key

_log = logging.getLogger("pytest_llmbench")

Batch = tuple[Case, ...]
_LOCK_CHARS = 3
"""Of a lock's name: at most 4,096 files. Batches of one name are not worked on at once, which does no harm."""


class AnswerProgress(Protocol):
    """Told what happens, to show it."""

    def planned(self, answers: int) -> None:
        """So many answers are wanted in all."""

    def answered(self, completion: Completion) -> None:
        """One more is there."""


class Planner:
    """Answers the cases of one session in batches.

    Args:
        backend: who answers.
        cases: every selected case, in any order; cut into batches with the first that is asked for, unless `plan`
            is given a part of them before.
        journal: the run's completions; what it holds is not asked again.
        cache: completions of earlier runs, or None to ask everything anew.
        question: what, besides the backend's identity, decides the answer to a case (for the content key).
        embed: whether every completion should carry its embedding.
        progress: told of every completion.
        processes: how many share the plan; no batch is so large that one of them has nothing to do.
    """

    def __init__(
        self,
        backend: Backend,
        cases: Sequence[Case],
        journal: CompletionJournal,
        cache: CompletionCache | None,
        *,
        question: Callable[[Case], Mapping[str, object]],
        embed: bool,
        progress: AnswerProgress,
        processes: int = 1,
    ) -> None:
        self._backend, self._journal, self._cache = backend, journal, cache
        self._question, self._embed, self._progress, self._processes = question, embed, progress, processes
        self._batch_size = backend.batch_size()
        self._together = backend if isinstance(backend, AnswersTogether) else None
        self._at_once = self._batch_size * (len(backend.variants) if self._together else 1)
        self._room: dict[int, int] = {}
        self._identity = {variant: backend.identity(variant) for variant in backend.variants}
        self._cases: Sequence[Case] | None = cases
        self._batches: list[Batch] = []
        self._batch_of: dict[tuple[str, int], Batch] = {}
        self._known: dict[tuple[str, int], Case] = {}
        self._done: dict[tuple[str, int], dict[str, Completion]] = {}
        self._keys: dict[tuple[str, int, str], str] = {}
        progress.planned(len(cases) * len(backend.variants))

    def plan(self, cases: Sequence[Case]) -> None:
        """Cut cases that no other process answers into batches; what was planned and answered before is let go of.

        Raises:
            UsageError: two of them have one name and ask different things.
        """
        self._plan(cases, 1)

    def _plan(self, cases: Sequence[Case], processes: int) -> None:
        self._cases, self._known = None, {}
        for case in cases:
            self._refuse_namesake(case)
        self._batches = self._cut(cases, processes)
        self._batch_of = {(case.name, case.epoch): batch for batch in self._batches for case in batch}
        self._done, self._keys = {}, {}

    def answers(self, case: Case) -> Mapping[str, Completion]:
        """Every variant's completion for this case; its whole batch is answered when it is the first to ask.

        Raises:
            UsageError: another case of this name was planned or answered, which asks something else.
        """
        if self._cases is not None:
            self._plan(self._cases, self._processes)
        self._refuse_namesake(case)
        place = (case.name, case.epoch)
        batch = self._batch_of.get(place, (case,))
        if place not in self._done:
            self._work_until(batch)
        return self._done[place]

    def _refuse_namesake(self, case: Case) -> None:
        """A case goes by its name in the plan, the journal and the reports: of two, one would get the other's answer.

        One that is scored in another way but asks the same is the same question.
        """
        known = self._known.setdefault((case.name, case.epoch), case)
        if known is case or known == case or self._question(known) == self._question(case):
            return
        first, second = (f"{one.prompt!r:.60}" + (f" ({one.source})" if one.source else "") for one in (known, case))
        raise namesakes(case.name, case.epoch, first, second)

    def _cut(self, cases: Sequence[Case], processes: int) -> list[Batch]:
        ordered = sorted(cases, key=lambda case: (self._backend.weight(case), case.name, case.epoch))
        size = max(1, min(self._batch_size, len(ordered) // processes))
        return [tuple(ordered[at : at + size]) for at in range(0, len(ordered), size)]

    def _work_until(self, wanted: Batch) -> None:
        """Answer `wanted`; while another process is at it, take other batches that nobody has."""
        if self._claim(wanted, blocking=False):
            return
        for batch in self._batches:
            if batch is not wanted and (batch[0].name, batch[0].epoch) not in self._done:
                self._claim(batch, blocking=False)
                if self._collect(wanted):
                    return
        self._claim(wanted, blocking=True)

    def _claim(self, batch: Batch, *, blocking: bool) -> bool:
        if self._collect(batch):
            return True
        name = content_key({}, {"cases": [(case.name, case.epoch) for case in batch]})[:_LOCK_CHARS]
        try:
            with self._journal.claimed(name, blocking=blocking):
                self._answer(batch)  # what another process answered while this one waited is not missing any more
        except InUseError:
            return False
        return self._collect(batch)

    def _answer(self, batch: Batch) -> None:
        """Bring every case's completions into the journal, of all variants at once where the backend can."""
        missing = [(case, variant) for variant in self._backend.variants for case in self._missing(batch, variant)]
        cases = _by_place(batch)
        if self._together:  # case by case, so that variants share every step, and what is there early are whole cases
            order = {place: number for number, place in enumerate(cases)}
            missing.sort(key=lambda one: order[one[0].name, one[0].epoch])
        one_by_one = [(variant,) for variant in self._backend.variants]
        for variants in [self._backend.variants] if self._together else one_by_one:
            for completion in self._ask([one for one in missing if one[1] in variants]):
                self._keep(cases[completion.case, completion.epoch], completion)
            for variant in variants:
                self._fill_embeddings(batch, variant)

    def _missing(self, batch: Batch, variant: str) -> list[Case]:
        """The cases whose answer is neither in the journal nor in the cache, which goes to the journal."""
        keys = {(case.name, case.epoch): self._key(case, variant) for case in batch}
        journaled = self._journal.get_all(keys.values())
        missing = [case for case in batch if keys[case.name, case.epoch] not in journaled]
        if self._cache is None or not missing:
            return missing
        stored = self._cache.get(keys[case.name, case.epoch] for case in missing)
        for case in missing:
            if completion := stored.get(keys[case.name, case.epoch]):
                self._keep(case, dataclasses.replace(completion, variant=variant))
        return [case for case in missing if keys[case.name, case.epoch] not in stored]

    def _ask(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        """Ask in chunks that fit; one that does not is halved, as are later ones with prompts as heavy as its own."""
        waiting = {(case.name, case.epoch, variant): (case, variant) for case, variant in asked}
        at_once = self._at_once
        while waiting:
            chunk = self._with_room(list(waiting.values())[:at_once])
            fault = "the backend ended without an answer"
            try:
                for completion in self._completions(chunk):
                    if waiting.pop((completion.case, completion.epoch, completion.variant), None) is None:
                        place = f"{completion.case} (epoch {completion.epoch})"
                        raise UsageError(
                            f"the backend answered {place} twice, or was not asked for it; mend the backend"
                        )
                    yield completion
            except OutOfMemoryError as error:
                if len(chunk) > 1:
                    at_once = len(chunk) // 2
                    self._room[max(self._backend.weight(case) for case, _ in chunk)] = at_once
                    if error.at_once != 1:  # else it is looked for that does not fit alone, and told of then
                        told = N_("out of memory with %d prompts at once: going on with fewer")
                        _log.warning(told, error.at_once or len(chunk))
                    continue
                fault = ALONE
            for case, variant in chunk:
                if waiting.pop((case.name, case.epoch, variant), None):
                    yield Completion(case.name, case.epoch, variant, "", "error", error=fault)

    def _with_room(self, asked: Sequence[tuple[Case, str]]) -> Sequence[tuple[Case, str]]:
        """The first of them, up to one beside whose weight so many did not fit before: the light ones do not pay."""
        most = len(asked)
        for number, (case, _) in enumerate(asked) if self._room else ():
            weight = self._backend.weight(case)
            most = min([most, *(room for heavy, room in self._room.items() if heavy <= weight)])
            if number >= most:
                return asked[:number]
        return asked

    def _completions(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        if self._together is not None:
            return self._together.complete_together(asked)
        return self._backend.complete([case for case, _ in asked], asked[0][1])

    def _fill_embeddings(self, batch: Batch, variant: str) -> None:
        if not self._embed:
            return
        held = self._journal.get_all(self._key(case, variant) for case in batch)
        cases = _by_place(batch)
        found = [(case, held.get(self._key(case, variant))) for case in batch]
        bare = [(case, done) for case, done in found if done is not None and done.embedding is None and done.text]
        for completion in self._embedded(bare):
            if completion.embedding is not None:
                key = self._key(cases[completion.case, completion.epoch], variant)
                self._journal.add(key, completion)
                self._remember(key, completion)

    def _embedded(self, pairs: Sequence[tuple[Case, Completion]]) -> Iterator[Completion]:
        """The completions with their embeddings, as many at once as fit; one that does not fit alone stays without."""
        waiting = [pairs] if pairs else []
        while waiting:
            some = waiting.pop()
            try:
                yield from self._backend.embed(some)
            except OutOfMemoryError:
                if len(some) > 1:
                    waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
                else:
                    told = N_("out of memory reading the answer to %s alone: it stays without an embedding")
                    _log.warning(told, some[0][0].name)

    def _keep(self, case: Case, completion: Completion) -> None:
        key = self._key(case, completion.variant)
        self._journal.add(key, completion)
        if not completion.cached:
            self._remember(key, completion)
        self._progress.answered(completion)

    def _remember(self, key: str, completion: Completion) -> None:
        if self._cache is not None:
            self._cache.put(key, dataclasses.replace(completion, cached=False))

    def _collect(self, batch: Batch) -> bool:
        """Take the batch's completions from the journal; True when all are there."""
        variants = self._backend.variants
        keys = {(case.name, case.epoch): {name: self._key(case, name) for name in variants} for case in batch}
        held = self._journal.get_all(key for of_case in keys.values() for key in of_case.values())
        for place, of_case in keys.items():
            if not held.keys() >= {*of_case.values()}:
                return False
            # adapters that are equal share an answer, which is stored under one of their names
            self._done[place] = {
                variant: dataclasses.replace(held[key], variant=variant) for variant, key in of_case.items()
            }
        return True

    def _key(self, case: Case, variant: str) -> str:
        place = case.name, case.epoch, variant
        if place not in self._keys:
            self._keys[place] = content_key(self._identity[variant], self._question(case))
        return self._keys[place]


def _by_place(cases: Sequence[Case]) -> dict[tuple[str, int], Case]:
    return {(case.name, case.epoch): case for case in cases}
