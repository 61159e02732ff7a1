"""Two or more trainings side by side: the figures, and what each adapter answers to the same questions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.wording import words
from pytest_llmbench.finetune.record import read_record

Language = Literal["en", "fr"]

_FEWEST = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """An adapter's folder and the record of its training."""

    name: str
    folder: Path
    record: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: what is compared, each training's value as text, and the best of them if there is one."""

    title: str
    values: tuple[str, ...]
    best: str


def read_trainings(folders: Sequence[Path]) -> list[Trained]:
    """The trainings of the adapters in these folders, by telling names.

    Raises:
        UsageError: there is but one, or one has no record.
    """
    if len({folder.resolve() for folder in folders}) < _FEWEST:
        raise UsageError("give two adapter folders or more to compare")
    plain = [folder.resolve().name for folder in folders]
    names = plain if len(set(plain)) == len(plain) else [str(folder) for folder in folders]
    return [Trained(name, folder, read_record(folder)) for name, folder in zip(names, folders, strict=True)]


def table(trainings: Sequence[Trained], language: Language = "en", decimal_mark: str | None = None) -> list[Line]:
    """The figures that a training has. Loss and accuracy of different bases or data are no measure of their answers.

    The mean loss is over all steps, from the first; the other loss, accuracy and entropy are those logged last.
    Numbers have the language's decimal mark, or the one that is given.
    """
    mark = decimal_mark or words(language)("decimal_mark")
    lines = [figure.line(trainings, language, mark) for figure in _FIGURES]
    return [line for line in lines if set(line.values) != {"-"}]


@dataclasses.dataclass(frozen=True, slots=True)
class _Figure:
    """A row of the table: where its value stands in a record, how it is written, and which end of it is better."""

    titles: Mapping[Language, str]
    value: Callable[[Mapping[str, Any]], Any]
    text: Callable[[Mapping[str, Any]], str]
    better: Callable[..., Any] | None = None
    of_time: bool = False
    has_decimals: bool = False

    def line(self, trainings: Sequence[Trained], language: Language, decimal_mark: str) -> Line:
        """What each record says of it; `-` where it does not."""
        values = [self.value(training.record) for training in trainings]
        mark = decimal_mark if self.has_decimals else "."
        texts = tuple(
            "-" if value is None else self.text(training.record).replace(".", mark)
            for value, training in zip(values, trainings, strict=True)
        )
        return Line(self.titles[language], texts, self._best(values, trainings))

    def _best(self, values: Sequence[Any], trainings: Sequence[Trained]) -> str:
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        in_part = self.of_time and any(_timed_in_part(training.record) for training in trainings)
        if self.better is None or not numbers or in_part:
            return "-"
        wanted = self.better(values)
        best = [training.name for value, training in zip(values, trainings, strict=True) if value == wanted]
        return best[0] if len(best) == 1 else "-"


def _number(key: str, titles: Mapping[Language, str], better: Callable[..., Any] | None) -> _Figure:
    return _Figure(
        titles, lambda record: record.get(key), lambda record: f"{record[key]:.3f}", better, has_decimals=True
    )


def _duration(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["duration_s"]), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _trainable(record: Mapping[str, Any]) -> str:
    return f"{record['trainable_parameters'] / 1e6:.1f}M ({record['trainable_share']:.2%})"


def _last_loss(record: Mapping[str, Any]) -> float | None:
    return record["steps"][-1]["loss"] if record.get("steps") else None


def _last_validation(record: Mapping[str, Any]) -> float | None:
    return record["validation"][-1]["loss"] if record.get("validation") else None


def _validation(record: Mapping[str, Any]) -> str:
    first, last = record["validation"][0], record["validation"][-1]
    return f"{first['loss']:.3f} → {last['loss']:.3f}" if last is not first else f"{last['loss']:.3f}"


def _steps(record: Mapping[str, Any]) -> int | None:
    """All steps of the training; the last ones need not have been logged."""
    last = record["steps"][-1] if record.get("steps") else {}
    return last.get("of", last.get("step"))


