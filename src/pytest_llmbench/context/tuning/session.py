"""A tuning from its settings to its document."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.autotune.targets import digest_of, talks
from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.tuning.command_launcher import CommandLauncher
from pytest_llmbench.context.tuning.document import (
    Outcome,
    ParameterDocument,
    TuningDocument,
    TuningMetadata,
)
from pytest_llmbench.context.tuning.known_questions import check_answers
from pytest_llmbench.context.tuning.launching import EmbeddedLauncher
from pytest_llmbench.context.tuning.measuring import CapacityMeasure
from pytest_llmbench.context.tuning.model_context import loaded_by, refuse_beyond_model
from pytest_llmbench.context.tuning.search import Tell, Tuner, measured_ones, winner
from pytest_llmbench.context.tuning.space import SearchSpace, usual_baseline, usual_parameters
from pytest_llmbench.context.tuning.study import TuningStudy, opened_study
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.generation.client.server_address import request_headers
from pytest_llmbench.generation.embedded.llamacpp import served_model
from pytest_llmbench.models.memory.hardware import may_have_gpu
from pytest_llmbench.runs.context_document import NumberWithInterval, PromiseDocument
from pytest_llmbench.stats import paired_ratio

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.launching import Launcher
    from pytest_llmbench.context.tuning.space import Value
    from pytest_llmbench.core.setting_sections import Settings, TuneSettings

FOLDER = "tune"
"""Of the studies, in the report folder."""

_USERS = ("arrivals", "messages", "history", "cooldown", "jitter", "latency", "quantile", "measured", "max_users")
_SECTIONS = ("tune", "load", "generation")


def tune(
    settings: Settings, *, resume: bool, tell: Tell, keep: Callable[[TuningDocument], object], command: str = ""
) -> None:
    """Search, confirm the winner, and have what was found kept.

    `keep` takes the document once, at the end, whatever ends it: one that was cut short says so. Where not even the
    baseline was measured there is none.

    Raises:
        UsageError: what is wanted cannot be tuned, or another process tunes the same study; before anything starts.
        NotReadyError: optuna or a launcher is missing, or the baseline cannot be measured.
    """
    wanted = settings.tune
    launcher, space = prepared(settings)
    tuner = Tuner(
        launcher=launcher,
        space=space,
        check=lambda url: check_answers(url, settings, wanted.context),
        measure=CapacityMeasure(settings, tell),
        context=wanted.context,
        tell=tell,
    )
    seed = settings.generation.seed
    folder = settings.output.report_dir / FOLDER
    identity = _identity(settings, launcher, space)
    with opened_study(folder, wanted.study, space, identity, resume=resume, trials=wanted.trials, seed=seed) as study:
        cut_short = True
        try:
            tuner.search(study, wanted.trials, wanted.time_limit)
            tuner.confirm(study, wanted.rounds)
            cut_short = False
        finally:
            if study.trials:
                found = document(study, settings, launcher, space, command)
                keep(found.model_copy(update={"cut_short": cut_short}))


def prepared(settings: Settings) -> tuple[Launcher, SearchSpace]:
    """Who starts servers and what is searched, checked as far as nothing has to be started for it.

    Raises:
        UsageError, NotReadyError: as `tune` raises them.
    """
    wanted = settings.tune
    refuse_beyond_model(settings)
    launch = LaunchSettings(
        engine=wanted.engine,
        model=loaded_by(settings.model.base, wanted.engine),
        max_context=wanted.context,
        device=_device(settings),
    )
    launcher = _launcher(settings, launch)
    vary, baseline = _searched(wanted, launcher.own_names)
    space = SearchSpace(launcher.served(launch), vary, baseline, wanted.fixed, launcher.own_names)
    given = {**wanted.fixed, **wanted.baseline}
    launcher.check(space, [name for name, value in given.items() if value is not None])
    return launcher, space


def _searched(wanted: TuneSettings, written: frozenset[str]) -> tuple[Mapping[str, Sequence[Value]], dict[str, Value]]:
    """What is varied, and the baseline. What a template has `written` a place for is never left to the server.

    Where it would be, the baseline has the first value that the user varies, or one that is usual.
    """
    usual = usual_parameters(wanted.engine, _cores(), written)
    vary = dict(wanted.vary) or {name: choices for name, choices in usual.items() if name not in wanted.fixed}
    varied = written & wanted.vary.keys()
    own = usual_baseline(wanted.engine, _cores(), written - varied)
    baseline = {
        name: value
        for name, value in own.items()
        if name not in wanted.fixed and (value is not None or name not in varied)
    }
    return vary, {**baseline, **wanted.baseline}


def document(
    study: TuningStudy, settings: Settings, launcher: Launcher, space: SearchSpace, command: str
) -> TuningDocument:
    """What the study knows, at whatever stage."""
    best, known = winner(study.trials), provenance(answered_here=False)
    outcome, ratio = confirmed_winner(study, best.number)
    load = settings.load
    return TuningDocument(
        metadata=TuningMetadata(
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=command,
            provenance=dict(known),
            settings=settings.model_dump(mode="json", include=set(_SECTIONS)),
        ),
        study=settings.tune.study,
        engine=settings.tune.engine,
        launcher=launcher.name,
        model=settings.model.base,
        context=settings.tune.context,
        promise=PromiseDocument(
            latency_s=load.latency, quantile=1.0 if load.quantile == "strict" else load.quantile, latency=load.measured
        ),
        parameters=tuple(
            ParameterDocument(name=one.name, choices=one.choices, baseline=space.baseline.values[one.name])
            for one in space.parameters
        ),
        trials=tuple(study.trials),
        baseline=study.trials[0].number,
        winner=best.number,
        rounds=tuple(study.rounds_of(best.number)),
        outcome=outcome,
        ratio=ratio,
    )


def confirmed_winner(study: TuningStudy, best: int) -> tuple[Outcome, NumberWithInterval | None]:
    """Whether the winner holds more users than the baseline, by the rounds in which both were measured again.

    What holds "that or more" users is no measurement: it is never less than what else was measured.
    """
    if best == study.trials[0].number:
        first, *others = (one.held for one in measured_ones(study.trials) if one.held)
        return "not_told_apart" if first.more and any(one.more for one in others) else "baseline_best", None
    if len(rounds := study.rounds_of(best)) < 2:  # noqa: PLR2004  # one round has no deviation
        return "unconfirmed", None
    pairs = [
        tuple(paired_ratio.Measurement(one.mean, one.deviation) for one in (made.baseline, made.winner))
        for made in rounds
    ]
    found = paired_ratio.paired_ratio([(before, after) for before, after in pairs])
    seems_more = found.low > 1
    if any(made.baseline.more if seems_more else made.winner.more for made in rounds):
        return "not_told_apart", None
    ratio = NumberWithInterval(value=round(found.value, 4), low=round(found.low, 4), high=round(found.high, 4))
    return "better" if seems_more else "no_better", ratio


def _launcher(settings: Settings, launch: LaunchSettings) -> Launcher:
    """The command's, the engine's own program, or the embedded server."""
    wanted, logs = settings.tune, settings.output.report_dir / FOLDER / "logs"
    if wanted.command is not None or wanted.engine != "llamacpp":
        _refuse_adapter(settings)
    if wanted.command is not None:
        return CommandLauncher(wanted.command, wanted.start_timeout, _headers(settings), logs)
    if wanted.engine != "llamacpp":
        return CommandLauncher.of_engine(launch, wanted.start_timeout, _headers(settings), logs)
    if len(adapters := settings.model.adapters) > 1:
        raise UsageError("the embedded server takes one adapter; give one, or none", names=("model.adapter",))
    return EmbeddedLauncher(served_model(settings.model.base, adapters[0], settings.model.adapters_dir))


def _refuse_adapter(settings: Settings) -> None:
    """A command's server is given its fine-tunes by name; one that stands elsewhere would be left out unseen."""
    named = [one for one in settings.model.adapters if one not in ("auto", "none")]
    if named and "lora" not in settings.tune.fixed:
        raise UsageError(
            f"model.adapter: {named[0]} would not be served: give it as tune.fixed: {{lora: [{{name: NAME, path: "
            f"{named[0]}}}]}}, with server.model: NAME where users ask it; or set none",
            names=("model.adapter", "tune.fixed"),
        )


