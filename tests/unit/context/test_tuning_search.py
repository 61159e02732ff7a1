from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest
from support.calibrated_launcher import BASELINE, BEST, CalibratedLauncher, calibrated_space

from pytest_llmbench.context.tuning import measuring
from pytest_llmbench.context.tuning.launching import Launched
from pytest_llmbench.context.tuning.measuring import CapacityMeasure, Measured
from pytest_llmbench.context.tuning.search import winner
from pytest_llmbench.context.tuning.session import _identity, confirmed_winner
from pytest_llmbench.context.tuning.space import Candidate, SearchSpace
from pytest_llmbench.context.tuning.study import TuningStudy, opened_study, study_in_memory
from pytest_llmbench.core.errors import NotReadyError, ServerError, UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.load.search import Found, SearchPlan, SearchProgress, find_capacity
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.stats.observation import Observation

pytest.importorskip("optuna")

SMALL = {"slots": (4, 8, 16, 32), "threads": (2, 4)}


def launcher(**more: object) -> CalibratedLauncher:
    return CalibratedLauncher(calibrated_space(SMALL), **more)  # type: ignore[arg-type]


def searched(one: CalibratedLauncher, folder: Path, trials: int, *, resume: bool = False) -> TuningStudy:
    with opened_study(folder, "s", one.space, {"launcher": "x"}, resume=resume, trials=trials, seed=3) as study:
        one.tuner().search(study, trials, None)
        one.tuner().confirm(study, 3)
        return study


def in_memory(one: CalibratedLauncher, trials: int) -> TuningStudy:
    study = study_in_memory(one.space, trials, seed=3)
    one.tuner().search(study, trials, None)
    one.tuner().confirm(study, 3)
    return study


@pytest.fixture(scope="module")
def whole() -> tuple[CalibratedLauncher, TuningStudy]:
    """A search of more trials than there are choices."""
    one = launcher()
    return one, in_memory(one, 50)


def test_the_best_settings_win_and_are_confirmed_beside_the_baseline_in_turns(
    whole: tuple[CalibratedLauncher, TuningStudy],
) -> None:
    one, study = whole
    best = winner(study.trials)
    assert study.trials[0].settings == {name: BASELINE[name] for name in SMALL}
    assert best.settings == {name: BEST[name] for name in SMALL}
    assert len({trial.launch for trial in study.trials}) == len(study.trials) == 8  # each choice once, then it ends
    outcome, ratio = confirmed_winner(study, best.number)
    assert outcome == "better"
    assert ratio is not None
    assert ratio.low < 1 / (0.62 * 0.7) < ratio.high
    assert [made.winner_first for made in study.rounds] == [False, True, False]
    assert all(made.winner.mean > made.baseline.mean for made in study.rounds)
    assert one.open == 0


def test_trials_begin_at_the_best_so_far_and_end_early_below_it(
    whole: tuple[CalibratedLauncher, TuningStudy],
) -> None:
    one, study = whole
    assert one.firsts[0] == 1
    assert all(first > 1 for first in one.firsts[1:])
    assert "surely_worse" in {trial.outcome for trial in study.trials}


def test_servers_that_cannot_run_or_answer_wrong_never_win() -> None:
    space = calibrated_space({"slots": (4, 8, 16, 32)})
    one = CalibratedLauncher(space, faults={"8": "out of memory"}, wrong=frozenset({"16"}), contexts={"32": 1024})
    study = in_memory(one, 4)
    outcomes = {trial.settings["slots"]: trial.outcome for trial in study.trials if trial.settings["slots"] != 4}
    assert outcomes == {8: "not_started", 16: "wrong_answers", 32: "short_context"}
    told = {trial.settings["slots"]: trial.reason for trial in study.trials}
    assert told[8] == "out of memory"
    assert told[32] == "a request may hold 1024 tokens"
    assert winner(study.trials).settings["slots"] == 4
    assert one.open == 0


def test_a_trial_that_says_nothing_of_the_server_calls_it_no_worse_than_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stumbling:
        """A server of 20 users; of the first trial, at the bar, the client was the bottleneck."""

        def __init__(self, *_: object, after_trial: Callable[[SearchProgress], None], **_more: object) -> None:
            self._tell, self._trials = after_trial, 0

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def max_users(self, first: int) -> Found:
            return await find_capacity(self._trial, SearchPlan(first=first), progress=self._tell)

        async def _trial(self, level: int, requests: int) -> Observation | InvalidTrial:
            self._trials += 1
            if self._trials == 1:
                return InvalidTrial(level, "the client was the bottleneck", requests)
            return Observation(level, requests if level <= 20 else 0, requests)

    monkeypatch.setattr(measuring, "ServerUnderTest", Stumbling)
    server = Launched("http://127.0.0.1:1/v1", 0, lambda: None)
    measure = CapacityMeasure(Settings(), lambda _line, _stays: None)
    held = measure(server, "trial 2", first=8, bar=8)
    assert not held.stopped
    assert 18 <= held.users <= 22
    assert measure(server, "trial 3", first=8, bar=45).stopped  # valid trials still tell


