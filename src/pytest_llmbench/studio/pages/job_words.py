"""Jobs in the reader's words."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.studio.store import Job, JobKind, JobState

STATES: Mapping[JobState, str] = {
    "queued": N_("waiting"),
    "running": N_("running"),
    "cancelling": N_("being cancelled"),
    "cancelled": N_("cancelled"),
    "finished": N_("finished"),
    "failed": N_("did not work"),
    "interrupted": N_("interrupted"),
}
_TITLES: Mapping[JobKind, str] = {
    "finetune": N_("Training {number}: {what}"),
    "benchmark": N_("Benchmark {number}: {what}"),
    "autotune": N_("Capacity search {number}: {what}"),
}


def title(job: Job, say: Words) -> str:
    """`Training 3: smollm2-135m`."""
    return say(_TITLES[job.kind], number=job.id, what=job.model or "")
