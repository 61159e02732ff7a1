"""The gate's section at the end of a pytest run: no wider than the terminal, in characters that every one has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size

from pytest_llmbench.core.text_cells import columns, one_line, shorten_middle
from pytest_llmbench.core.wording import UNSCORED, words
from pytest_llmbench.reports import gate_sentences
from pytest_llmbench.reports.gate_sentences import Gate, Verdict
from pytest_llmbench.reports.silent_categories import silence, telling
from pytest_llmbench.runs.case_counts import count

_SAY = words("en")
_GAP = "  "
_DOTS = "..."
_LEAST_NAME_CELLS = 11
_MOST_NAME_CELLS = 60
_SENTENCE_CELLS = 1000
_MOST_CATEGORIES = 10
_MOST_SENTENCES = 6
_MOST_MOVED = 3  # verdicts whose cases are shown


def gate_lines(gate: Mapping[str, Any], width: int) -> list[str]:
    """Outcome and reason, the verdicts, what would settle the open ones, the cases that moved most, the notes.

    `width` is in terminal cells, 60 or more. A category is shown where it failed or is inconclusive.
    """
    blocks = [
        _sentences([gate_sentences.heading(gate, _SAY), *filter(None, [gate["reason"]])], width),
        *_tables(gate, width),
        _sentences(_settling(gate), width),
        [*_moved(gate, width)],
        _sentences([f"note: {note['message']}" for note in gate["notes"]], width),
    ]
    lines = [line for block in blocks if block for line in ["", *block]]
    return lines[1:]


def _tables(gate: Gate, width: int) -> Iterator[list[str]]:
    """One table a variant; where even shortened names leave no room for its columns, two lines a verdict."""
    unsettled = telling(gate_sentences.open_categories(gate), gate)
    shown = gate_sentences.overall(gate) + unsettled[:_MOST_CATEGORIES]
    for variant in gate_sentences.variants(shown):
        own = _by_metric([verdict for verdict in shown if verdict["variant"] == variant])
        yield _table(variant, own, gate, width) or _stacked(own, gate, width)
    if shown:
        more = len(unsettled) - _MOST_CATEGORIES
        left_out = [f"{more} more failed or inconclusive categories are in the report"] if more > 0 else []
        quiet = silence(gate, _SAY)
        yield _sentences([*left_out, *([quiet] if quiet else []), gate_sentences.p_meaning(gate, _SAY)], width)


def _by_metric(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Each metric's overall verdict followed by its categories."""
    order = list(dict.fromkeys(verdict["metric"] for verdict in verdicts))
    return sorted(verdicts, key=lambda verdict: (order.index(verdict["metric"]), verdict["category"] is not None))


def _table(variant: str, verdicts: Sequence[Verdict], gate: Gate, width: int) -> list[str]:
    interval = f"{gate_sentences.confidence(gate, _SAY)} interval"
    header = [variant, "before->after", "effect", interval, "p", "n", "verdict"]
    rows = [header, *([_name(verdict), *_cells(verdict, gate)] for verdict in verdicts)]
    room = width - len(_GAP) * (len(header) - 1) - sum(_column_widths(rows)[1:])
    if room < _LEAST_NAME_CELLS:
        return []
    named = [[_shortened(row[0], min(room, _MOST_NAME_CELLS)), *row[1:]] for row in rows]
    return [_GAP.join(cells).rstrip() for cells in columns(named)]


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]


def _name(verdict: Verdict) -> str:
    return verdict["metric"] if verdict["category"] is None else f" {verdict['category']}"


def _shortened(name: str, room: int) -> str:
    """The name in at most `room` cells; its indentation stays."""
    indent = name[: len(name) - len(name.lstrip(" "))]
    return indent + shorten_middle(name, room - len(indent), _DOTS)


def _cells(verdict: Verdict, gate: Gate) -> list[str]:
    return [
        _scores(verdict),
        _SAY.number(verdict["effect"], signed=True),
        _interval(verdict),
        gate_sentences.p_value(verdict, _SAY),
        count(verdict, _SAY),
        _outcome(verdict, gate),
    ]


def _outcome(verdict: Verdict, gate: Gate) -> str:
    return gate_sentences.outcome_word(verdict["outcome"], gate, _SAY).lower()


def _scores(pair: Mapping[str, Any]) -> str:
    return f"{_SAY.number(pair['before'])} -> {_SAY.number(pair['after'])}"


def _interval(verdict: Verdict) -> str:
    if verdict["low"] is None or verdict["high"] is None:
        return UNSCORED
    return "..".join(_SAY.number(verdict[end], signed=True) for end in ("low", "high"))


def _stacked(verdicts: Sequence[Verdict], gate: Gate, width: int) -> list[str]:
    said = [f"{_outcome(verdict, gate)}: {_evidence(verdict, gate)}" for verdict in verdicts]
    return _sentences(said, width)


def _evidence(verdict: Verdict, gate: Gate) -> str:
    return gate_sentences.evidence(verdict, gate, verdict["metric"], _SAY)


def _settling(gate: Gate) -> Iterator[str]:
    """Categories have few cases and are often open; the ones over all categories decide the gate."""
    unsettled = [verdict for verdict in gate_sentences.overall(gate) if verdict["outcome"] == "inconclusive"]
    for verdict in unsettled[:_MOST_SENTENCES]:
        yield f"{_subject(verdict)}: {gate_sentences.settling(verdict, gate, _SAY)}"
    if len(unsettled) > _MOST_SENTENCES:
        yield _SAY("gate_more", count=len(unsettled) - _MOST_SENTENCES)


def _moved(gate: Gate, width: int) -> Iterator[str]:
    """A gate that passed has nothing to look into; a comparison shows its cases whatever came out."""
    if gate["outcome"] == "pass" and gate["kind"] != "compare":
        return
    telling = [verdict for verdict in gate_sentences.deciding(gate) if verdict["moved"]]
    for verdict in telling[:_MOST_MOVED]:
        yield from _wrap(_SAY("gate_moved", subject=_subject(verdict)) + ":", width)
        scores = [_scores(case) for case in verdict["moved"]]
        room = width - len(_GAP) * 2 - max(map(cell_len, scores))
        names = [shorten_middle(case["case"], min(room, _MOST_NAME_CELLS), _DOTS) for case in verdict["moved"]]
        rows = columns(list(zip(names, scores, strict=True)))
        yield from (_GAP + _GAP.join(cells) for cells in rows)


def _subject(verdict: Verdict) -> str:
    return gate_sentences.subject(verdict, verdict["metric"], _SAY)


def _sentences(sentences: Sequence[str] | Iterator[str], width: int) -> list[str]:
    return [line for sentence in sentences for line in _wrap(sentence, width)]


def _wrap(sentence: str, width: int) -> list[str]:
    """Lines of at most `width` cells; textwrap counts characters, and names may hold wide ones."""
    lines = [""]
    text = one_line(sentence)
    if cell_len(text) > _SENTENCE_CELLS:
        text = set_cell_size(text, _SENTENCE_CELLS) + _DOTS
    for word in text.split():
        for piece in chop_cells(word, width - len(_GAP)):
            joined = f"{lines[-1]} {piece}" if lines[-1] else piece
            if cell_len(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(_GAP + piece)
    return lines