def test_a_server_that_dies_is_told_as_dead_though_its_connections_end_first() -> None:
    class Dying(CalibratedLauncher):
        @contextlib.contextmanager
        def launch(self, candidate: Candidate) -> Iterator[Launched]:
            looks = iter([None, "it ended with code -9"])
            with super().launch(candidate) as server:
                yield dataclasses.replace(server, why_gone=lambda: next(looks))

        def measure(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
            if len(self.started) > 1:
                raise ServerError("the server closed the connection")
            return super().measure(server, name, first=first, bar=bar)

    study = study_in_memory(calibrated_space({"slots": (4, 8)}), 2, seed=3)
    Dying(calibrated_space({"slots": (4, 8)})).tuner().search(study, 2, None)
    died = study.trials[1]
    assert (died.outcome, died.reason) == ("died", "the server closed the connection (it ended with code -9)")


def test_no_other_settings_may_seem_better() -> None:
    one = CalibratedLauncher(calibrated_space({"slots": (1, 2)}))
    study = in_memory(one, 3)
    assert confirmed_winner(study, winner(study.trials).number) == ("baseline_best", None)
    assert study.rounds == []


class CutShort(CalibratedLauncher):
    """Each search looks at three levels, from the one that it begins at, before its time is over."""

    def held(self) -> float:
        """All servers hold alike more than is ever tried."""
        return 1000.0

    def measure(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
        made = super().measure(server, name, first=first, bar=bar)
        levels = [first * 2**look for look in range(3)]
        users = max((level for level in levels if level <= self.held()), default=int(self.held()))
        more = users == levels[-1]
        return dataclasses.replace(made, users=users, mean=users - 0.1, deviation=0.3, more=more, stopped=False)


def test_servers_of_which_no_search_sees_the_end_are_not_told_apart() -> None:
    one = CutShort(calibrated_space({"slots": (4, 8, 16)}))
    study = in_memory(one, 3)
    best = winner(study.trials)
    assert best.number > 1  # it stood later on the ladder, and is measured beside the baseline from the same level
    assert best.held is not None
    assert one.firsts[3:] == [best.held.users] * 6
    assert confirmed_winner(study, best.number) == ("not_told_apart", None)


def test_servers_that_all_reach_the_most_that_is_tried_are_not_told_apart_and_not_measured_again() -> None:
    class Capped(CutShort):
        def measure(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
            mean = 49.0 + len(self.started) / 100  # whose answers were more does not matter
            return dataclasses.replace(
                super().measure(server, name, first=first, bar=bar), users=50, mean=mean, more=True
            )

    study = in_memory(Capped(calibrated_space({"slots": (4, 8, 16)})), 3)
    assert winner(study.trials).number == 1
    assert study.rounds == []
    assert confirmed_winner(study, 1) == ("not_told_apart", None)


def test_settings_that_hold_more_than_was_tried_are_better_where_the_end_of_the_baseline_was_seen() -> None:
    class Ended(CutShort):
        def held(self) -> float:
            return 20.0 if self._running.values["slots"] == 4 else 1000.0

    study = in_memory(Ended(calibrated_space({"slots": (4, 8, 16)})), 3)
    outcome, ratio = confirmed_winner(study, winner(study.trials).number)
    assert outcome == "better"
    assert ratio is not None
    assert ratio.low > 1


def test_a_baseline_that_cannot_run_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"baseline cannot be measured \(not started: no memory\)"):
        searched(launcher(faults={"4": "no memory"}), tmp_path, 5)
    assert len(searched(launcher(), tmp_path, 2).trials) == 2  # nothing of it is kept


def test_a_stopped_study_goes_on_where_it_was(tmp_path: Path) -> None:
    class Killed(CalibratedLauncher):
        def measure(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
            if len(self.started) == 4:
                raise KeyboardInterrupt
            return super().measure(server, name, first=first, bar=bar)

    first = Killed(calibrated_space(SMALL))
    with pytest.raises(KeyboardInterrupt):
        searched(first, tmp_path, 5)
    assert first.open == 0
    second = launcher()
    study = searched(second, tmp_path, 5, resume=True)
    assert second.started[0] == first.started[3]  # what was under way is begun again
    assert len(study.trials) == 5
    again = launcher()
    assert len(searched(again, tmp_path, 5, resume=True).rounds) == 3
    assert again.started == []


def test_a_new_winner_is_not_credited_with_the_rounds_of_an_earlier_one(tmp_path: Path) -> None:
    one = launcher()
    with opened_study(tmp_path, "s", one.space, {}, resume=False, trials=50, seed=3) as study:
        one.tuner().search(study, 2, None)
        one.tuner().confirm(study, 2)
        earlier = winner(study.trials).number
        one.tuner().search(study, 50, None)
        best = winner(study.trials).number
        assert 1 < earlier < best  # or nothing is tested here
        assert confirmed_winner(study, best) == ("unconfirmed", None)
        one.tuner().confirm(study, 3)
    with opened_study(tmp_path, "s", one.space, {}, resume=True, trials=50, seed=3) as resumed:
        assert [made.trial for made in resumed.rounds] == [earlier] * 2 + [best] * 3
        assert [made.winner_first for made in resumed.rounds_of(best)] == [False, True, False]


def test_rounds_that_do_not_say_whose_they_are_are_measured_again() -> None:
    one = launcher()
    study = in_memory(one, 50)
    study.rounds[:] = [made.model_copy(update={"trial": None}) for made in study.rounds]
    one.tuner().confirm(study, 2)
    assert len(study.rounds_of(winner(study.trials).number)) == 2


def test_a_study_with_trials_is_not_begun_anew_nor_of_another_search(tmp_path: Path) -> None:
    searched(launcher(), tmp_path, 2)
    with pytest.raises(UsageError, match=r"s\.sqlite3: the study 's' has 2 trials; go on with them by resuming"):
        searched(launcher(), tmp_path, 3)
    other = CalibratedLauncher(calibrated_space({"slots": (4, 8)}))
    with pytest.raises(UsageError, match="its trials are of another tuning: parameters not the same"):
        searched(other, tmp_path, 3, resume=True)


def test_a_study_whose_baseline_never_ran_is_begun_anew_with_what_was_corrected(tmp_path: Path) -> None:
    broken = launcher(faults={"4": "no memory"})
    with pytest.raises(NotReadyError):
        searched(broken, tmp_path, 2)
    other = CalibratedLauncher(calibrated_space({"slots": (4, 8)}))
    assert len(searched(other, tmp_path, 2).trials) == 2


def test_a_study_is_of_what_users_say_and_of_how_the_model_is_asked(tmp_path: Path) -> None:
    talks, moved = tmp_path / "talks.jsonl", tmp_path / "moved.jsonl"
    talks.write_text('{"messages": [{"role": "user", "content": "bonjour"}]}')
    moved.write_text(talks.read_text())

    def identity(path: Path, load: Mapping[str, object] | None = None, **others: object) -> Mapping[str, object]:
        settings = Settings.model_validate({"load": {"conversations": path, **(load or {})}, **others})
        one = launcher()
        return _identity(settings, one, one.space)

    known = identity(talks)
    assert identity(moved) == known
    assert identity(talks, model={"template_arguments": {"enable_thinking": False}}) != known
    assert identity(talks, model={"system_role": "user"}) != known
    for cap in ({"load": {"max_users": 9}}, {"tune": {"budget": 99}}, {"tune": {"trial_time": 9}}):
        assert identity(talks, **cap) != known
    talks.write_text(talks.read_text().replace("bonjour", "bonsoir"))
    assert identity(talks) != known


def test_a_study_is_of_what_only_its_template_knows_fixed_or_in_the_baseline() -> None:
    one = launcher()

    def identity(image: str, policy: str) -> Mapping[str, object]:
        launch, own = one.space.baseline.launch, frozenset({"policy", "image"})
        space = SearchSpace(launch, {"policy": ("fcfs", "lpm")}, {"policy": policy}, {"image": image}, own)
        return _identity(Settings(), one, space)

    known = identity("engine:1", "fcfs")
    assert identity("engine:1", "fcfs") == known
    assert identity("engine:2", "fcfs") != known
    assert identity("engine:1", "lpm") != known


def test_a_study_that_is_not_there_is_not_resumed_and_those_that_are_there_are_named(tmp_path: Path) -> None:
    searched(launcher(), tmp_path, 2)
    with (
        pytest.raises(UsageError, match=r"there is no study 'other' to resume; in .*: 's'; name one of them"),
        opened_study(tmp_path, "other", calibrated_space(SMALL), {}, resume=True, trials=3, seed=1),
    ):
        pass


def test_two_tunings_of_one_study_are_refused(tmp_path: Path) -> None:
    space = calibrated_space(SMALL)
    with (
        opened_study(tmp_path, "s", space, {}, resume=False, trials=3, seed=1),
        pytest.raises(UsageError, match="another tuning of the study 's' is at work; wait for it, or name another"),
        opened_study(tmp_path, "s", space, {}, resume=False, trials=3, seed=1),
    ):
        pass


def test_a_file_that_is_no_study_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite3").write_text("no database at all, however long it may be read")
    with pytest.raises(UsageError, match=r"s\.sqlite3: this is no study of a tuning \(file is not a database\)"):
        searched(launcher(), tmp_path, 3)
