"""What each kind of job runs, how much room it takes on the disk, and what has come of it: one class a kind."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.studio.job_process import began_at
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Dataset, Job, JobKind

if TYPE_CHECKING:
    from pytest_llmbench.finetune.request import FinetuneRequest

JOURNAL = "journal.jsonl"

_VERDICTS = frozenset({0, 1})  # exit codes of a command that measured all, and was content or not
_NO_TESTS = 5  # pytest's
_CHECKPOINT_BYTES = 12  # of a trained weight: itself and AdamW's two moments, in float32
_CHECKPOINTS = 3  # two are kept while the next is written
_CLOCK_S = 2.0  # the reports' folder may be on another disk, whose dates another clock tells
_TOKEN_BYTES = 8  # of a byte of a dataset: numbers of its tokens, their labels and mask


@dataclasses.dataclass(frozen=True, slots=True)
class JobFiles:
    """Where a job's files are: its own folder, and the datasets that it reads."""

    folder: Path
    dataset: Dataset | None = None
    dataset_path: Path | None = None
    validation_path: Path | None = None


class Work(Protocol):
    """A kind of job. Its command came to its end where its exit code is one of `outcomes`."""

    outcomes: frozenset[int]

    def command(self, job: Job, files: JobFiles, options: StudioOptions, /) -> Sequence[str]:
        """The words that the terminal would be given. Raises LLMBenchError where it cannot be asked for."""
        ...

    def room(self, job: Job, files: JobFiles, /) -> int:
        """The bytes that it will write at most, as far as is known."""
        ...

    def result(self, job: Job, files: JobFiles, options: StudioOptions, code: int, /) -> dict[str, Any]:
        """What came of a command that ended by itself, with a verdict or without.

        Raises:
            LLMBenchError: it brought nothing.
        """
        ...


def llmbench(*words: str) -> Sequence[str]:
    """A command of this very installation."""
    return (sys.executable, "-P", "-m", "pytest_llmbench.cli", *words)


class Finetuning:
    """`llmbench finetune`, which goes on from its newest checkpoint where it has one."""

    outcomes = frozenset({0})

    def command(self, job: Job, files: JobFiles, options: StudioOptions) -> Sequence[str]:
        """The command of the request; what was chosen is written out."""
        words = self.request(job, files, options).words()
        others = _given("--", {"config": options.config, "journal": files.folder / JOURNAL})
        return llmbench(*words[1:], *others)

    def request(self, job: Job, files: JobFiles, options: StudioOptions) -> FinetuneRequest:
        """What is trained, with every hyper-parameter."""
        from pytest_llmbench.cases.suites import existing_suites
        from pytest_llmbench.finetune.adapter_folder import checkpoints_of
        from pytest_llmbench.finetune.checkpoints import newest_checkpoint
        from pytest_llmbench.finetune.request import FinetuneRequest

        output, model = adapter_of(job), options.settings.model
        if files.dataset_path is None:
            raise NotReadyError(f"job {job.id} has no dataset")
        checkpoints = checkpoints_of(output)
        chosen = dict(job.settings)
        return FinetuneRequest(
            files.dataset_path,
            output,
            job.model or model.base,
            validation=files.validation_path,
            task=chosen.pop("task", None),
            device=model.device,
            template_arguments=model.template_arguments,
            system_role=model.system_role,
            changes={name: value for name, value in chosen.items() if value is not None},
            suites=existing_suites(options.settings.benchmark.prompts),
            resume=checkpoints.is_dir() and newest_checkpoint(checkpoints) is not None,
        )

    def room(self, job: Job, files: JobFiles) -> int:
        """Checkpoints and the rows' tokens."""
        from pytest_llmbench.models.fitting import known_architecture

        tokens = files.dataset.bytes * _TOKEN_BYTES if files.dataset else 0
        architecture = known_architecture(job.model or "")
        if architecture is None:
            return tokens
        targets, rank = job.settings["targets"], job.settings["rank"]
        targeted = architecture.targeted(targets if isinstance(targets, str) else tuple(targets))
        weights: int = architecture.layers * sum(rank * (matrix.inputs + matrix.outputs) for matrix in targeted)
        return tokens + weights * _CHECKPOINT_BYTES * _CHECKPOINTS

    def result(self, job: Job, _files: JobFiles, _options: StudioOptions, _code: int) -> dict[str, Any]:
        """The adapter, and its record in short."""
        from pytest_llmbench.finetune.adapter_folder import read_record

        output = adapter_of(job)
        record = read_record(output)
        kept = ("train_loss", "token_accuracy", "duration_s", "trainable_share", "peak_memory_bytes")
        return {"adapter": str(output), **{key: record[key] for key in kept}}


