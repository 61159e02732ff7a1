"""What is to be known beside the scores: which answers were cut, what a score saturates at, what similarity means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.reports.call_faults import tools_left_out
from pytest_llmbench.runs.comparison import SPEED_METRICS
from pytest_llmbench.runs.typed import RunDocument

_CUT = {
    "length": N_(
        "{count} of {total} answers of {variant} were cut at the token limit: their scores judge the beginning "
        "alone, and are lower for it (generation.max_new_tokens)."
    ),
    "timeout": N_(
        "{count} of {total} answers of {variant} ran out of time: their scores judge what there was by then, "
        "and are lower for it (generation.timeout)."
    ),
}
_SIMILAR = N_(
    "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: little "
    "has changed."
)
_ADAPTED = N_(
    "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: a "
    "visible adaptation."
)
_DIFFERENT = N_(
    "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: hardly "
    "nearer to the base's answer than to one to another question."
)

_SIMILAR_ABOVE = 0.8
_ADAPTED_FROM = 0.5


def about_scores(document: RunDocument, say: Words) -> Iterator[str]:
    """Sentences that belong beside every table of means."""
    yield from cut_answers(document, say)
    yield from tools_left_out(document, say)
    if "relevance" in document.statistics.metrics:
        yield say(
            "Relevance is full from 30% of a tool's terms on: one of three is enough, and more makes no difference."
        )
    yield from batched_speed(document, say)


def cut_answers(document: RunDocument, say: Words) -> Iterator[str]:
    """Which answers ended at the token limit or ran out of time: scores judge what there is of them."""
    for variant, counts in document.once("cut answers", lambda: _cut(document)).items():
        for finish, sentence in _CUT.items():
            if counts[finish]:
                yield say(sentence, variant=variant, count=counts[finish], total=counts.total())


def _cut(document: RunDocument) -> dict[str, Counter[str]]:
    """How many answers of each variant ended how; apart those that had no time to begin, or to end their thinking.

    Nothing where no answer was cut: a large run's are read from disk.
    """
    counts = document.statistics.answers
    if not any(one.length or one.timeout for one in counts.values()):
        return {}
    found = {variant: Counter[str]() for variant in counts}
    for result in document.results:
        for variant, one in result.completions.items():
            found.setdefault(variant, Counter())[one.finish if one.answered else "lost"] += 1
    return found


def batched_speed(document: RunDocument, say: Words) -> Iterator[str]:
    """Why speeds are not held against each other, where answers shared batches."""
    batch, applied = document.largest_batch, document.statistics.metrics
    if batch > 1 and any(metric in applied for metric in SPEED_METRICS):
        yield say(
            "Latency and tokens per second are no comparison here: answers shared batches of up to {batch}, "
            "where a short one waits for the long ones beside it. Ask one at a time for that "
            "(generation.batch_size: 1).",
            batch=batch,
        )


def calibrated_cosine(document: RunDocument, variant: str) -> tuple[float, float, float] | None:
    """The mean cosine similarity to the base, that of answers to different cases, and the first on a scale of both.

    On that scale 0 is as unlike as answers to different questions are, and 1 is the same answer: hidden states of
    unrelated texts are often alike at 0.9. None where the run did not measure it.
    """
    cosine = document.statistics.mean("cosine_similarity", variant)
    unrelated = (document.metadata.cosine_between_cases or {}).get(variant)
    if cosine is None or unrelated is None or unrelated.mean >= 1:
        return None
    return cosine, unrelated.mean, (cosine - unrelated.mean) / (1 - unrelated.mean)


def cosine_meanings(document: RunDocument, say: Words) -> Iterator[str]:
    """How far each adapter's answers are from the base's, measured against answers to different cases of the run."""
    for variant in document.adapters:
        found = calibrated_cosine(document, variant)
        if found is not None:
            cosine, unrelated, place = found
            numbers = {"value": say.number(cosine), "unrelated": say.number(unrelated)}
            yield say(_meaning(place), variant=variant, **numbers)


def _meaning(place: float) -> str:
    """The reference's thresholds, on the scale from unrelated answers to equal ones."""
    if place > _SIMILAR_ABOVE:
        return _SIMILAR
    return _ADAPTED if place >= _ADAPTED_FROM else _DIFFERENT
