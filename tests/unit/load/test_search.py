"""The capacity search: where it looks, when it stops, what it never counts, and how it goes on after a kill."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_llmbench.core.errors import NotReadyError, ServerError, UsageError
from pytest_llmbench.load.search import (
    Found,
    RunTrial,
    SearchPlan,
    SearchProgress,
    find_capacity,
    find_lost,
    open_journal,
)
from pytest_llmbench.load.search_journal import InvalidTrial, claimed, discard, searched
from pytest_llmbench.stats.observation import Observation

PLAN = SearchPlan(share=0.9, highest=50, budget=1500)


class Server:
    """Answers are good by chance, the same for the same trial: 94 % below the capacity, ever fewer above."""

    def __init__(self, capacity: int, seed: int = 0) -> None:
        self.capacity, self.seed = capacity, seed
        self.asked: list[int] = []

    async def run(self, level: int, requests: int) -> Observation | InvalidTrial:
        random = np.random.default_rng([self.seed, level, self.asked.count(level)])
        self.asked.append(level)
        good = random.binomial(requests // level, self.share(level), level).tolist()
        groups = tuple((one, requests // level) for one in good)
        return Observation(level, sum(good), requests, groups, requests + level)

    def share(self, level: int) -> float:
        return float(0.94 / (1 + np.exp(30 * (level / (self.capacity + 0.5) - 1) - 3.1)))


def search(run: RunTrial, plan: SearchPlan = PLAN, journal: Path | None = None, **more: object) -> Found:
    return asyncio.run(find_capacity(run, plan, journal=journal, **more))  # type: ignore[arg-type]


def failing_after(server: Server, trials: int) -> RunTrial:
    async def run(level: int, requests: int) -> Observation | InvalidTrial:
        if len(server.asked) == trials:
            raise ServerError("the server is gone")
        return await server.run(level, requests)

    return run


@pytest.mark.parametrize("capacity", [3, 8, 17, 40])
def test_the_capacity_is_found_under_stalls(capacity: int) -> None:
    plan = SearchPlan(share=0.9, budget=3000)
    errors = [search(Server(capacity, seed).run, plan).capacity.users - capacity for seed in range(3)]
    assert all(abs(error) <= max(1, 0.05 * capacity) for error in errors)


def test_levels_rise_in_steps_that_never_drown_the_server() -> None:
    server = Server(40)
    search(server.run)
    assert server.asked[:4] == [1, 2, 4, 8]
    highest = [max(server.asked[: index + 1]) for index in range(len(server.asked))]
    assert all(after <= max(2 * min(before, 8), 1.5 * before + 0.5) for before, after in itertools.pairwise(highest))


def test_pauses_of_the_whole_server_are_not_taken_for_independent_answers() -> None:
    class Pausing(Server):
        async def run(self, level: int, requests: int) -> Observation:
            messages = requests // level
            random = np.random.default_rng([self.seed, len(self.asked)])
            self.asked.append(level)
            good = random.random((level, messages)) < self.share(level) / 0.94
            good &= random.random(messages) > 0.05  # all users' answers of that time come late
            groups = tuple((one, messages) for one in good.sum(axis=1).tolist())
            return Observation(level, int(good.sum()), requests, groups, requests + level)

    plan = SearchPlan(share=0.9, budget=2000)
    found = [search(Pausing(16, seed).run, plan).capacity for seed in range(4)]
    assert all(capacity.low <= 16 <= capacity.high for capacity in found)


@pytest.mark.parametrize(("capacity", "users"), [(200, 12), (0, 0)])
def test_a_capacity_beyond_the_levels_tried_is_told_as_their_end(capacity: int, users: int) -> None:
    found = search(Server(capacity).run, SearchPlan(share=0.9, highest=12, budget=3000))
    assert found.decided
    assert (found.capacity.users, found.capacity.low, found.capacity.high) == (users, users, users)


def test_levels_near_the_edge_are_repeated() -> None:
    server = Server(17)
    search(server.run)
    assert sum(15 <= level <= 20 for level in server.asked) >= 4


def test_an_easy_search_stops_before_its_budget_is_spent() -> None:
    found = search(Server(3).run)
    assert found.decided
    assert found.sent < PLAN.budget / 2


def test_the_budget_is_never_exceeded_and_the_doubt_is_told() -> None:
    found = search(Server(30).run, SearchPlan(share=0.9, budget=400))
    assert found.sent <= 400
    assert not found.decided
    assert found.capacity.low < found.capacity.high


def test_each_trial_is_told_with_the_requests_left() -> None:
    told: list[SearchProgress] = []
    found = search(Server(8).run, progress=told.append)
    assert [step.trial for step in told] == list(found.trials)
    assert all(step.sent + step.left == PLAN.budget for step in told)
    assert told[-1].capacity.users == found.capacity.users


@pytest.mark.parametrize("killed_after", [1, 6])
def test_a_killed_search_resumes_without_asking_twice(tmp_path: Path, killed_after: int) -> None:
    whole, journal, server = Server(17), tmp_path / "out/journal.jsonl", Server(17)
    with pytest.raises(ServerError):
        search(failing_after(server, killed_after), journal=journal)
    resumed = search(server.run, journal=journal)
    assert resumed == search(whole.run)
    assert server.asked == whole.asked


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    journal, server = tmp_path / "journal.jsonl", Server(8)
    with pytest.raises(ServerError):
        search(failing_after(server, 3), journal=journal)
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"level": 8, "go')
    found = search(server.run, journal=journal)
    assert [json.loads(line)["level"] for line in journal.read_text().splitlines()[1:]] == server.asked
    assert len(found.trials) == len(server.asked)


def test_without_budget_left_the_journal_is_judged_and_nothing_asked(tmp_path: Path) -> None:
    journal, server = tmp_path / "journal.jsonl", Server(8)
    with pytest.raises(ServerError):
        search(failing_after(server, 5), journal=journal)
    found = search(server.run, SearchPlan(share=0.9, budget=0), journal)
    assert len(found.trials) == len(server.asked) == 5


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    search(Server(3).run, journal=journal, identity={"model": "small"})
    with pytest.raises(UsageError, match=r"journal\.jsonl:1: .*another search: model"):
        search(Server(3).run, journal=journal, identity={"model": "large"})


def test_a_journal_of_when_the_cap_was_part_of_it_is_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"search": {"share": 0.9, "highest": 20, "model": "small"}}\n', encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"level": 3, "good": 4, "total": 4, "groups": [[4, 4]], "sent": 5, "detail": {}}\n')
    assert open_journal(path, PLAN, {"model": "small"}).resumed == 1
    with pytest.raises(UsageError, match="another search: model not the same"):
        open_journal(path, PLAN, {"model": "large"})


@pytest.mark.parametrize(
    "content", ["hello\n", "[]\n", '{"search": {"share": 0.9}}\n{"level": 3, "good": 4, "total": 2}\n']
)
def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    journal = tmp_path / "notes.txt"
    journal.write_text(content)
    with pytest.raises(UsageError, match=r"notes\.txt"):
        search(Server(3).run, journal=journal)
    assert journal.read_text() == content


def sometimes_invalid(server: Server, is_invalid: Callable[[int], bool]) -> RunTrial:
    trials = 0

    async def run(level: int, requests: int) -> Observation | InvalidTrial:
        nonlocal trials
        trials += 1
        if is_invalid(trials):
            return InvalidTrial(level, "the client was the bottleneck", requests)
        return await server.run(level, requests)

    return run


def test_an_invalid_trial_costs_requests_and_says_nothing(tmp_path: Path) -> None:
    run = sometimes_invalid(Server(8), lambda trial: trial % 3 == 0)
    found = search(run, journal=tmp_path / "journal.jsonl")
    assert abs(found.capacity.users - 8) <= 1
    invalid = [trial for trial in found.kept if isinstance(trial, InvalidTrial)]
    assert invalid
    assert found.sent == sum(trial.cost for trial in found.trials) + sum(trial.sent for trial in invalid)


def test_a_search_whose_trials_are_all_invalid_stops_without_a_capacity() -> None:
    with pytest.raises(NotReadyError, match=r"3 trials in a row were invalid.*bottleneck"):
        search(sometimes_invalid(Server(8), lambda _: True))


def test_a_search_that_gives_up_names_the_level_and_not_its_step() -> None:
    async def busy(level: int, _requests: int) -> InvalidTrial:
        return InvalidTrial(level, "busy", 3, detail={"level": 2.5 * level})

    with pytest.raises(NotReadyError, match=r"the last at level 2\.5: busy"):
        search(busy)


def test_a_budget_too_small_for_one_trial_gives_no_capacity() -> None:
    with pytest.raises(NotReadyError, match="no trial was valid"):
        search(Server(8).run, SearchPlan(budget=2))


def test_a_plateau_just_below_the_promise_is_never_surely_held() -> None:
    """Ten users keep it, up to thirty nearly do: no amount of trials at its far end may prove that these are held."""
    plateau = Server(10)
    plateau.share = lambda level: 0.99 if level <= 10 else 0.88 if level <= 30 else 0.4  # type: ignore[method-assign]
    found = search(plateau.run, SearchPlan(share=0.9, highest=50, budget=2000))
    assert found.capacity.low <= 10
    assert found.capacity.chance_of(11) < 0.95
    assert not found.decided


def test_a_disturbance_in_mid_search_is_told_and_decides_nothing() -> None:
    quiet = search(Server(17).run)
    low = next(trial for trial in quiet.trials if trial.level == 8)
    stalled = Observation(8, low.total // 3, low.total, tuple((total // 3, total) for _, total in low.groups), low.sent)
    disturbed = Found(quiet.capacity, "confidence", quiet.sent + stalled.sent, (*quiet.kept, stalled))
    assert (quiet.decided, quiet.contradiction) == (True, None)
    assert disturbed.contradiction is not None
    assert disturbed.contradiction.worse is stalled
    assert not disturbed.decided


def test_no_trial_begins_when_the_time_is_over() -> None:
    async def run(level: int, requests: int) -> Observation | InvalidTrial:
        await asyncio.sleep(0.02)
        return await Server(17).run(level, requests)

    found = search(run, SearchPlan(share=0.9, seconds=0.0, budget=2000))
    assert len(found.trials) == 1
    assert (found.ended_by, found.decided) == ("time", False)


def test_strict_trials_cost_their_messages_and_count_as_one() -> None:
    random = np.random.default_rng(3)

    async def run(level: int, requests: int) -> Observation:
        return Observation(level, int(random.random() < 1 / (1 + np.exp(2 * (level - 8.5)))), 1, sent=requests)

    found = search(run, SearchPlan(share=0.5, budget=3000, messages=(3, 3)))
    assert abs(found.capacity.users - 8) <= 1
    assert found.sent <= 3000


def test_where_the_users_are_fixed_a_trial_costs_what_they_send() -> None:
    server, asked = Server(8), []

    async def run(level: int, requests: int) -> Observation:
        asked.append(requests)
        good = np.random.default_rng(level).binomial(requests, server.share(level))
        return Observation(level, int(good), requests, ((int(good), requests),), requests + 5)

    found = search(run, SearchPlan(share=0.9, highest=20, budget=600, messages=(3, 10), users=5))
    assert abs(found.capacity.users - 8) <= 1
    assert set(asked) <= {5 * messages for messages in range(3, 11)}
    assert found.sent <= 600


def test_a_warm_up_that_takes_more_than_expected_is_not_paid_from_nowhere() -> None:
    async def run(level: int, requests: int) -> Observation:
        return Observation(level, requests, requests, ((requests, requests),), requests + 40 * level)

    assert search(run, SearchPlan(share=0.9, highest=50, budget=1000)).sent <= 1000


def test_a_server_that_came_back_is_no_reason_to_give_up() -> None:
    server, trials = Server(8), itertools.count()

    async def run(level: int, requests: int) -> Observation | InvalidTrial:
        return InvalidTrial(level, "gone", 5, mended=True) if next(trials) < 4 else await server.run(level, requests)

    found = search(run)
    assert len(found.kept) - len(found.trials) == 4
    assert abs(found.capacity.users - 8) <= 1


def test_what_is_kept_with_a_trial_comes_back_from_the_journal(tmp_path: Path) -> None:
    journal, server = tmp_path / "journal.jsonl", Server(8)

    async def run(level: int, requests: int) -> Observation | InvalidTrial:
        detail = {"began": len(server.asked), "requests": [[0, 0.1, None]]}
        if len(server.asked) == 2:
            server.asked.append(0)
            return InvalidTrial(level, "busy", 3, detail=detail)
        seen = await server.run(level, requests)
        return Observation(level, seen.good, seen.total, seen.groups, seen.sent, detail)  # type: ignore[union-attr]

    made = search(run, journal=journal)
    read = search(run, SearchPlan(share=0.9, budget=0), journal)
    assert [one.detail for one in read.kept] == [one.detail for one in made.kept]
    assert [one.detail["began"] for one in read.kept] == list(range(len(read.kept)))
    assert read.kept == made.kept


@pytest.mark.parametrize(("capacity", "lost"), [(3, 4), (5, 8), (15, 16), (200, 64), (0, 1)])
def test_the_range_is_found_by_doubling_and_halving(tmp_path: Path, capacity: int, lost: int) -> None:
    asked: list[int] = []

    async def run(level: int, requests: int) -> Observation:
        asked.append(level)
        return Observation(level, requests if level <= capacity else 0, requests)

    plan = SearchPlan(share=0.9, highest=64)
    journal = open_journal(tmp_path / "journal.jsonl", plan, {})
    found = asyncio.run(find_lost(run, plan, journal, start=8, requests_at=lambda _: 12))
    assert found == lost
    known = len(asked)
    again = open_journal(tmp_path / "journal.jsonl", plan, {})
    assert asyncio.run(find_lost(run, plan, again, start=8, requests_at=lambda _: 12)) == lost
    assert len(asked) == known  # what is in the journal is not asked again


def test_a_range_that_costs_too_much_is_cut_short() -> None:
    async def run(level: int, requests: int) -> Observation:
        return Observation(level, requests, requests)

    plan = SearchPlan(share=0.9, highest=1024, budget=400)
    found = asyncio.run(
        find_lost(run, plan, open_journal(None, plan, {}), start=1, requests_at=lambda level: 4 * level)
    )
    assert found == 32  # 4 * (1 + 2 + 4 + 8 + 16) were sent, and half of the budget is for the search itself


def test_a_range_that_takes_too_long_is_cut_short() -> None:
    async def run(level: int, requests: int) -> Observation:
        return Observation(level, requests, requests)

    plan = SearchPlan(share=0.9, highest=1024, seconds=0.0)
    journal = open_journal(None, plan, {})
    assert asyncio.run(find_lost(run, plan, journal, start=16, requests_at=lambda _: 12)) == 32
    assert [trial.level for trial in journal.trials] == [16]


def test_what_a_journal_searched_is_known_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert searched(path) == {}
    open_journal(path, PLAN, {"step": 0.5})
    assert searched(path) == {"share": 0.9, "step": 0.5}
    path.write_text("[1]\n")
    assert searched(path) == {}


def test_a_finished_search_is_marked_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = open_journal(path, PLAN, {})
    journal.add(Observation(1, 3, 3))
    journal.finish({"value": 1})
    journal.finish({"value": 1})
    again = open_journal(path, PLAN, {})
    assert (again.finished, again.resumed) == (True, 1)
    again.add(Observation(2, 3, 3))
    assert not open_journal(path, PLAN, {}).finished
    assert path.read_text().count('"finished"') == 1


@pytest.mark.parametrize(("finish", "lost"), [(False, 1), (True, 0)])
def test_a_journal_that_is_replaced_tells_what_is_lost(tmp_path: Path, finish: bool, lost: int) -> None:  # noqa: FBT001
    path = tmp_path / "journal.jsonl"
    journal = open_journal(path, PLAN, {})
    journal.add(Observation(1, 3, 3))
    if finish:
        journal.finish({})
    assert discard(path) == lost
    assert not path.exists()
    assert discard(path) == 0


def test_two_searches_never_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "new/journal.jsonl"
    with claimed(path), pytest.raises(UsageError, match="another search is at work"), claimed(path):
        pass
    with claimed(path):
        pass
