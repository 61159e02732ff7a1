"""What every actor opens its engine with, and what must be alike on all machines of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.generation.ray.actor import Fault, Opened, Opener, Whereabouts, versions

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.ray.resources import Division

_IDENTIFIERS = ("class_name:", "actor_id:", "namespace:", "pid:", "ip:")
_ADVICE = " Some common causes include"
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Opening:
    """How an engine is opened. The first actor is told of the cases, whose warnings hold for all.

    Others are told of them too where engines make their context as long as the longest case needs.
    """

    opener: Opener
    settings: Settings
    cases: Sequence[Case]

    @property
    def told_to_all(self) -> bool:
        """Whether every actor needs to know the cases."""
        return self.settings.model.engine != "transformers"

    def alone(self, division: Division) -> Settings:
        """The settings of one actor: it answers by itself, with no more threads than it has CPUs."""
        settings = self.settings
        changed: dict[str, Any] = {"ray": settings.ray.model_copy(update={"address": None})}
        if settings.generation.threads == "auto" and not division.gpus:
            threads = max(1, int(division.cpus))
            changed["generation"] = settings.generation.model_copy(update={"threads": threads})
        return settings.model_copy(update=changed)


def other_versions(at: Whereabouts) -> Fault | None:
    """Why a machine cannot read what this one sends; None where it can."""
    ours = versions()
    unlike = [f"{name} {at.versions.get(name)}" for name in ours if at.versions.get(name) != ours[name]]
    if not unlike:
        return None
    own = ", ".join(f"{name} {version}" for name, version in ours.items())
    return Fault(NotReadyError.code, f"{', '.join(unlike)} is there, here {own}; install the same on both", ())


def other_answers(opened: Opened, first: Opened) -> Fault | None:
    """Why an engine's answers could not stand beside the first one's in one run; None where they can."""
    if opened.identity == first.identity:
        return None
    pairs = [(opened.identity.get(name, {}), known) for name, known in first.identity.items()]
    keys = sorted({key for one, known in pairs for key in {*one, *known} if one.get(key) != known.get(key)})
    message = f"it would answer differently from the first one ({', '.join(keys) or 'other adapters'})"
    hint = "machines of one run need the same files, libraries and kind of device"
    names = ("model.hold", "model.device")
    return Fault(NotReadyError.code, f"{message}: {hint}; {' and '.join(names)} may decide it alike for all", names)


def reason(error: Exception) -> str:
    """What Ray reports of a death, without its identifiers and advice; of a traceback its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith(("Traceback", "traceback")) for line in lines):
        return lines[-1]
    told = " ".join(line for line in lines if not line.startswith(_IDENTIFIERS))
    return told.partition(_ADVICE)[0][:_LONGEST]
