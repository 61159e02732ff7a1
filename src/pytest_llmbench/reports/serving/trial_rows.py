"""A trial as a row of a table: the same cells for text and page."""

from __future__ import annotations

from pytest_llmbench.autotune.document import GpuGauges, Percentiles, ServerGauges, TrialEntry
from pytest_llmbench.core.locale import N_, UNSCORED
from pytest_llmbench.reports.serving.words import VERDICTS, ServingWords

COLUMN_TITLES = {
    "level": N_("Level"),
    "verdict": N_("Verdict"),
    "good": N_("Good"),
    "share": N_("Share"),
    "p50": N_("p50"),
    "p95": N_("p95"),
    "p99": N_("p99"),
    "first": N_("First token p50"),
    "gap": N_("Token gap p50"),
    "cut": N_("Cut off"),
    "lag": N_("Client delay"),
    "standstill": N_("Client pause"),
    "cpu": N_("Client CPU"),
    "processes": N_("Processes"),
    "idle": N_("Idle after"),
    "server": N_("Server"),
    "gpu": N_("GPU"),
}
COLUMNS = tuple(COLUMN_TITLES)
_NOTHING = Percentiles()


def trial_row(trial: TrialEntry, say: ServingWords) -> list[str]:
    """The cells of `COLUMNS`, in the reader's language."""
    latency = trial.latency_s or _NOTHING
    idle = trial.idle_after_s
    return [
        say.plain(trial.level),
        say(VERDICTS[trial.verdict]),
        f"{trial.good}/{trial.total}",
        say.share(trial.good / trial.total) if trial.total else UNSCORED,
        *map(say.seconds, (latency.p50, latency.p95, latency.p99)),
        say.seconds((trial.first_token_s or _NOTHING).p50),
        say.seconds((trial.gap_s or _NOTHING).p50),
        UNSCORED if trial.cut_off is None else say.share(trial.cut_off),
        say.seconds(trial.loop_lag_s),
        say.seconds(trial.standstill_s),
        say.share(trial.client_cpu),
        say.count(trial.processes),
        say("not in time") if idle is None else say.seconds(idle),
        _gauges(trial.server, say),
        _gpu(trial.gpu, say),
    ]


def _gauges(server: ServerGauges | None, say: ServingWords) -> str:
    if server is None or (server.running_max is None and server.waiting_max is None):
        return UNSCORED
    shown = [UNSCORED if value is None else say.plain(value) for value in (server.running_max, server.waiting_max)]
    return say("{running} running, {waiting} waiting", running=shown[0], waiting=shown[1])


def _gpu(gpu: GpuGauges | None, say: ServingWords) -> str:
    if gpu is None or gpu.utilization is None:
        return UNSCORED
    memory = UNSCORED if gpu.memory_gib is None else say.plain(gpu.memory_gib, 1)
    return say("{utilization} busy, {memory} GiB", utilization=say.share(gpu.utilization), memory=memory)
