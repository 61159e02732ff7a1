"""What an evaluation found, as lines and rows of text that the terminal and the Markdown page both show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import UNSCORED, Words
from pytest_llmbench.reports.cautions import cautions

Document = Mapping[str, Any]
Rows = list[list[str]]

LESS_IS_BETTER = " ↓"
_SHOWN_ANSWERS = 6
_CUT = ("length", "timeout", "error")


def heading(document: Document, say: Words) -> list[str]:
    """What was asked, and of whom."""
    metadata = document["metadata"]
    backend = metadata["backend"]
    adapters = ", ".join(of["path"] for of in (backend.get("adapters") or {}).values())
    base = backend.get("base_model") or backend.get("url")
    lines = [
        say(
            "asked",
            questions=metadata["questions"],
            base=base,
            adapters=say("adapters", paths=adapters) if adapters else say("no_adapter"),
            quantization=backend.get("quantization") or backend.get("backend"),
        )
    ]
    if metadata["chunks"]:
        told = {key: metadata[name] for key, name in (("method", "retrieval"), ("chunks", "chunks"))}
        lines.append(say("retrieval", passages=metadata["passages"], **told))
    return lines


def score_rows(document: Document, say: Words) -> Rows:
    """A header, then a metric a row and a variant a column."""
    variants, scores = document["variants"], document["scores"]
    known = [name for name in document["metrics"] if any(name in scores.get(variant, {}) for variant in variants)]
    return [
        [say("metric"), *variants],
        *(
            [_label(document, name, say), *(_mean(scores.get(variant, {}).get(name), say) for variant in variants)]
            for name in known
        ),
    ]


def comparison_rows(document: Document, say: Words) -> Rows:
    """A header, then a comparison a row; none where one variant answered alone."""
    found = document["comparisons"]
    if not found:
        return []
    header = [say(key) for key in ("compared", "metric", "effect", "interval", "verdict")]
    return [header, *([*_names(one), *_numbers(one, say)] for one in _with_label(found, say))]


def remarks(document: Document, say: Words) -> Iterator[str]:
    """What to beware of, corpus scores, and how many answers did not end by themselves."""
    yield from cautions(document, say)
    corpus = [
        say("corpus_of", variant=variant, bleu=_tenth(of["bleu"], say), chrf=_tenth(of["chrf"], say))
        for variant, of in document["corpus"].items()
        if of
    ]
    if corpus:
        yield say("corpus", found="; ".join(corpus))
    cut = {variant: sum(finishes.get(kind, 0) for kind in _CUT) for variant, finishes in document["finishes"].items()}
    if any(cut.values()):
        yield say("finishes", found=", ".join(f"{variant} {count}" for variant, count in cut.items() if count))
    else:
        yield say("none_cut")


def forgetting_lines(document: Document, say: Words) -> list[str]:
    """Each variant's perplexity of general texts, and its ratio to the base's."""
    forgetting = document["forgetting"]
    if forgetting is None:
        return []
    if forgetting["perplexity"] is None:
        return [say("no_perplexity")]
    return [_perplexity(variant, of, forgetting["texts"], say) for variant, of in forgetting["perplexity"].items()]


def side_by_side(document: Document) -> list[Mapping[str, Any]]:
    """A few results spread over the test set, the same ones in every report."""
    results: Sequence[Mapping[str, Any]] = document["results"]
    count = min(_SHOWN_ANSWERS, len(results))
    return [results[place * len(results) // count] for place in range(count)]


def verdict(outcome: str, needed: int | None, say: Words) -> str:
    """The verdict in words; for an open one, how many questions would settle it."""
    return say("needed", count=needed) if needed else say(outcome)


def _with_label(found: Sequence[Mapping[str, Any]], say: Words) -> Iterator[Mapping[str, Any]]:
    for one in found:
        yield {**one, "label": say.metric(one["metric"])}


def _names(one: Mapping[str, Any]) -> list[str]:
    return [f"{one['variant']} / {one['against']}", one["label"]]


def _numbers(one: Mapping[str, Any], say: Words) -> list[str]:
    interval = UNSCORED
    if one["low"] is not None:
        interval = f"{say.number(one['low'], signed=True)} … {say.number(one['high'], signed=True)}"
    return [
        say.number(one["effect"], signed=True),
        interval,
        verdict(one["outcome"], one["needed_cases"], say),
    ]


def _label(document: Document, metric: str, say: Words) -> str:
    better = document["metrics"][metric]["higher_is_better"]
    return say.metric(metric) + ("" if better else LESS_IS_BETTER)


def _mean(of: Mapping[str, Any] | None, say: Words) -> str:
    return UNSCORED if of is None else say.number(of["mean"])


def _tenth(value: float, say: Words) -> str:
    return f"{value:.1f}".replace(".", say("decimal_mark"))


def _perplexity(variant: str, of: Mapping[str, Any], texts: int, say: Words) -> str:
    value = _tenth(of["perplexity"], say)
    if of["ratio"] is None:
        return say("perplexity", texts=texts, variant=variant, value=value)
    low, high = (say.number(of[end]) for end in ("low", "high"))
    told = {"ratio": say.number(of["ratio"]), "low": low, "high": high, "verdict": say(of["outcome"])}
    return say("ratio", texts=texts, variant=variant, value=value, **told)
