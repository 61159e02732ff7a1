"""Why the limit is where it is, told from what was measured, and what to try next.

The late answers just above the limit are compared with those of the lowest level tried: did they lose their time
before the first token (in a line, or while prompts were read) or between tokens? A line for slots and a server that
is busy reading prompts look alike to a single answer. They are told apart by the server's own gauges, else by how many
answers are written while others wait, and by how much of the time the prompts alone would take (the utilisation law).
Where none of that tells, the explanation says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_llmbench.autotune.diagnosis.phases import asked, late, valid_trials
from pytest_llmbench.autotune.diagnosis.scene import Scene
from pytest_llmbench.autotune.document import Cause, Finding, LimitEvidence, TrialEntry
from pytest_llmbench.load.reasons import BOTTLENECKS

_NEIGHBOURS = 3  # trials above the limit that are looked at
_MOST = 0.5
_READING = 0.4  # of a lone answer: its prompt is no small part of it
_BUSY_READING = 0.6  # of the time: more than that and prompts wait for each other
_SLOWER = 1.3  # times: tokens that come so much slower share the decoding
_CACHE_FULL = 0.95
_DIGITS = 4


def diagnose(finding: Finding) -> tuple[Cause, LimitEvidence]:
    """The cause of this limit, and the measured numbers that it rests on."""
    cause, found = _judge(finding)
    measured = found.model_dump(exclude_unset=True)
    rounded = {name: round(value, _DIGITS) for name, value in measured.items() if isinstance(value, float)}
    return cause, found.model_copy(update=rounded)


def _judge(finding: Finding) -> tuple[Cause, LimitEvidence]:
    trials = valid_trials(finding)
    broken = _above(finding, trials)
    above = [trial for trial in broken if trial.requests][:_NEIGHBOURS]
    if not above:
        refused = [trial for trial in broken if trial.errors][:_NEIGHBOURS]
        return _of_the_refused(refused) if refused else _without_a_broken_trial(finding)
    scene = Scene.of(finding, trials, above)
    evidence = scene.evidence()
    if scene.failed > _MOST * scene.bad:
        return "errors", evidence
    if strays := _strays(finding, trials, scene):
        return "stalls", evidence.model_copy(update={"stray_share": strays})
    return _of_the_late(finding, scene, evidence)


def _of_the_late(finding: Finding, scene: Scene, evidence: LimitEvidence) -> tuple[Cause, LimitEvidence]:
    """Where answers that came, but late, lost their time."""
    if scene.low.first_s is None:
        return ("slots" if evidence.waiting_max else "unknown"), evidence
    lost_first, lost_later, late_alone = _lost(scene, finding)
    shares = {"before_first_share": lost_first / ((lost_first + lost_later) or 1.0), "late_alone": late_alone}
    evidence = evidence.model_copy(update=shares)
    if late_alone > _MOST or not scene.late:
        slow: Cause = "length" if finding.question == "max_tokens" else "alone"
        return (slow if scene.late else "unknown"), evidence
    if lost_first >= lost_later:
        longer = finding.question == "history" and not evidence.slots  # nothing grew but the prompts
        return ("prefill" if longer else _before_the_first_token(scene, evidence)), evidence
    return _between_tokens(scene), evidence


def _of_the_refused(refused: Sequence[TrialEntry]) -> tuple[Cause, LimitEvidence]:
    """Levels whose requests the server refuses as too large: none was timed, and the errors are all there is."""
    errors = sum((Counter(trial.errors) for trial in refused), Counter[str]())
    ((error, count),) = errors.most_common(1)
    return "errors", LimitEvidence(
        levels=tuple(sorted({trial.level for trial in refused})),
        bad=sum(trial.total - trial.good for trial in refused),
        failed=errors.total(),
        error=error,
        error_count=count,
    )


def _without_a_broken_trial(finding: Finding) -> tuple[Cause, LimitEvidence]:
    """Nothing broke the promise: the search ended first, or the client did."""
    faults = [trial for trial in finding.trials if trial.code in BOTTLENECKS]
    if faults:
        worst = max(faults, key=lambda trial: trial.client_cpu)
        return "client", LimitEvidence(
            level=worst.level,
            client_cpu=worst.client_cpu,
            loop_lag_s=worst.loop_lag_s,
            processes=worst.processes,
            invalid_trials=len(faults),
        )
    if finding.capped and finding.held and finding.value >= finding.highest:
        return "not_reached", LimitEvidence(highest=finding.highest)
    return "unknown", LimitEvidence()


def _above(finding: Finding, trials: Sequence[TrialEntry]) -> list[TrialEntry]:
    """The trials above the limit that did not keep the promise, nearest first."""
    wanted = 1.0 if finding.slo.is_strict else finding.wanted_share
    broken = [trial for trial in trials if trial.good < wanted * trial.total]
    return [trial for trial in broken if trial.level > finding.value] if finding.held else broken


def _strays(finding: Finding, trials: Sequence[TrialEntry], scene: Scene) -> float | None:
    """The share of late answers far below the limit, if it explains most of those above: lateness without load."""
    calm = [trial for trial in trials if trial.level <= max(trials[0].level, finding.value / 2)]
    rows, listed = late(calm, finding), len(asked(calm))
    share, above = len(rows) / max(listed, 1), len(scene.late) / max(scene.high.answers, 1)
    alone = scene.low.latency_s > finding.slo.limit_s  # late as a rule is another thing than now and then
    return share if not alone and len(rows) > 1 and share > _MOST * above else None


def _lost(scene: Scene, finding: Finding) -> tuple[float, float, float]:
    """Seconds that late answers lost before and after their first token, and the share that is late at rest too."""
    first_s, token_s = scene.low.first_s or 0.0, scene.low.token_s or 0.0
    judged_later = finding.slo.latency == "total"
    lost_first = lost_later = 0.0
    alone = 0
    for row in scene.late:
        writing_s = token_s * (row.tokens - 1) if row.tokens else scene.low.latency_s - first_s
        at_rest = first_s + (writing_s if judged_later else 0.0)
        alone += at_rest > finding.slo.limit_s
        lost_first += max(0.0, row.wait_s - first_s)
        lost_later += max(0.0, row.writing_s - writing_s) if judged_later else 0.0
    return lost_first, lost_later, alone / max(len(scene.late), 1)


def _before_the_first_token(scene: Scene, evidence: LimitEvidence) -> Cause:
    reading = (scene.low.first_s or 0.0) >= _READING * scene.low.latency_s
    busy = (scene.reading_share or 0.0) >= _BUSY_READING
    if "waiting_max" in scene.gauges:
        if scene.gauges["waiting_max"] < 1:
            return "prefill" if busy or reading or scene.interrupted else "unknown"
        if scene.gauges.get("kv_cache_max", 0.0) >= _CACHE_FULL:
            return "kv_cache"
        return "prefill" if reading and busy else "slots"
    if reading and (busy or scene.interrupted):
        return "prefill"
    if evidence.slots:
        return "slots"
    return "prefill" if busy or scene.interrupted else "unknown"


def _between_tokens(scene: Scene) -> Cause:
    if scene.interrupted and scene.slower < _SLOWER:
        return "prefill"
    return "decode" if scene.slower >= _SLOWER or scene.low.gap_s is None else "unknown"