class Benchmarking:
    """`pytest -m benchmark` on a training's adapter, with the project's suites and gate."""

    outcomes = _VERDICTS | {_NO_TESTS}

    def command(self, job: Job, _files: JobFiles, options: StudioOptions) -> Sequence[str]:
        """The main job's own command, its run saved under the job's name."""
        chosen = {
            "base": job.model,
            "adapter": adapter_of(job),
            "report-dir": options.settings.output.report_dir,
            "save": saved_as(job),
            "config": options.config,
            "server": "none",  # the adapter is asked, whatever server the project's settings name
            **job.settings,
        }
        suites = ["tests/suites"] if Path("tests/suites").is_dir() else []
        command = (sys.executable, "-m", "pytest", "-m", "benchmark", "-p", "no:cacheprovider")
        return (*command, *_given("--llmbench-", chosen), *suites)

    def room(self, _job: Job, _files: JobFiles) -> int:
        """Answers are small."""
        return 0

    def result(self, job: Job, files: JobFiles, options: StudioOptions, code: int) -> dict[str, Any]:
        """The run that was saved, and what its gate says to a program."""
        from pytest_llmbench.runs.history import saved_runs

        since = began_at(files.folder) - _CLOCK_S  # an earlier studio may have had a job of this number
        named = [run for run in saved_runs(options.settings.output.report_dir) if run.name == saved_as(job)]
        runs = [run for run in named if run.path.stat().st_mtime >= since]
        if not runs:
            missing = "the project has no benchmark suite; `llmbench init` gives it one"
            raise NotReadyError(missing if code == _NO_TESTS else "the benchmark ended before it saved a run")
        return {"run": max(runs, key=lambda run: run.number).title, "exit_code": code}


class Autotuning:
    """`llmbench autotune` on a server of this machine, which goes on with its trials where it has some."""

    outcomes = _VERDICTS

    def command(self, job: Job, files: JobFiles, options: StudioOptions) -> Sequence[str]:
        """The search for the most users.

        Its reports are in the job's folder, since its journal is with them: another job's search of the same model
        would take that one's place.
        """
        chosen = {
            **job.settings,
            "config": options.config,
            "report-dir": files.folder,
            "output": _limits(files),
        }
        return llmbench("autotune", *_given("--", chosen), *(["--resume"] if job.started else []))

    def room(self, _job: Job, _files: JobFiles) -> int:
        """Trials are small."""
        return 0

    def result(self, _job: Job, files: JobFiles, _options: StudioOptions, code: int) -> dict[str, Any]:
        """The limits that were found."""
        try:
            limits = json.loads(_limits(files).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotReadyError(f"the search ended before it wrote {_limits(files)}") from error
        return {"limits": limits, "exit_code": code}


KINDS: Mapping[JobKind, Work] = {
    "finetune": Finetuning(),
    "benchmark": Benchmarking(),
    "autotune": Autotuning(),
}


def adapter_of(job: Job) -> Path:
    """The folder of the adapter that a job makes or asks. Raises NotReadyError where it has none."""
    if job.output is None:
        raise NotReadyError(f"job {job.id} has no adapter")
    return Path(job.output)


def saved_as(job: Job) -> str:
    """The name that a benchmark's run is saved under."""
    return f"studio-job-{job.id}"


def _given(prefix: str, chosen: Mapping[str, object]) -> list[str]:
    """Options with their values, each one word: a value that begins with a dash is a value."""
    return [f"{prefix}{name}={value}" for name, value in chosen.items() if value is not None]


def _limits(files: JobFiles) -> Path:
    return files.folder / "model_limits.json"
