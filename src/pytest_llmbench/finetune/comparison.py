"""Two or more trainings side by side: the figures, and what each adapter answers to the same questions."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError, WrongModelError
from pytest_llmbench.core.locale import N_, UNSCORED, Words, words
from pytest_llmbench.core.setting_sections import ModelSettings
from pytest_llmbench.finetune.adapter_folder import read_record
from pytest_llmbench.models.adapters import TRAINING_RECORD
from pytest_llmbench.runs.training_record import StepRecord, TrainingRecord
from pytest_llmbench.runs.typed import read_as

Language = Literal["en", "fr"]

_FEWEST = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """An adapter's folder and the record of its training."""

    name: str
    folder: Path
    record: TrainingRecord


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingLine:
    """One row of the table: what is compared, each training's value as text, and the best of them if there is one."""

    title: str
    values: tuple[str, ...]
    best: str


def read_trainings(folders: Sequence[Path]) -> list[Trained]:
    """The trainings of the adapters in these folders, by telling names.

    Raises:
        UsageError: there is but one, or one has no record, or a damaged one.
    """
    if len({folder.resolve() for folder in folders}) < _FEWEST:
        raise UsageError("give two adapter folders or more to compare")
    plain = [folder.resolve().name for folder in folders]
    names = plain if len(set(plain)) == len(plain) else [str(folder) for folder in folders]
    return [Trained(name, folder, _record(folder)) for name, folder in zip(names, folders, strict=True)]


def _record(folder: Path) -> TrainingRecord:
    try:
        return read_as(TrainingRecord, read_record(folder))
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        raise UsageError(f"{folder / TRAINING_RECORD} is damaged: '{key}' is no such value; leave it out") from error


def figures_table(
    trainings: Sequence[Trained], language: Language = "en", numbers: Language | None = None
) -> list[TrainingLine]:
    """The figures that a training has. Loss and accuracy of different bases or data are no measure of their answers.

    The mean loss is over all steps, from the first; the other loss, accuracy and entropy are those logged last.
    Numbers are written as in `language`, or as in `numbers`.
    """
    titles, written = words(language), words(numbers or language)
    lines = [figure.line(trainings, titles, written) for figure in _FIGURES]
    return [line for line in lines if set(line.values) != {UNSCORED}]


@dataclasses.dataclass(frozen=True, slots=True)
class _Figure:
    """A row of the table: where its value stands in a record, how it is written, and which end of it is better."""

    title: str
    value: Callable[[TrainingRecord], Any]
    text: Callable[[TrainingRecord, Words], str]
    better: Callable[..., Any] | None = None
    of_time: bool = False

    def line(self, trainings: Sequence[Trained], titles: Words, numbers: Words) -> TrainingLine:
        """What each record says of it; a dash where it does not."""
        values = [self.value(training.record) for training in trainings]
        texts = tuple(
            UNSCORED if value is None else self.text(training.record, numbers)
            for value, training in zip(values, trainings, strict=True)
        )
        return TrainingLine(titles(self.title), texts, self._best(values, trainings))

    def _best(self, values: Sequence[Any], trainings: Sequence[Trained]) -> str:
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        in_part = self.of_time and any(training.record.timed_in_part for training in trainings)
        if self.better is None or not numbers or in_part:
            return "-"
        wanted = self.better(values)
        best = [training.name for value, training in zip(values, trainings, strict=True) if value == wanted]
        return best[0] if len(best) == 1 else "-"


def _number(key: str, title: str, better: Callable[..., Any] | None) -> _Figure:
    value = operator.attrgetter(key)
    return _Figure(title, value, lambda record, say: _thousandths(value(record), say), better)


def _thousandths(value: float | None, say: Words) -> str:
    return UNSCORED if value is None else say.marked(f"{value:.3f}")


