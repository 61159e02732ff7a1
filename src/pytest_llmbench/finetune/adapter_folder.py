"""The folders of a training: its adapter, which appears whole, with its record; its checkpoints; the lock on them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import WRITE_ELSEWHERE, cannot_write, locked, write_text
from pytest_llmbench.core.starter import CONFIG
from pytest_llmbench.datasets.splitting import refuse_same_files
from pytest_llmbench.finetune.checkpoints import FITTED, newest_checkpoint, why_not_written
from pytest_llmbench.models.adapters import CHAT_TEMPLATE, TRAINING_RECORD, training_record

if TYPE_CHECKING:
    from pytest_llmbench.finetune.request import FinetuneRequest
    from pytest_llmbench.finetune.sft import Training
    from pytest_llmbench.models.prompt_form import PromptForm


_CONFIG = "adapter_config.json"
_IDENTITY = "training.json"

_LIBRARIES = ("pytest-llmbench", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")


def checkpoints_of(output: Path) -> Path:
    """Where the checkpoints of a training lie until its adapter is whole."""
    return output.with_name(f"{output.name}.checkpoints")


def check_output(output: Path, *, overwrite: bool) -> None:
    """See that an adapter may be written there.

    Raises:
        UsageError: something else is there, or an adapter that must not be replaced.
    """
    if not output.name:
        raise UsageError(f"{output} is the folder at work; name one for the adapter", names=("output",))
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / _CONFIG).is_file()):
        raise UsageError(f"{output} exists and is no adapter; choose another folder", names=("output",))
    if any(output.iterdir()) and not overwrite:
        raise UsageError(
            f"{output} holds an adapter already; choose another folder, or overwrite it", names=("output", "overwrite")
        )


def check_files(request: FinetuneRequest) -> None:
    """See that the journal is none of the files that are read, and that none lies where the adapter will.

    Raises:
        UsageError: it is one, or one is in the output folder, which is replaced as a whole.
    """
    named = {key: getattr(request, key) for key in ("dataset", "validation", "config", "vocabulary", "journal")}
    files: dict[str, Path] = {key: path for key, path in named.items() if path}
    read = [(f"the {key}", path) for key, path in files.items() if key != "journal"]
    read += [("a suite", path) for suites in request.suites for path in _files_of(suites)]
    read += [] if request.config else [("the config", CONFIG)]
    refuse_same_files(read, [("the journal", path) for key, path in files.items() if key == "journal"])
    for key, path in files.items():
        for folder in (request.output, checkpoints_of(request.output)) if request.output.name else ():
            if folder.resolve() in path.resolve().parents:
                told = (
                    f"the {key} {path} lies in {folder}, which is replaced or removed as a whole; choose another place"
                )
                raise UsageError(told, names=(key, "output"))


def _files_of(suites: Path) -> list[Path]:
    return list(suites.iterdir()) if suites.is_dir() else [suites]


@contextlib.contextmanager
def training_folder(output: Path) -> Iterator[Path]:
    """The folder of the checkpoints, kept from other trainings while the block runs; it goes when nothing is in it.

    Raises:
        UsageError: another training is writing this adapter.
        NotReadyError: the folder cannot be written.
    """
    folder = checkpoints_of(output)
    in_use = f"{output} is in use: another training is writing it; wait for it, or choose another folder"
    with locked(folder / ".lock", in_use=in_use, names=("output",)):
        try:
            yield folder
        finally:
            if newest_checkpoint(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)


def checkpoint_to_resume(folder: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The newest whole checkpoint to go on from; None for a new training.

    Raises:
        UsageError: there is nothing to resume, or checkpoints are there and not wanted.
    """
    newest = newest_checkpoint(folder)
    if resume and newest is None:
        raise UsageError(
            f"nothing to resume: {folder} holds no whole checkpoint; start without resuming", names=("resume",)
        )
    if newest is not None and not resume and not overwrite:
        told = f"{folder} holds {newest.name} of a stopped training; resume it, or overwrite it"
        raise UsageError(told, names=("resume", "overwrite"))
    return newest if resume else None


def refuse_another_training(checkpoint: Path, identity: Mapping[str, Any]) -> None:
    """See that a checkpoint is of the same training: the same data, base and settings.

    Raises:
        UsageError: it is of another one, or nothing says of which.
    """
    path = checkpoint.with_name(_IDENTITY)
    try:
        recorded = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is missing or damaged; overwrite it, to start anew", names=("overwrite",)) from error
    asked = json.loads(json.dumps(identity))
    if changed := [key for key in asked | recorded if recorded.get(key) != asked.get(key)]:
        raise UsageError(
            f"{checkpoint} is of a training with another {', '.join(changed)}; ask for the same as before, or "
            "overwrite it, to start anew",
            names=("overwrite",),
        )


