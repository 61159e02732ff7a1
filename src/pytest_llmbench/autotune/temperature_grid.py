"""Which temperature answers best: the main job's metrics of a server's answers, over a grid of temperatures."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.autotune.document import Against, GridMean, Point, TemperatureGrid
from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.generation.completion_store import CompletionJournal, content_key, remove_journal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

    Floats = NDArray[np.float64]

_TIMED = ("s", "tokens/s")  # units of metrics that a temperature does not decide
_ALPHA = 0.05


async def temperature_grid(
    settings: Settings,
    cases: Sequence[Case],
    metrics: MetricRegistry,
    progress: Callable[[float, int, int], None] = lambda *_: None,
    *,
    folder: Path | None = None,
) -> TemperatureGrid:
    """Ask the server of `settings.server` every case at each of `load.temperatures`, and score the answers.

    `cases` hold each epoch, so that sampling noise is averaged over as many draws. The temperature in use is asked too:
    that of `generation`, 0 where it does not sample; each other one is compared with it, paired by case and corrected
    for all comparisons (Holm). `progress` is told (temperature, answers so far, answers wanted). Answers are kept in
    `folder` until all are there, and what it holds is not asked again.

    Raises:
        UsageError: no metric of quality is switched on, there is no case, or requests have a temperature of their own.
        ServerError: the server cannot be asked, or no case was answered.
        NotReadyError: the disk refuses.
    """
    quality = [name for name, metric in metrics.metrics.items() if not metric.pair and metric.unit not in _TIMED]
    if not quality or not cases:
        raise UsageError("a temperature is chosen by the quality of answers: switch on a metric, and give cases")
    if "temperature" in (settings.server.base_body or {}):
        raise UsageError("server.base_body sets temperature, so that no other is asked for; take it out first")
    in_use = settings.generation.temperature if settings.generation.do_sample else 0.0
    grid = sorted({*settings.load.temperatures, in_use})
    stop = threading.Event()
    answers = {}
    with contextlib.ExitStack() as opened:
        kept = folder or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        opened.callback(stop.set)  # a cancelled wait does not end its thread; the next answer does
        for temperature in grid:
            told = functools.partial(_tell, progress, temperature, len(cases), stop)
            answers[temperature] = await asyncio.to_thread(_ask, _at(settings, temperature), cases, told, kept)
        remove_journal(kept)
    scores = _scores(cases, answers, metrics, quality)
    against = _compared(scores, in_use, metrics, quality)
    points = tuple(_point(at, answers[at], scores[at], against.get(at, {}), metrics) for at in grid)
    grid_of = functools.partial(TemperatureGrid, metrics=tuple(quality), in_use=in_use, points=points)
    if _same_at_all(list(answers.values())):
        return grid_of(best=None, reason="every answer is the same at every temperature", ignored=True)
    best = _recommended(points, in_use)
    return grid_of(best=best, reason=why_recommended(points, in_use, best, words("en")), ignored=False)


def _same_at_all(grid: Sequence[Mapping[tuple[str, int], Completion]]) -> bool:
    """Whether temperature changed no text at all, of those that were answered at each."""
    whole = [[answers[place] for answers in grid] for place in set(grid[0]).intersection(*grid[1:])]
    answered = [row for row in whole if all(one.finish in ("stop", "length") for one in row)]
    texts = [{(one.reasoning, one.text) for one in row} for row in answered]
    return len(grid) > 1 and bool(texts) and all(len(same) == 1 for same in texts)


def _tell(
    progress: Callable[[float, int, int], None], temperature: float, wanted: int, stop: threading.Event, done: int
) -> None:
    if stop.is_set():
        raise asyncio.CancelledError
    progress(temperature, done, wanted)


def _at(settings: Settings, temperature: float) -> Settings:
    generation = settings.generation.model_copy(update={"temperature": temperature, "do_sample": temperature > 0})
    server = settings.server.model_copy(update={"adapter": None, "adapter_body": None})
    return settings.model_copy(update={"generation": generation, "server": server})


def _ask(
    settings: Settings, cases: Sequence[Case], told: Callable[[int], None], folder: Path
) -> dict[tuple[str, int], Completion]:
    from pytest_llmbench.generation.client.backend import ServerBackend

    backend = ServerBackend(settings, as_started=True)
    try:
        identity = backend.identity(BASE)
        keys = {(case.name, case.epoch): content_key(identity, _asked(case)) for case in cases}
        with contextlib.closing(CompletionJournal(folder)) as journal:
            known = journal.get_all(keys.values())
            found = {place: known[key] for place, key in keys.items() if key in known}
            if found:
                told(len(found))
            for completion in backend.complete([case for case in cases if (case.name, case.epoch) not in found], BASE):
                place = completion.case, completion.epoch
                journal.add(keys[place], completion)
                found[place] = completion
                told(len(found))
    finally:
        backend.close()
    failures = [one.error for one in found.values() if one.finish == "error"]
    if len(failures) == len(found):
        raise ServerError(f"{settings.server.url}: no case was answered; the first failed: {failures[0]}")
    return found


def _asked(case: Case) -> Mapping[str, object]:
    """What decides the answer besides who answers, at which temperature."""
    tools = {"tools": [dict(tool) for tool in case.tools], "tool_choice": case.tool_choice} if case.tools else {}
    return {"case": case.name, "epoch": case.epoch, "messages": [dict(said) for said in case.messages], **tools}


def _scores(
    cases: Sequence[Case],
    answers: Mapping[float, Mapping[tuple[str, int], Completion]],
    metrics: MetricRegistry,
    quality: list[str],
) -> dict[float, dict[str, Floats]]:
    """Each temperature's and metric's (cases, epochs) table, NaN where an answer is unscored.

    A lost one, to an error, a time-out or endless thinking, counts as the worst score where the case is scored at any
    temperature, as gates count it: a temperature at which more are lost would win by being judged on the easy cases.
    """
    import numpy as np

    from pytest_llmbench.runs.lost_answers import worst_score

    lines = {name: line for line, name in enumerate(dict.fromkeys(case.name for case in cases))}
    shape = len(lines), max(case.epoch for case in cases) + 1
    tables = {at: {name: np.full(shape, np.nan) for name in quality} for at in answers}
    lost = {at: np.zeros(shape, dtype=bool) for at in answers}
    for at, case in itertools.product(answers, cases):
        answer, place = answers[at][case.name, case.epoch], (lines[case.name], case.epoch)
        lost[at][place] = not answer.answered
        for name, score in metrics.score(case, {BASE: answer}).items():
            if name in tables[at] and score[BASE] is not None:
                tables[at][name][place] = score[BASE]
    for name in quality:
        scores = np.stack([tables[at][name] for at in answers])
        scored = ~np.isnan(scores)
        if scored.any():
            metric = metrics.metrics[name]
            seen = scores[scored].tolist()
            worst = worst_score(seen, higher_is_better=metric.higher_is_better, unit=metric.unit)
            applies = scored.any(axis=(0, 2))
            for at in answers:
                tables[at][name][lost[at] & applies[:, None]] = worst
    return tables


def _compared(
    scores: Mapping[float, Mapping[str, Floats]], in_use: float, metrics: MetricRegistry, quality: list[str]
) -> dict[float, dict[str, Against]]:
    """Every other temperature, metric by metric, against the one in use; one family of comparisons."""
    from pytest_llmbench.stats.verdicts import Outcome, judge

    pairs = list(itertools.product((at for at in scores if at != in_use), quality))
    asked = [_hypothesis(scores[in_use][name], scores[at][name], _sign(metrics, name)) for at, name in pairs]
    known = [(pair, hypothesis) for pair, hypothesis in zip(pairs, asked, strict=True) if hypothesis is not None]
    verdicts = judge([hypothesis for _, hypothesis in known], "compare", _ALPHA) if known else []
    words: dict[Outcome, Literal["better", "worse", "no difference shown"]] = {
        Outcome.PASS: "better",
        Outcome.FAIL: "worse",
        Outcome.INCONCLUSIVE: "no difference shown",
    }
    found: dict[float, dict[str, Against]] = {}
    for ((at, name), _), verdict in zip(known, verdicts, strict=True):
        found.setdefault(at, {})[name] = Against(
            effect=verdict.effect, p_adjusted=verdict.p_adjusted, outcome=words[verdict.outcome]
        )
    return found


def _hypothesis(before: Floats, after: Floats, sign: int) -> Any:
    """The question whether a metric moved, over the cases that both scored; None where there is none."""
    import numpy as np

    from pytest_llmbench.stats import Hypothesis, SideScores

    both = ~np.isnan(before).all(axis=1) & ~np.isnan(after).all(axis=1)
    known = SideScores.of_table(sign * before[both]), SideScores.of_table(sign * after[both])
    return Hypothesis(known[0], known[1], margin=0.0) if both.any() else None


def _sign(metrics: MetricRegistry, name: str) -> int:
    return 1 if metrics.metrics[name].higher_is_better else -1


def _point(
    temperature: float,
    answers: Mapping[tuple[str, int], Completion],
    scores: Mapping[str, Floats],
    against: dict[str, Against],
    metrics: MetricRegistry,
) -> Point:
    failed = sum(one.finish == "error" for one in answers.values())
    found = {name: _mean(table, metrics.metrics[name].unit) for name, table in scores.items()}
    means = {name: mean for name, mean in found.items() if mean is not None}
    return Point(temperature=temperature, answers=len(answers), failed=failed, scores=means, against=against)


def _mean(table: Floats, measured_in: str | None) -> GridMean | None:
    import numpy as np

    from pytest_llmbench.stats.share_interval import score_interval

    scored = table[~np.isnan(table).all(axis=1)]
    if not len(scored):
        return None
    cases = np.nanmean(scored, axis=1)
    low, high = score_interval(cases, measured_in) or (None, None)
    return GridMean(mean=float(cases.mean()), low=low, high=high, count=len(cases))


def _recommended(points: Sequence[Point], in_use: float) -> float:
    """Another temperature only where it is shown to be better in a metric and in none to be worse."""
    winners = [point for point in points if point.metrics("better") and not point.metrics("worse")]
    best = max(winners, key=lambda point: (len(point.metrics("better")), -point.temperature), default=None)
    return in_use if best is None else best.temperature


def why_recommended(points: Sequence[Point], in_use: float, best: float, say: Words) -> str:
    """Why of these points `best` is the one, in the reader's language."""
    better = [name for point in points if point.temperature == best for name in point.metrics("better")]
    if not better:
        return say("no temperature is shown to be better than {value}, which is in use", value=say.tick(in_use))
    names = better if say.language == "en" else map(say.metric, better)  # English has the names of the terminal
    return say("better than {value} in {names}, and worse in nothing", value=say.tick(in_use), names=", ".join(names))