def _duration(record: TrainingRecord, _say: Words) -> str:
    minutes, seconds = divmod(round(record.duration_s or 0), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _trainable(record: TrainingRecord, say: Words) -> str:
    millions, percent = (record.trainable_parameters or 0) / 1e6, (record.trainable_share or 0) * 100
    return f"{say.marked(f'{millions:.1f}')}M ({say('{value}%', value=say.marked(f'{percent:.2f}'))})"


def _last(measured: Sequence[StepRecord]) -> float | None:
    return measured[-1].loss if measured else None


def _validation(record: TrainingRecord, say: Words) -> str:
    first, last = record.validation[0], record.validation[-1]
    told = _thousandths(last.loss, say)
    return f"{_thousandths(first.loss, say)} → {told}" if last is not first else told


def _dataset(record: TrainingRecord, _say: Words) -> str:
    return f"{record.dataset.name} ({record.dataset.rows})" if record.dataset else UNSCORED


_FIGURES = (
    _Figure(N_("Base"), lambda record: record.base_spec, lambda record, _: str(record.base_spec)),
    _Figure(N_("Dataset"), lambda record: record.dataset, _dataset),
    _Figure(N_("Steps"), lambda record: record.all_steps, lambda record, _: str(record.all_steps)),
    _Figure(N_("Duration"), lambda record: record.duration_s, _duration, min, of_time=True),
    _number("train_loss", N_("Train loss, mean"), min),
    _Figure(
        N_("Train loss, last"),
        lambda record: _last(record.steps),
        lambda record, say: _thousandths(_last(record.steps), say),
        min,
    ),
    _Figure(N_("Validation loss"), lambda record: _last(record.validation), _validation, min),
    _number("token_accuracy", N_("Token accuracy, last"), max),
    _number("entropy", N_("Entropy, last"), None),
    _Figure(N_("Trainable"), lambda record: record.trainable_parameters, _trainable),
    _Figure(
        N_("Samples/s"),
        lambda record: record.samples_per_s,
        lambda record, say: say.marked(f"{record.samples_per_s:.2f}"),
        max,
        of_time=True,
    ),
    _Figure(N_("Tokens"), lambda record: record.tokens, lambda record, _: str(record.tokens)),
)


def comparison_notes(trainings: Sequence[Trained], language: Language = "en") -> list[str]:
    """What keeps the figures from being held against each other. What a record does not say is not held against it."""
    say = words(language)
    differing = [
        say(name)
        for name, value in _MUST_BE_EQUAL
        if len({str(found) for training in trainings if (found := value(training.record)) is not None}) > 1
    ]
    resumed = [training.name for training in trainings if training.record.timed_in_part]
    return [
        *([say(_WARNING, names=", ".join(differing))] if differing else []),
        *([say(_RESUMED, names=", ".join(resumed))] if resumed else []),
    ]


_MUST_BE_EQUAL: Sequence[tuple[str, Callable[[TrainingRecord], Any]]] = (
    (N_("base"), lambda record: record.base_weights_hash),
    (N_("dataset"), lambda record: record.dataset and record.dataset.sha256),
    (N_("validation set"), lambda record: record.validation_dataset and record.validation_dataset.sha256),
    (N_("steps"), lambda record: record.all_steps),
    ("max_length", lambda record: (record.hyperparameters or {}).get("max_length")),
    (N_("quantization"), lambda record: record.quantization),
)
_WARNING = N_("Not the same: {names}. Loss and accuracy then say little of which answers better; look at the answers.")
_RESUMED = N_("Resumed with the earlier sessions unrecorded, so that duration and samples/s leave them out: {names}.")


_LOADED_AS = {
    "base",
    "revision",
    "trust_remote_code",
    "device",
    "device_map",
    "double_quant",
    "compute_dtype",
    "hold",
}


def answers(
    trainings: Sequence[Trained],
    questions: Sequence[str],
    *,
    base: str | None = None,
    system: str = "",
    model: ModelSettings | None = None,
    max_new_tokens: int = 128,
) -> list[list[str]]:
    """What each adapter answers to each question, greedily; one model is in memory at a time.

    The base is `base`, else the one that the record names; the adapter is refused on another. Give the `system` prompt
    that the adapters were trained with. How the base is loaded, and where, `model` says; its revision and its trust in
    remote code are of its own base alone.

    Raises:
        ModelError: a base cannot be found or loaded.
        AdapterError: an adapter does not belong to it.
        NotReadyError: memory runs out with one question alone.
    """
    first = ({"role": "system", "content": system},) if system else ()
    cases = [
        Case("questions", str(number), question, (*first, {"role": "user", "content": question}))
        for number, question in enumerate(questions)
    ]
    asked = model or ModelSettings()
    return [_answers(training, cases, base, asked, max_new_tokens) for training in trainings]


def _answers(
    training: Trained, cases: Sequence[Case], base: str | None, model: ModelSettings, max_new_tokens: int
) -> list[str]:
    from pytest_llmbench.benchmark.main_job import open_backend
    from pytest_llmbench.core.records import FINETUNED
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import all_answers

    record = training.record
    spec = base or record.base_spec or ""
    settings = Settings.model_validate(
        {
            "model": {
                **model.of_base(spec).model_dump(include=_LOADED_AS),
                "adapter": str(training.folder),
                "quantization": record.quantization or "nf4",
                **record.model_dump(include={"template_arguments", "system_role"}, exclude_unset=True),
            },
            "generation": {"do_sample": False, "max_new_tokens": max_new_tokens, "timeout": 600.0},
        }
    )
    try:
        backend = open_backend(settings)
    except WrongModelError as error:
        if base:
            raise
        raise UsageError(f"{training.name}: {error}; say where its base is now", names=("base",)) from error
    try:
        told = {done.case: done.text for done in all_answers(backend, cases, FINETUNED)}
        return [told[case.name] for case in cases]
    finally:
        backend.close()
