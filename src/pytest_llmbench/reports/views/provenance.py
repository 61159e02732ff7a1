"""What a run was made of: the few facts that place it, and everything that it recorded about itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.blocks import Block, Cell, Depth, Fact, Facts, Heading, Quote, Section, Sentences
from pytest_llmbench.reports.changed_settings import changed_settings
from pytest_llmbench.runs.comparison import told_metadata
from pytest_llmbench.runs.typed import RunDocument

_HEADLINE = ("base_model", "lora_adapter", "device", "timestamp")
_SHOWN_ELSEWHERE = {*_HEADLINE, "variants", "timings", "metrics", "settings", "passes"}


def metadata(run: RunDocument, document: Mapping[str, Any], say: Words) -> Section:
    """Which models, which code, how many cases."""
    told = told_metadata(document)
    facts: list[Fact] = [(say(key), Quote(value_text(told[key], say))) for key in _HEADLINE]
    facts += [
        (say("variants"), Quote(", ".join(run.metadata.variants) or say("none"))),
        (say("counts"), counts_text(run, say)),
        (say("outcomes"), outcomes_text(run, say) or say("none")),
        *_code(run, say),
        *_judged_by(run, say),
    ]
    return Section("metadata", say("metadata"), [Facts(facts)], folded=True)


def counts_text(run: RunDocument, say: Words) -> str:
    """How many cases, categories and results the run has."""
    totals = run.statistics
    return say("counts_value", cases=totals.cases, categories=len(run.by_category), results=totals.total_tests)


def outcomes_text(run: RunDocument, say: Words) -> str:
    """How many items passed and failed."""
    return ", ".join(f"{count} {say.outcome(name)}" for name, count in run.statistics.outcomes.items())


def _code(run: RunDocument, say: Words) -> Iterator[Fact]:
    about = run.metadata
    if about.git is not None:
        dirty = f" ({say('markdown_dirty')})" if about.git.dirty else ""
        yield say("markdown_commit"), (about.git.commit or say("unknown")) + dirty
    if about.engine:
        yield say("markdown_engine"), Quote(about.engine)
    if changed := changed_settings(about.settings):
        yield (
            say("settings_changed"),
            Quote(", ".join(f"{key} {value_text(value, say)}" for key, value in changed.items())),
        )
    if about.seed is not None:
        yield say("markdown_seed"), str(about.seed)
    if about.versions:
        yield say("markdown_versions"), Quote(", ".join(map(" ".join, about.versions.items())))


def _judged_by(run: RunDocument, say: Words) -> Iterator[Fact]:
    gate = run.gate or run.comparison
    if gate is not None and gate.baseline is not None:
        known = (gate.baseline.name, gate.baseline.timestamp, gate.baseline.commit)
        yield say("markdown_baseline"), Quote(", ".join(filter(None, known)))
    if gate is not None and gate.verdicts:
        yield say("markdown_method"), Quote(gate.verdicts[0].method)


def recorded(document: Mapping[str, Any], say: Words) -> Section:
    """What the run recorded about itself, whatever backend and plugins put there; of settings the unusual ones."""
    about: Mapping[str, Any] = document["metadata"]
    known = {key: value for key, value in about.items() if key not in _SHOWN_ELSEWHERE}
    facts: list[Fact] = [(key, _value(value, say)) for key, value in flat(known)]
    blocks: list[Block] = [
        Facts(facts, depth=Depth.FULL) if facts else Sentences([say("unknown")], listed=False, depth=Depth.FULL)
    ]
    if "settings" in about:
        changed: list[Fact] = [(key, _value(value, say)) for key, value in changed_settings(about["settings"]).items()]
        blocks.append(Heading(say("settings_changed"), depth=Depth.FULL))
        blocks.append(
            Facts(changed, depth=Depth.FULL)
            if changed
            else Sentences([say("settings_default")], listed=False, depth=Depth.FULL)
        )
    return Section("recorded", say("soundness"), blocks)


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested mapping as `a.b.c` and value."""
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any, say: Words) -> Cell:
    return value_text(value, say)


def value_text(value: Any, say: Words) -> str:
    """A recorded value in words."""
    match value:
        case None | "":
            return say("unknown")
        case bool():
            return say("yes" if value else "no")
        case float():
            return f"{value:.6g}".replace(".", say("decimal_mark"))
        case list():
            return ", ".join(value_text(item, say) for item in value) or say("none")
        case dict():
            return ", ".join(f"{key} {value_text(item, say)}" for key, item in value.items()) or say("none")
        case _:
            return str(value)