_FIGURES = (
    _Figure({"en": "Base", "fr": "Base"}, lambda record: record.get("base_spec"), lambda record: record["base_spec"]),
    _Figure(
        {"en": "Dataset", "fr": "Jeu de données"},
        lambda record: record.get("dataset"),
        lambda record: f"{record['dataset']['name']} ({record['dataset']['rows']})",
    ),
    _Figure({"en": "Steps", "fr": "Pas"}, _steps, lambda record: str(_steps(record))),
    _Figure({"en": "Duration", "fr": "Durée"}, lambda record: record.get("duration_s"), _duration, min, of_time=True),
    _number("train_loss", {"en": "Train loss, mean", "fr": "Perte, moyenne"}, min),
    _Figure(
        {"en": "Train loss, last", "fr": "Perte, à la fin"},
        _last_loss,
        lambda record: f"{_last_loss(record):.3f}",
        min,
        has_decimals=True,
    ),
    _Figure(
        {"en": "Validation loss", "fr": "Perte de validation"}, _last_validation, _validation, min, has_decimals=True
    ),
    _number("token_accuracy", {"en": "Token accuracy, last", "fr": "Précision par token, à la fin"}, max),
    _number("entropy", {"en": "Entropy, last", "fr": "Entropie, à la fin"}, None),
    _Figure(
        {"en": "Trainable", "fr": "Entraînables"},
        lambda record: record.get("trainable_parameters"),
        _trainable,
        has_decimals=True,
    ),
    _Figure(
        {"en": "Samples/s", "fr": "Exemples/s"},
        lambda record: record.get("samples_per_s"),
        lambda record: f"{record['samples_per_s']:.2f}",
        max,
        of_time=True,
        has_decimals=True,
    ),
    _Figure(
        {"en": "Tokens", "fr": "Tokens"}, lambda record: record.get("tokens"), lambda record: str(record["tokens"])
    ),
)


def notes(trainings: Sequence[Trained], language: Language = "en") -> list[str]:
    """What keeps the figures from being held against each other. What a record does not say is not held against it."""
    differing = [
        titles[language]
        for titles, value in _MUST_BE_EQUAL
        if len({str(found) for training in trainings if (found := value(training.record)) is not None}) > 1
    ]
    found = [_WARNING[language].format(", ".join(differing))] if differing else []
    resumed = [training.name for training in trainings if _timed_in_part(training.record)]
    return [*found, *([_RESUMED[language].format(", ".join(resumed))] if resumed else [])]


def _timed_in_part(record: Mapping[str, Any]) -> bool:
    """Whether its first session is not recorded, as older versions did not when it was resumed."""
    sessions = record.get("sessions")
    return bool(sessions[0]["from_step"] if sessions else record.get("resumed_at_step"))


def _of_hyperparameters(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda record: record.get("hyperparameters", {}).get(key)


_MUST_BE_EQUAL: Sequence[tuple[Mapping[Language, str], Callable[[Mapping[str, Any]], Any]]] = (
    ({"en": "base", "fr": "base"}, lambda record: record.get("base_weights_hash")),
    ({"en": "dataset", "fr": "jeu de données"}, lambda record: record.get("dataset", {}).get("sha256")),
    (
        {"en": "validation set", "fr": "jeu de validation"},
        lambda record: record.get("validation_dataset", {}).get("sha256"),
    ),
    ({"en": "steps", "fr": "nombre de pas"}, _steps),
    ({"en": "max_length", "fr": "max_length"}, _of_hyperparameters("max_length")),
    ({"en": "quantization", "fr": "quantification"}, lambda record: record.get("quantization")),
)
_WARNING: Mapping[Language, str] = {
    "en": "Not the same: {}. Loss and accuracy then say little of which answers better; look at the answers.",
    "fr": "Pas identiques : {}. Perte et précision disent alors peu de la qualité ; regardez les réponses.",
}
_RESUMED: Mapping[Language, str] = {
    "en": "Resumed with the earlier sessions unrecorded, so that duration and samples/s leave them out: {}.",
    "fr": "Repris sans trace des sessions d'avant, que durée et exemples/s ne comptent donc pas : {}.",
}


def answers(
    trainings: Sequence[Trained],
    questions: Sequence[str],
    *,
    base: str | None = None,
    system: str = "",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    max_new_tokens: int = 128,
) -> list[list[str]]:
    """What each adapter answers to each question, greedily; one model is in memory at a time.

    The base is `base`, else the one that the record names; the adapter is refused on another. Give the `system` prompt
    that the adapters were trained with.

    Raises:
        ModelError: a base cannot be found or loaded.
        AdapterError: an adapter does not belong to it.
    """
    first = ({"role": "system", "content": system},) if system else ()
    cases = [
        Case("questions", str(number), question, (*first, {"role": "user", "content": question}))
        for number, question in enumerate(questions)
    ]
    return [_answers(training, cases, base, device, max_new_tokens) for training in trainings]


def _answers(training: Trained, cases: Sequence[Case], base: str | None, device: str, max_new_tokens: int) -> list[str]:
    from pytest_llmbench.benchmark.main_job import open_backend
    from pytest_llmbench.core.records import FINETUNED
    from pytest_llmbench.core.settings import Settings

    record = training.record
    settings = Settings.model_validate(
        {
            "model": {
                "base": base or record["base_spec"],
                "adapter": str(training.folder),
                "quantization": record.get("quantization", "nf4"),
                "device": device,
                **{key: record[key] for key in ("template_arguments", "system_role") if key in record},
            },
            "generation": {"do_sample": False, "max_new_tokens": max_new_tokens, "timeout": 600.0},
        }
    )
    backend = open_backend(settings)
    try:
        told = {done.case: done.text for done in backend.complete(cases, FINETUNED)}
        return [told[case.name] for case in cases]
    finally:
        backend.close()