def begin_anew(folder: Path, identity: Mapping[str, Any]) -> None:
    """Remove the checkpoints of earlier trainings and write down whose the next ones are.

    Raises:
        NotReadyError: the disk is full.
    """
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    (folder / FITTED).unlink(missing_ok=True)
    write_text(folder / _IDENTITY, json.dumps(identity, indent=2))


@contextlib.contextmanager
def new_adapter_folder(output: Path, remedy: str) -> Iterator[Path]:
    """A temporary folder that becomes `output` when the block ends well, and vanishes when it does not.

    `remedy` says what to do where the disk refuses it.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise cannot_write(output, error, remedy) from error
    try:
        yield temporary
        _open_as_usual(temporary)
        _take_place(temporary, output)
    except Exception as error:  # the libraries that write raise nothing narrower on a full disk
        reason = why_not_written(error, output.parent)
        if reason is None:
            raise
        raise NotReadyError(f"cannot write {output}: {reason}; {remedy}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open_as_usual(folder: Path) -> None:
    """Give a folder and its files the mode of new ones; safetensors and `tempfile` let their owner alone read them."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in folder.iterdir():
        path.chmod(mode)
    folder.chmod(mode | (mode & 0o444) >> 2)  # who may read it may enter it


def _take_place(new: Path, output: Path) -> None:
    if not output.exists():
        new.rename(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    output.rename(old)  # onto an empty folder
    try:
        new.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def training_outcome(training: Training, estimate: int | None) -> dict[str, Any]:
    """The measured part of a training's record. Memory is in bytes; `estimate` is what was expected of it."""
    last = training.steps[-1] if training.steps else None
    gradients = training.gradients
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": training.hyperparameters.seed,
        "hyperparameters": dataclasses.asdict(training.hyperparameters),
        "device": str(training.model.device),
        "precision": training.precision,
        "resumed_at_step": training.resumed_at or None,
        "sessions": [dataclasses.asdict(session) for session in training.sessions],
        "duration_s": round(training.seconds, 1),
        "samples_per_s": round(training.samples / training.seconds, 3) if training.seconds else None,
        "train_loss": training.train_loss,
        "token_accuracy": last and last.token_accuracy,
        "entropy": last and last.entropy,
        "tokens": last and last.tokens,
        "trainable_parameters": training.trainable_parameters,
        "trainable_share": training.trainable_parameters / training.parameters,
        "peak_memory_bytes": training.peak_memory,
        "estimated_memory_bytes": estimate,
        "gradients": {
            "matrices": len(gradients),
            "without": [name for name, peak in gradients.items() if not peak],
            "smallest": min(gradients.values(), default=None),
            "largest": max(gradients.values(), default=None),
        },
        "validation": [dataclasses.asdict(validation) for validation in training.validations],
        "steps": [dataclasses.asdict(step) for step in training.steps],
        "versions": _versions(),
    }


def _versions() -> dict[str, str | None]:
    installed: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def save_adapter(
    training: Training,
    record: Mapping[str, Any],
    form: PromptForm,
    output: Path,
    *,
    base: str,
    remedy: str = WRITE_ELSEWHERE,
) -> None:
    """Write a trained adapter's folder, whole or not at all, with its record and a README for people.

    `base` is what other programs know the base as, which look for it where the adapter's configuration says. The form
    that its rows were written in goes beside it where the base has no template of its own. `remedy` says what to do
    where it cannot be written.

    Raises:
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    with new_adapter_folder(output, remedy) as folder:
        _save_weights(training, folder, base=base)
        if form.origin is None:
            (folder / CHAT_TEMPLATE).write_text(form.whole_template, encoding="utf-8")
        (folder / TRAINING_RECORD).write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(_readme(output.name, record), encoding="utf-8")


def _save_weights(training: Training, folder: Path, *, base: str) -> None:
    import torch
    from peft import get_peft_model_state_dict

    model = training.model
    model.peft_config["default"].base_model_name_or_path = base
    # False: "auto" would ask the hub whether the base's vocabulary has grown
    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    halved = {key: weights.to(torch.float16) for key, weights in trained.items()}
    model.save_pretrained(folder, state_dict=halved, save_embedding_layers=False)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the adapter in a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if not (folder / TRAINING_RECORD).is_file():
        raise UsageError(f"{folder} has no {TRAINING_RECORD}; give a folder that `llmbench finetune` wrote")
    return training_record(folder)


def _readme(name: str, record: Mapping[str, Any]) -> str:
    return f"""# {name}

A LoRA adapter for `{record["base_spec"]}`, trained on the {record["dataset"]["rows"]} rows of \
`{record["dataset"]["name"]}` with seed {record["seed"]}:

```
{record["command"]}
```

`{TRAINING_RECORD}` holds the hashes of base and data, the versions of the libraries and the course of the training.
"""
