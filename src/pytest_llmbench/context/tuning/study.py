"""The trials of a tuning in SQLite, through optuna: what is tried next, and what is known when it is resumed."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.context.tuning.document import RoundDocument, TuningTrial
from pytest_llmbench.core.errors import NotReadyError, UsageError, located
from pytest_llmbench.core.files import locked

if TYPE_CHECKING:
    import optuna

    from pytest_llmbench.context.tuning.space import Candidate, SearchSpace

_STARTUP = 8  # random trials before the model of what is good is believed; a third of a short study
_REPEATS = 10  # proposals in a row that are known already, after which one is drawn at random
_DRAWS = 1000
_NAMES = ("tune.study", "resume")


class TuningStudy:
    """A study that this process alone tunes. Made by `opened_study` or `study_in_memory`.

    `trials` are those whose outcome is known, `rounds` those of the confirmation, whoever won by then,
    both in order.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, seed: int) -> None:
        self._study, self._space = study, space
        self._random = random.Random(seed)  # noqa: S311  # settings to try, not secrets
        self.trials: list[TuningTrial] = []
        self.rounds = [RoundDocument.model_validate(one) for one in study.user_attrs.get("rounds", ())]
        self._known: dict[str, TuningTrial] = {}
        for trial in study.get_trials(deepcopy=False):
            if "trial" in trial.user_attrs:
                self._learn(TuningTrial.model_validate(trial.user_attrs["trial"]))
        self._take_up()

    def next(self) -> tuple[optuna.Trial, Candidate] | None:
        """What is tried next; None where every choice is known. The baseline is the first."""
        if not self.trials:
            self._enqueue(self._space.baseline)
        for _ in range(_REPEATS):
            asked = self._asked()
            if asked[1].key not in self._known:
                return asked
            self._tell_known(*asked)
        if (unknown := self._unknown()) is None:
            return None
        self._enqueue(unknown)
        return self._asked()

    def tell(self, asked: optuna.Trial, outcome: TuningTrial, candidate: Candidate) -> None:
        """Keep what a trial came to."""
        asked.set_user_attr("trial", outcome.model_dump(mode="json"))
        self._tell(asked, outcome)
        self._learn(outcome, candidate)

    def add_round(self, made: RoundDocument) -> None:
        """Keep one round of the confirmation."""
        self.rounds.append(made)
        self._study.set_user_attr("rounds", [one.model_dump(mode="json") for one in self.rounds])

    def rounds_of(self, winner: int) -> list[RoundDocument]:
        """The rounds in which this trial's server was measured again: those of an earlier winner say nothing of it."""
        return [one for one in self.rounds if one.trial == winner]

    def _take_up(self) -> None:
        """A trial that was under way when its process was killed is begun again."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if set(trial.params) == {one.name for one in self._space.parameters}:
                self._study.enqueue_trial(trial.params)

    def _asked(self) -> tuple[optuna.Trial, Candidate]:
        trial = self._study.ask()
        values = {}
        for one in self._space.parameters:
            if one.ordered:
                values[one.name] = one.choices[trial.suggest_int(one.name, 0, len(one.choices) - 1)]
            else:
                values[one.name] = trial.suggest_categorical(one.name, one.choices)
        return trial, self._space.candidate(values)

    def _enqueue(self, candidate: Candidate) -> None:
        places = {
            one.name: one.choices.index(candidate.values[one.name]) if one.ordered else candidate.values[one.name]
            for one in self._space.parameters
        }
        self._study.enqueue_trial(places)

    def _tell_known(self, asked: optuna.Trial, candidate: Candidate) -> None:
        """The same server again: nothing is started, and the search is told what it held."""
        self._tell(asked, self._known[candidate.key])

    def _tell(self, asked: optuna.Trial, outcome: TuningTrial) -> None:
        """A search that ended early is pruned; settings that cannot be run hold nobody."""
        from optuna.trial import TrialState

        if outcome.outcome == "failed":
            self._study.tell(asked, state=TrialState.FAIL)
        elif outcome.outcome == "surely_worse" and outcome.held:
            asked.report(outcome.held.mean, step=0)
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, outcome.held.mean if outcome.held else 0.0)

    def _learn(self, outcome: TuningTrial, candidate: Candidate | None = None) -> None:
        self.trials.append(outcome)
        if outcome.outcome != "failed":
            self._known[(candidate or self._space.candidate(outcome.settings)).key] = outcome

    def _unknown(self) -> Candidate | None:
        """Any choice that was not tried."""
        if self._space.size <= _DRAWS:
            left = [one for one in self._space.all() if one.key not in self._known]
            return self._random.choice(left) if left else None
        draws = ({one.name: self._random.choice(one.choices) for one in self._space.parameters} for _ in range(_DRAWS))
        return next((one for one in map(self._space.candidate, draws) if one.key not in self._known), None)


@contextlib.contextmanager
def opened_study(  # what a study is of, each by name
    folder: Path,
    name: str,
    space: SearchSpace,
    identity: Mapping[str, Any],
    *,
    resume: bool,
    trials: int,
    seed: int,
) -> Iterator[TuningStudy]:
    """The study of this name, nobody else's meanwhile. `identity` is all that its trials depend on.

    Raises:
        UsageError: another process tunes it; it has trials and is not resumed, or is resumed and is not there; they are
            of another search; the file is none of a study.
        NotReadyError: optuna is missing, or the disk refuses.
    """
    path = folder / f"{name}.sqlite3"
    if resume and not path.exists():
        known = ", ".join(sorted(f"'{one.stem}'" for one in folder.glob("*.sqlite3"))) or "none"
        raise UsageError(
            f"there is no study '{name}' to resume; in {folder}: {known}; name one of them, or begin it, without "
            "resuming",
            names=_NAMES,
        )
    in_use = located(path, None, f"another tuning of the study '{name}' is at work; wait for it, or name another study")
    with locked(path.with_suffix(".lock"), in_use=in_use, names=_NAMES[:1]), _storage(path) as storage, _errors(path):
        known = json.loads(json.dumps({**identity, "parameters": {one.name: one.choices for one in space.parameters}}))
        study = _study_of(known, _made(name, _sampler(trials, seed), storage), storage, path, resume=resume)
        yield TuningStudy(study, space, seed)


def _study_of(
    identity: Mapping[str, Any], study: optuna.Study, storage: optuna.storages.BaseStorage, path: Path, *, resume: bool
) -> optuna.Study:
    """The study if it is of that identity; a new one in its place where it is of another and has no trial yet."""
    import optuna

    found = study.user_attrs.get("identity", identity)
    other = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
    done = sum("trial" in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    if other and done:
        message = f"its trials are of another tuning: {', '.join(other)} not the same; name another study"
        raise UsageError(located(path, None, message), names=_NAMES[:1])
    if done and not resume:
        message = (
            f"the study '{study.study_name}' has {done} trials; go on with them by resuming, or name another study"
        )
        raise UsageError(located(path, None, message), names=_NAMES)
    if other:
        optuna.delete_study(study_name=study.study_name, storage=storage)
        study = _made(study.study_name, study.sampler, storage)
    study.set_user_attr("identity", identity)
    return study


def _sampler(trials: int, seed: int) -> optuna.samplers.TPESampler:
    """What proposes settings: a tree-structured Parzen estimator over all of them together (Bergstra et al. 2011)."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=max(2, min(_STARTUP, trials // 3))
        )


def _made(
    name: str, proposing: optuna.samplers.BaseSampler, storage: optuna.storages.BaseStorage | None
) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=storage, study_name=name, sampler=proposing, direction="maximize", load_if_exists=True
    )


def study_in_memory(space: SearchSpace, trials: int, seed: int) -> TuningStudy:
    """A study that nothing is kept of."""
    return TuningStudy(_made("in memory", _sampler(trials, seed), None), space, seed)


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[optuna.storages.RDBStorage]:
    try:
        import optuna
    except ImportError as error:
        raise NotReadyError("tuning needs optuna: pip install 'pytest-llmbench[tune]'") from error
    with _errors(path):
        _write_ahead(path)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _write_ahead(path: Path) -> None:
    """Let the file be written ahead: as safe, and a trial's dozens of transactions do not each wait for the disk."""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA journal_mode=WAL")


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """What the database refuses, as users read it."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        why = str(getattr(cause, "orig", cause)).splitlines()[0]
        if isinstance(cause, OperationalError | sqlite3.OperationalError):
            raise NotReadyError(
                f"cannot use {path}: {why}; make it writable, or choose another report folder"
            ) from error
        raise UsageError(located(path, None, f"this is no study of a tuning ({why}); name another study")) from error
