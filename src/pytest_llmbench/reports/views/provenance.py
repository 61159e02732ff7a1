"""What a run was made of: the few facts that place it, and everything that it recorded about itself."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.reports.announced import announced
from pytest_llmbench.reports.blocks import Block, Depth, Fact, Facts, Heading, Quote, Section, Sentences
from pytest_llmbench.reports.changed_settings import changed_settings
from pytest_llmbench.reports.engine_limits import engine_limits
from pytest_llmbench.reports.methods import method_text
from pytest_llmbench.reports.recorded import recorded_facts, recorded_text
from pytest_llmbench.runs.typed import RayTally, RunDocument

HEADLINE = {
    "base_model": N_("Base model"),
    "lora_adapter": N_("LoRA adapter"),
    "device": N_("Device"),
    "timestamp": N_("Date"),
}

_SHOWN_ELSEWHERE = {
    *(*HEADLINE, "limited", "variants", "timings", "metrics", "settings", "passes", "shared_pass", "announcements"),
}


def provenance(run: RunDocument, say: Words) -> Section:
    """Which models, which code, how many cases."""
    told = run.metadata.told
    facts: list[Fact] = [(say(title), Quote(recorded_text(told.get(key), key, say))) for key, title in HEADLINE.items()]
    facts += [
        (say("Variants"), Quote(", ".join(run.variants) or say("none"))),
        (say("Cases"), counts_text(run, say)),
        (say("Item outcomes"), say.outcome_counts(run.statistics.outcomes) or say("none")),
        *_code(run, say),
        *_judged_by(run, say),
    ]
    return Section("metadata", say("Metadata"), [Facts(facts)], folded=True)


def counts_text(run: RunDocument, say: Words) -> str:
    """How many cases, categories and results the run has."""
    totals = run.statistics
    return say(
        "{cases} (categories: {categories}, results: {results})",
        cases=totals.cases,
        categories=len(run.by_category),
        results=totals.total_tests,
    )


def _code(run: RunDocument, say: Words) -> Iterator[Fact]:
    about = run.metadata
    if about.git is not None:
        commit = about.git.commit or say("not recorded")
        dirty = say("with uncommitted changes")
        yield say("Commit"), f"{commit} ({dirty})" if about.git.dirty else commit
    if about.backend.engine:
        yield say("Engine"), Quote(about.backend.engine)
    if ray := about.backend.ray:
        yield say("Answered through Ray"), _actors(ray, say)
    if limits := engine_limits(about.backend, say):
        yield say("Limits of the engine"), " ".join(limits)
    if changed := changed_settings(about.settings or {}):
        yield (
            say("Settings that differ from their defaults"),
            Quote(", ".join(f"{key} {recorded_text(value, key, say)}" for key, value in changed.items())),
        )
    if about.seed is not None:
        yield say("Seed"), str(about.seed)
    if about.versions:
        yield say("Versions"), Quote(", ".join(map(" ".join, about.versions.items())))


def _actors(ray: RayTally, say: Words) -> str:
    told = [say("actors: {actors}, machines: {machines}", actors=ray.actors, machines=ray.nodes)]
    if ray.deaths:
        died = say(
            "actors that died: {deaths}, batches asked again elsewhere: {again}, answers given up: {lost}",
            deaths=ray.deaths,
            again=ray.batches_asked_again,
            lost=ray.answers_given_up,
        )
        told.append(died)
    return ", ".join(told)


def _judged_by(run: RunDocument, say: Words) -> Iterator[Fact]:
    if run.gate is not None and run.gate.baseline is not None:
        known = (run.gate.baseline.name, run.gate.baseline.timestamp, run.gate.baseline.commit)
        yield say("Baseline"), Quote(", ".join(filter(None, known)))
    if run.judged is not None and run.judged.verdicts:
        yield say("Method"), method_text(run.judged.verdicts[0].method, say)


def recorded(run: RunDocument, say: Words) -> Section:
    """What the run recorded about itself, whatever backend and plugins put there; of settings the unusual ones."""
    about = run.metadata.recorded
    known = {key: value for key, value in about.items() if key not in _SHOWN_ELSEWHERE}
    facts: list[Fact] = [*recorded_facts(known, say)]
    blocks: list[Block] = [
        Facts(facts, depth=Depth.FULL) if facts else Sentences([say("not recorded")], listed=False, depth=Depth.FULL)
    ]
    if told := announced(run, say):
        blocks += [Heading(say("Announced during the run"), depth=Depth.FULL), Sentences(told, depth=Depth.FULL)]
    if (settings := about.get("settings")) is not None:
        unusual = changed_settings(settings).items()
        changed: list[Fact] = [(key, recorded_text(value, key, say)) for key, value in unusual]
        blocks.append(Heading(say("Settings that differ from their defaults"), depth=Depth.FULL))
        blocks.append(
            Facts(changed, depth=Depth.FULL)
            if changed
            else Sentences([say("all settings have their defaults")], listed=False, depth=Depth.FULL)
        )
    return Section("recorded", say("Soundness and provenance"), blocks)