def _device(settings: Settings) -> Literal["cpu", "cuda"]:
    """What servers compute on; of the embedded one, which may be built for the CPU alone, a GPU has to be asked for.

    A command's server may see a GPU that no library of ours can tell of: it is kept off only where surely none is.
    """
    told, wanted = settings.model.device, settings.tune
    if told != "auto":
        return told
    embedded = wanted.command is None and wanted.engine == "llamacpp"
    return "cpu" if embedded or not may_have_gpu() else "cuda"


def _headers(settings: Settings) -> Mapping[str, str]:
    """Those of every question, the key too."""
    return request_headers(settings.server.headers, os.environ.get("LLMBENCH_API_KEY", ""))


def _identity(settings: Settings, launcher: Launcher, space: SearchSpace) -> Mapping[str, Any]:
    """All that what a trial holds depends on, besides its own settings. What users say counts, not where it stands."""
    load = settings.load.model_dump(mode="json", include=set(_USERS))
    return {
        "launcher": launcher.name,
        "launch": space.baseline.launch.model_dump(mode="json"),
        **({"template": dict(space.baseline.own)} if space.baseline.own else {}),
        "load": load,
        "tune": settings.tune.model_dump(mode="json", include={"budget", "trial_time"}),  # where a search is cut short
        "generation": settings.generation.model_dump(mode="json", exclude={"seed", "batch_size", "threads", "cache"}),
        "conversations": digest_of(talks(settings)),
        "model": settings.model.model_dump(mode="json", include={"template_arguments", "system_role"}),
        "server": settings.server.model_dump(mode="json", include={"model", "base_body", "stream"}),
    }


def _cores() -> int:
    """Cores without their second threads, as llama.cpp counts its own."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))
