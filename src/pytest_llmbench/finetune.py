"""From a training set and a base to an adapter folder that says how it was made."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.errors import NotReadyError, UsageError
from pytest_llmbench.models.adapters import CONFIG, TRAINING_RECORD
from pytest_llmbench.training.rows import read_rows
from pytest_llmbench.training.sft import Hyperparameters, Step, Training, train

if TYPE_CHECKING:
    from pytest_llmbench.models.loaded import LoadedModel
    from pytest_llmbench.models.sources import Source

_LIBRARIES = ("pytest-llmbench", "torch", "transformers", "peft", "trl", "datasets", "accelerate")


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """What is to be trained. `base` is a model spec; `dataset` is JSON Lines in the form of `training.rows`.

    `quantization` is how the base is stored while it is trained over. An adapter learns to make up for the rounding of
    that base, so it should be the one that will be served; over another it does less well.
    """

    dataset: Path
    output: Path
    base: str = "smollm2-135m"
    quantization: Literal["nf4", "none"] = "nf4"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    hyperparameters: Hyperparameters = dataclasses.field(default_factory=Hyperparameters)
    overwrite: bool = False

    def command(self) -> str:
        """The command line that asks for the same."""
        chosen = self.hyperparameters
        options = {
            "--base": self.base,
            "--quantization": self.quantization,
            "--output": self.output,
            "--epochs": f"{chosen.epochs:g}",
            "--rank": chosen.rank,
            "--alpha": chosen.alpha,
            "--lr": f"{chosen.learning_rate:g}",
            "--batch-size": chosen.batch_size,
            "--max-length": chosen.max_length,
            "--seed": chosen.seed,
        }
        words = ["llmbench", "finetune", str(self.dataset)]
        return shlex.join([*words, *(str(word) for option in options.items() for word in option)])


def _ignore(_step: Step) -> None:
    return None


def finetune(request: FinetuneRequest, on_step: Callable[[Step], None] = _ignore) -> Mapping[str, Any]:
    """Train a LoRA adapter on the request's rows and write its folder, whole or not at all; give back its record.

    The folder holds `adapter_config.json`, `adapter_model.safetensors` (half precision), `llmbench_training.json` (the
    record: base and data hashes, versions, seed, hyper-parameters, course and outcome of the training) and a README.

    Raises:
        UsageError: the rows or options are wrong, or the output folder is taken.
        ModelError: the base cannot be found or loaded.
        NotReadyError: a package is missing, or the disk is full.
    """
    rows = read_rows(request.dataset)
    _check_output(request)
    source, loaded = _load(request)
    with _new_folder(request.output) as folder:
        with _quiet(), tempfile.TemporaryDirectory(dir=folder) as work:
            training = train(
                loaded.model, loaded.tokenizer, rows, request.hyperparameters, work_folder=Path(work), on_step=on_step
            )
            _save_adapter(training, folder, name=_shareable(request.base, source))
        record = _record(request, source, training, rows=len(rows))
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        (folder / TRAINING_RECORD).write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(_readme(request.output.name, record), encoding="utf-8")
    return record


def _check_output(request: FinetuneRequest) -> None:
    output = request.output
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / CONFIG).is_file()):
        raise UsageError(f"{output} exists and is no adapter; choose another --output")
    if any(output.iterdir()) and not request.overwrite:
        raise UsageError(f"{output} holds an adapter already; choose another --output, or --overwrite it")


def _load(request: FinetuneRequest) -> tuple[Source, LoadedModel]:
    for package in ("trl", "datasets"):
        if importlib.util.find_spec(package) is None:
            raise NotReadyError(f"{package} is not installed; pip install 'pytest-llmbench[train]'")
    from pytest_llmbench.models.loading import load_base
    from pytest_llmbench.models.sources import resolve
    from pytest_llmbench.settings import ModelSettings

    source = resolve(request.base)
    loaded = load_base(
        source, ModelSettings(base=request.base, quantization=request.quantization, device=request.device)
    )
    if loaded.device == "cpu":
        _choose_threads(loaded.model.config.hidden_size)
    return source, loaded


def _choose_threads(width: int) -> None:
    """Set PyTorch's threads to the number that multiplies fastest: on busy shared cores two can be slower than one."""
    import torch

    from pytest_llmbench.generation.calibration import step_seconds

    activations, weights = torch.rand(512, width), torch.rand(width, 4 * width)

    def step() -> None:
        for _ in range(4):
            torch.mm(torch.mm(activations, weights), weights.T).relu_()

    seconds = step_seconds(step, torch.set_num_threads)
    torch.set_num_threads(min(seconds, key=lambda threads: seconds[threads]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import datasets

    from pytest_llmbench.models.quiet import quiet_libraries

    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet_libraries():
            yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder that becomes `output` when the block ends well, and vanishes when it does not."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise _cannot_write(output, error) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        _take_place(temporary, output)
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def _cannot_write(output: Path, error: OSError) -> NotReadyError:
    return NotReadyError(f"cannot write {output}: {error.strerror or error}; free some space or choose another folder")


def _shareable(spec: str, source: Source) -> str:
    """The base's name without a path of this machine: an alias or hub id as given, a file or folder by its name."""
    return source.name if Path(spec).exists() else spec


def _save_adapter(training: Training, folder: Path, *, name: str) -> None:
    import torch

    model = training.model
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float16)
    model.peft_config["default"].base_model_name_or_path = name
    # False: "auto" would ask the hub whether the base's vocabulary has grown
    model.save_pretrained(folder, save_embedding_layers=False)


def _record(request: FinetuneRequest, source: Source, training: Training, *, rows: int) -> dict[str, Any]:
    last = training.steps[-1] if training.steps else None
    return {
        "base_weights_hash": source.weights_hash,
        "base_name": source.name,
        "base_spec": _shareable(request.base, source),
        "command": request.command(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": {
            "name": request.dataset.name,
            "sha256": hashlib.sha256(request.dataset.read_bytes()).hexdigest(),
            "rows": rows,
        },
        "seed": request.hyperparameters.seed,
        "hyperparameters": dataclasses.asdict(request.hyperparameters),
        "quantization": request.quantization,
        "device": str(training.model.device),
        "precision": training.precision,
        "duration_s": round(training.seconds, 1),
        "samples_per_s": round(rows * request.hyperparameters.epochs / training.seconds, 3),
        "train_loss": training.train_loss,
        "token_accuracy": last and last.token_accuracy,
        "entropy": last and last.entropy,
        "tokens": last and last.tokens,
        "trainable_parameters": training.trainable_parameters,
        "trainable_share": training.trainable_parameters / training.parameters,
        "steps": [dataclasses.asdict(step) for step in training.steps],
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _readme(name: str, record: Mapping[str, Any]) -> str:
    return f"""# {name}

A LoRA adapter for `{record["base_spec"]}`, trained on the {record["dataset"]["rows"]} rows of \
`{record["dataset"]["name"]}` with seed {record["seed"]}:

```
{record["command"]}
```

`{TRAINING_RECORD}` holds the hashes of base and data, the versions of the libraries and the course of the training.
"""
