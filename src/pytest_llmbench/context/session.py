"""Testing servers for their context, as the items of a session or one command need them: each target once."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.found_limits import FoundLimit, FoundLimits
from pytest_llmbench.context.analysis import analysed
from pytest_llmbench.context.comparison import compare_context
from pytest_llmbench.context.context_run import ContextRun
from pytest_llmbench.core.documents import nearest, suggestion
from pytest_llmbench.core.errors import LLMBenchError, MissingRunError, UsageError
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.core.setting_sections import FACTS_MARGIN, LIMITS_MARGIN
from pytest_llmbench.runs.context_document import ContextDocument, ContextMetadata, ContextTarget
from pytest_llmbench.runs.context_runs import SavedContext, found_context
from pytest_llmbench.runs.document import without_secrets

if TYPE_CHECKING:
    from pytest_llmbench.autotune.targets import Target
    from pytest_llmbench.context.context_run import Step
    from pytest_llmbench.core.settings import Settings

Tell = Callable[[str, bool], None]
"""Shows how it stands: a line, and whether it stays (a length, or a limit, is settled) or only until the next one."""

_QUESTION = "context"
_log = logging.getLogger("pytest_llmbench")


class ContextTest:
    """Tests each target once; what was found is kept in `found`, which processes of one session share.

    Args:
        settings: what is asked and how (`context`, `load`, `server`).
        found: where results are kept, and looked for first.
        resume: go on from the journals of a test that was stopped.
        tell: shows how it stands.
    """

    def __init__(self, settings: Settings, found: FoundLimits, *, resume: bool, tell: Tell) -> None:
        self.settings = settings
        self._found, self._resume, self._tell = found, resume, tell
        self._several = len(settings.load.targets) > 1

    async def ask(self, target: Target) -> ContextTarget:
        """What was found of a target, with its analysis; tested unless it is known.

        Raises:
            UsageError, NotReadyError: as `ContextRun.measure` raises them.
        """
        async with self._found.asking():
            known = self._found.find(target, _QUESTION)
            if isinstance(known, ContextTarget):
                return known
            try:
                run = ContextRun(self.settings, target, resume=self._resume, tell=lambda step: self._show(target, step))
                made = analysed(await run.measure())
            except LLMBenchError as error:
                self._found.give_up(error)
                raise
            self._found.add(FoundLimit(url=target.url, model=target.model, question=_QUESTION, answer=made))
            return made

    def _show(self, target: Target, step: Step) -> None:
        name = f"{target.model or target.url} | " if self._several else ""
        sought = step.sought.replace("_", " ")
        self._tell(f"{name}{sought} | {step.length} tokens: {step.verdict} | {step.probes} prompts", step.over)


def context_targets(found: FoundLimits) -> list[ContextTarget]:
    """What was found of each target, in the order it was; targets of one name have their servers in it."""
    targets = [one.answer for one in found.all() if isinstance(one.answer, ContextTarget)]
    named = Counter(target.name for target in targets)
    return [
        target
        if named[target.name] == 1
        else target.model_copy(update={"name": f"{target.name} at {target.server.url}"})
        for target in targets
    ]


def context_baseline(settings: Settings) -> SavedContext | None:
    """The context run that `gate.baseline` names; None where it names none, or may be missing and is.

    Raises:
        MissingRunError: it is not there.
        UsageError: the file is there and is no such document.
    """
    gate = settings.gate
    if gate.baseline is None:
        return None
    own = (LIMITS_MARGIN, FACTS_MARGIN)  # others are a benchmark's, and a plugin may call its metric anything
    for name in gate.margins:
        if name not in own and nearest(name, own):
            _log.warning("gate.margins: a context run has no %r; %s", name, suggestion(name, own))
    try:
        return found_context(gate.baseline, settings.output.report_dir)
    except MissingRunError as error:
        if gate.missing_baseline == "fail":
            raise
        _log.warning("%s; gate.missing_baseline is warn: nothing is compared", error)
        return None


def refuse_gate_alone(kind: str, baseline: str | None) -> None:
    """Refuse a gate that was asked for and has no earlier run to hold a context run against.

    Raises:
        UsageError: there is none.
    """
    if kind != "off" and baseline is None:
        raise UsageError(
            f"gate.kind: {kind} holds a context run against an earlier one, and none is named; name it (gate.baseline)",
            names=("gate.kind", "gate.baseline"),
        )


def context_document(
    targets: Iterable[ContextTarget], settings: Settings, command: str, name: str | None = None
) -> ContextDocument:
    """The document of a session, held against the run that `gate.baseline` names. Keys and logins are masked.

    Raises:
        UsageError: as `context_baseline`.
    """
    made = ContextDocument(
        metadata=ContextMetadata(
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=command,
            name=name,
            provenance=provenance(answered_here=False),
            settings=settings.model_dump(mode="json"),
        ),
        targets=tuple(targets),
    )
    document = ContextDocument.model_validate(without_secrets(made.model_dump(mode="json")))
    baseline = context_baseline(settings)
    if baseline is None:
        return document
    return document.model_copy(update={"comparison": compare_context(baseline, document, settings.gate)})
