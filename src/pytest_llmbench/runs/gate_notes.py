"""Notes beside a gate's verdict: a kind, a sentence's key with its data, and that sentence in English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.locale import N_, NN_, Words, words
from pytest_llmbench.runs.cached_answers import CACHED_ANSWERS
from pytest_llmbench.runs.gate_reasons import subject_text
from pytest_llmbench.runs.typed import NoteDocument

Note = Mapping[str, Any]

_NAMED = 5
_SCORES = ("before", "after", "worst")
"""Data that are scores where they are texts; else they count answers."""
_ENGLISH = words("en")
_SENTENCES: Mapping[str, str | tuple[str, str]] = {
    "noted_missing_in_run": NN_(
        "{count} case of the baseline not in this run, and not compared: {cases}",
        "{count} cases of the baseline not in this run, and not compared: {cases}",
    ),
    "noted_missing_in_baseline": NN_(
        "{count} case of this run not in the baseline, and not compared: {cases}",
        "{count} cases of this run not in the baseline, and not compared: {cases}",
    ),
    "noted_variant_missing_in_run": N_("{variant} is not in the run, and was not compared"),
    "noted_variant_missing_in_baseline": N_("{variant} is not in the baseline, and was not compared"),
    "noted_changed_prompt": NN_(
        "{count} case whose prompt or expectation changed since, and compared all the same: {cases}",
        "{count} cases whose prompt or expectation changed since, and compared all the same: {cases}",
    ),
    "noted_changed_vocabulary": N_("other vocabulary than the baseline's: {changes}"),
    "noted_changed_settings": N_("other settings than the baseline's: {changes}"),
    "noted_changed_model": N_("other model than the baseline's: {changes}"),
    "noted_changed_hardware": N_("other hardware than the baseline's: {changes}"),
    "noted_changed_libraries": N_("other libraries than the baseline's: {changes}"),
    "noted_no_fine_tune_in_run": N_("this run has no fine-tune: the bases were compared"),
    "noted_no_fine_tune_in_baseline": N_("the baseline has no fine-tune: the bases were compared"),
    "noted_unscored": N_("{metric} of {variant} is not scored alike ({before} answers before, {after} after): {cases}"),
    "noted_unjudged": N_("{variant} has no answer that is scored on both sides, and was not judged"),
    "noted_unmeasured": N_("{metric} was not measured, and not compared: it is off, or has another name"),
    "noted_batched": N_(
        "{metric} was not compared: answers shared batches of up to {batch}, where a short one waits for the long ones "
        "beside it; ask one at a time for that (generation.batch_size: 1), and anew (generation.cache: false)"
    ),
    "noted_lost": N_(
        "{metric} of {variant}: answers were lost to errors, time-outs or endless thinking, {before} before and "
        "{after} after, and count as {worst}, the worst score, on the side that lost them: {cases}"
    ),
    "noted_no_baseline": N_("there is no baseline '{name}' yet: nothing was compared"),
    "noted_confirmed": N_(
        "{subject} went from {before} to {after}; both sides were asked again with fresh seeds, "
        "which confirmed it, and these verdicts are of those answers"
    ),
    "noted_unconfirmed": N_(
        "{subject} went from {before} to {after}; both sides were asked again with fresh seeds, "
        "which did not confirm it, and these verdicts are of those answers"
    ),
    "noted_other_fall": N_(
        "{subject} went from {before} to {after}; both sides were asked again with fresh seeds, which did not confirm "
        "it, but {other} got worse, and these verdicts are of those answers"
    ),
    "noted_confirmation_failed": N_("it could not be confirmed with fresh answers, so the first ones decide: {error}"),
    "cached_answers": CACHED_ANSWERS,
}
"""By the key that a note carries: files hold it, so no key changes its meaning."""
_TITLES = {
    "lost": N_("Lost answers"),
    "confirmed": N_("Confirmed"),
    "unconfirmed": N_("Not confirmed"),
    "confirmation_failed": N_("Confirmation failed"),
    "missing_in_run": N_("Cases missing in this run"),
    "missing_in_baseline": N_("Cases that the baseline lacks"),
    "changed_prompt": N_("Changed prompts"),
    "changed_vocabulary": N_("Changed vocabulary"),
    "changed_settings": N_("Changed settings"),
    "changed_model": N_("Changed model"),
    "changed_hardware": N_("Changed hardware"),
    "changed_libraries": N_("Changed libraries"),
    "unscored": N_("Unscored cases"),
    "cached": N_("Answers from the cache"),
    "cached_alone": N_("No pass on answers from the cache"),
    "no_baseline": N_("No baseline"),
}


def gate_note(kind: str, key: str, cases: Sequence[str] = (), **data: object) -> dict[str, Any]:
    """A note of this kind. `key` is its sentence's, which is filled with `data` and the cases' names."""
    note = {"kind": kind, "key": key, "data": data, "cases": list(cases), "message": ""}
    return {**note, "message": note_text(NoteDocument.model_validate(note), _ENGLISH)}


def note_text(note: NoteDocument, say: Words) -> str:
    """The note in the reader's language; as it was written where that is all there is, as in an older file."""
    sentence, cases = _SENTENCES.get(note.key), note.cases
    if sentence is None:
        return str(note.message)
    scores = {key: say.marked(told) for key in _SCORES if isinstance(told := note.data.get(key), str)}
    data = {**note.data, **scores}
    if "metric" in data:
        data = {**data, "subject": _subject(data, say), "metric": _metric(data, say)}
    if "other" in data:
        data = {**data, "other": _subject(data["other"], say)}
    if "since" in data:
        data = {**data, "since": say.moment(data["since"])}
    values = {"count": len(cases), "cases": _named(cases, say), **data}
    if isinstance(sentence, str):
        return say(sentence, **values)
    return say.plural(*sentence, len(cases), **values)


def _subject(data: Note, say: Words) -> str:
    """What a verdict was of; notes of earlier builds leave the category out."""
    return subject_text(_metric(data, say), str(data.get("variant")), data.get("category"), say)


def _metric(data: Note, say: Words) -> str:
    return str(data["metric"]) if say.language == "en" else say.metric(data["metric"])  # English: as the terminal


def note_title(note: NoteDocument, say: Words) -> str:
    """A note's heading; a kind that this version does not know keeps its name."""
    if note.key.startswith("noted_variant"):  # their kinds are those of cases
        return say("Variants without a counterpart")
    kind = str(note.kind)
    return say(_TITLES[kind]) if kind in _TITLES else kind


def _named(cases: Sequence[str], say: Words) -> str:
    listed = ", ".join(cases[:_NAMED])
    return say("{cases} and {count} more", cases=listed, count=len(cases) - _NAMED) if len(cases) > _NAMED else listed
