"""Two or more trainings side by side: the figures, the curves, and what each adapter answers to the same questions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.finetuning.record import read_record

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


def table(trainings: Sequence[Trained], language: Language = "en") -> list[Line]:
    """The figures of the trainings. Loss and accuracy of different bases or data are no measure of their answers."""
    lines = []
    for key, (titles, show, better) in _LINES.items():
        values = [training.record.get(key) for training in trainings]
        texts = tuple(
            "-" if value is None else show(training.record) for value, training in zip(values, trainings, strict=True)
        )
        lines.append(Line(titles[language], texts, _best(values, trainings, better)))
    return lines


def _best(values: Sequence[Any], trainings: Sequence[Trained], better: Callable[..., Any] | None) -> str:
    if better is None or any(not isinstance(value, (int, float)) or not math.isfinite(value) for value in values):
        return "-"
    wanted = better(values)
    best = [training.name for value, training in zip(values, trainings, strict=True) if value == wanted]
    return best[0] if len(best) == 1 else "-"


def _duration(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["duration_s"]), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _trainable(record: Mapping[str, Any]) -> str:
    return f"{record['trainable_parameters'] / 1e6:.1f}M ({record['trainable_share']:.2%})"


_Show = Callable[[Mapping[str, Any]], str]

_LINES: Mapping[str, tuple[Mapping[Language, str], _Show, Callable[..., Any] | None]] = {
    "base_spec": ({"en": "Base", "fr": "Base"}, lambda record: str(record["base_spec"]), None),
    "dataset": (
        {"en": "Dataset", "fr": "Jeu de données"},
        lambda record: f"{record['dataset']['name']} ({record['dataset']['rows']})",
        None,
    ),
    "duration_s": ({"en": "Duration", "fr": "Durée"}, _duration, min),
    "train_loss": ({"en": "Train loss", "fr": "Perte"}, lambda record: f"{record['train_loss']:.3f}", min),
    "token_accuracy": (
        {"en": "Token accuracy", "fr": "Précision par token"},
        lambda record: f"{record['token_accuracy']:.3f}",
        max,
    ),
    "trainable_parameters": ({"en": "Trainable", "fr": "Entraînables"}, _trainable, None),
    "samples_per_s": (
        {"en": "Samples/s", "fr": "Exemples/s"},
        lambda record: f"{record['samples_per_s']:.2f}",
        max,
    ),
    "tokens": ({"en": "Tokens", "fr": "Tokens"}, lambda record: str(record["tokens"]), None),
    "entropy": ({"en": "Entropy", "fr": "Entropie"}, lambda record: f"{record['entropy']:.3f}", None),
}


def notes(trainings: Sequence[Trained], language: Language = "en") -> list[str]:
    """What keeps the figures from being held against each other."""
    differing = [
        words[language]
        for key, words in _MUST_BE_EQUAL.items()
        if len({str(_identity(training.record, key)) for training in trainings}) > 1
    ]
    if not differing:
        return []
    return [_WARNING[language].format(", ".join(differing))]


def _identity(record: Mapping[str, Any], key: str) -> Any:
    value = record.get(key)
    return value.get("sha256") if isinstance(value, Mapping) else value


_MUST_BE_EQUAL: Mapping[str, Mapping[Language, str]] = {
    "base_weights_hash": {"en": "base", "fr": "base"},
    "dataset": {"en": "dataset", "fr": "jeu de données"},
}
_WARNING: Mapping[Language, str] = {
    "en": "Not the same {}: loss and accuracy then say little of which answers better; look at the answers.",
    "fr": "{} différents : perte et précision disent alors peu de la qualité ; regardez les réponses.",
}


def draw_curves(trainings: Sequence[Trained], path: Path, language: Language = "en") -> None:
    """Write a PNG of each training's loss over its steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pytest_llmbench.atomic import replacing

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for training in trainings:
        steps = training.record.get("steps", [])
        axes.plot([step["step"] for step in steps], [step["loss"] for step in steps], label=training.name)
    axes.set_xlabel({"en": "step", "fr": "pas"}[language])
    axes.set_ylabel({"en": "loss (nats a token)", "fr": "perte (nats par token)"}[language])
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def answers(trainings: Sequence[Trained], questions: Sequence[str], *, max_new_tokens: int = 128) -> list[list[str]]:
    """What each adapter answers to each question, greedily; one model is in memory at a time.

    The base is the one that the record names, and the adapter is refused on another.

    Raises:
        ModelError: a base cannot be found or loaded.
        AdapterError: an adapter does not belong to it.
    """
    return [_answers(training, questions, max_new_tokens) for training in trainings]


def _answers(training: Trained, questions: Sequence[str], max_new_tokens: int) -> list[str]:
    from pytest_llmbench.benchmark import open_backend
    from pytest_llmbench.cases import Case
    from pytest_llmbench.records import FINETUNED
    from pytest_llmbench.settings import Settings

    settings = Settings.model_validate(
        {
            "model": {
                "base": training.record["base_spec"],
                "adapter": str(training.folder),
                "quantization": training.record.get("quantization", "nf4"),
            },
            "generation": {"do_sample": False, "max_new_tokens": max_new_tokens, "timeout": 600.0},
        }
    )
    backend = open_backend(settings)
    try:
        cases = [
            Case("questions", str(number), question, ({"role": "user", "content": question},))
            for number, question in enumerate(questions)
        ]
        told = {done.case: done.text for done in backend.complete(cases, FINETUNED)}
        return [told[case.name] for case in cases]
    finally:
        backend.close()
