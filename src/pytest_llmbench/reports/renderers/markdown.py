"""A report for pull-request comments and job summaries, in GitHub's Markdown."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence

from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.reports.blocks import (
    Block,
    Case,
    Cases,
    Cell,
    Chart,
    Column,
    Depth,
    Details,
    Fact,
    Facts,
    Heading,
    Name,
    Outcome,
    Quote,
    Report,
    Section,
    Sentences,
    Table,
    Verdict,
)
from pytest_llmbench.reports.limits import ROOM
from pytest_llmbench.reports.outcomes import COLOURED_SIGNS
from pytest_llmbench.reports.renderers.cells import cell_text
from pytest_llmbench.reports.renderers.markdown_text import code, details, line, prose, table, within_limit

_ROOM = ROOM[Depth.SUMMARY]
_TITLE, _SECTION, _HEADING = "###", "####", "#####"  # small ones: it stands below a comment's or a job's own heading


class Markdown:
    """`benchmark.md` and the like, under 60,000 characters whatever the document holds."""

    name, suffix = "markdown", "md"

    def render(self, report: Report) -> str:
        """The whole report. It opens with its verdict, where it has one, instead of its title."""
        say, sections = words(report.language), report.at(Depth.SUMMARY)
        opens_with_verdict = bool(sections) and isinstance(sections[0].blocks[0], Verdict)
        title = [] if opens_with_verdict else [f"{_TITLE} {prose(report.title)}"]
        return within_limit([*title, *(part for one in sections for part in _section(one, say))], say)


def _section(section: Section, say: Words) -> Iterator[str]:
    if section.folded:
        yield details(prose(section.title), _joined(section.blocks, say))
        return
    if section.title and not isinstance(section.blocks[0], Verdict):
        yield f"{_SECTION} {prose(section.title)}"
    for block in section.blocks:
        yield _block(block, say)


def _joined(blocks: Sequence[Block], say: Words) -> str:
    return "\n\n".join(filter(None, (_block(block, say) for block in blocks)))


def _block(block: Block, say: Words) -> str:  # noqa: PLR0911  # one return a kind of block
    match block:
        case Heading():
            return f"{_HEADING} {prose(block.text)}"
        case Verdict():
            return f"{_TITLE} {_signed(block.outcome, prose(block.text))}"
        case Sentences():
            return _sentences(block, say)
        case Facts():
            return "\n".join(f"- {_fact(fact, say)}" for fact in block.items)
        case Table():
            return _table(block, say)
        case Cases():
            shown = block.cases[: _ROOM.rows]
            return "\n".join(_case(case, say) for case in shown) + _more(len(block.cases) - len(shown), say)
        case Details():
            return details(prose(block.title), _joined(block.blocks, say))
        case Chart():
            return f"![{prose(block.title)}]({urllib.parse.quote(block.file)})" if block.file else ""
    raise TypeError(f"no block: {block!r}")


def _sentences(block: Sentences, say: Words) -> str:
    if not block.listed:
        return "\n\n".join(map(line, block.lines))
    shown = block.lines[: _ROOM.lines]
    listed = [f"{'  ' if one.startswith(' ') else ''}- {line(one.strip())}" for one in shown]
    return "\n".join(listed) + _more(len(block.lines) - len(shown), say)


def _table(block: Table, say: Words) -> str:
    shown = block.rows[: _ROOM.rows]
    rows = [[_cell(cell, say) for cell in row] for row in [*shown, *block.total]]
    told = table([_title(column) for column in block.columns], rows, left=[column.left for column in block.columns])
    return told + _more(len(block.rows) - len(shown), say)


def _title(column: Column) -> str:
    return prose(column.title) if column.owner is None else f"{prose(column.title)} {code(column.owner)}".strip()


def _case(case: Case, say: Words) -> str:
    return "\n".join(
        [f"- {code(case.name)} {prose(case.note)}".rstrip(), *(f"  - {_fact(fact, say)}" for fact in case.facts)]
    )


def _fact(fact: Fact, say: Words) -> str:
    name, value = fact
    return say("{label}: {text}", label=line(name), text=_cell(value, say))


def _cell(cell: Cell, say: Words) -> str:
    match cell:
        case Name():
            return code(cell.text, _ROOM.name)
        case Quote():
            return code(cell.text, _ROOM.quote)
        case Outcome():
            return _signed(cell.outcome, prose(cell.word))
        case _:
            return prose(cell_text(cell, say, _ROOM))


def _signed(outcome: str, text: str) -> str:
    return f"{COLOURED_SIGNS[outcome]} {text}" if outcome in COLOURED_SIGNS else text


def _more(count: int, say: Words) -> str:
    """What stands under a list or table that does not show everything; nothing where it does."""
    return "\n\n" + say("and {count} more", count=count) if count > 0 else ""
