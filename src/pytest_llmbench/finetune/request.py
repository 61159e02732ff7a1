"""What is to be trained, its values checked before anything is loaded, and the command line that asks for it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.starter import VOCABULARY
from pytest_llmbench.finetune.processes import process_count
from pytest_llmbench.models.registry import MOST, Preset, Task, load_registry

NOT_OVER_INT8 = "training is over nf4 or an unquantized base; set model.quantization: nf4 or none"
_SWITCHES = ("overwrite", "resume", "force", "strict", "keep_checkpoints")
_Count = Annotated[int, Field(ge=1, le=MOST)]
_Name = Annotated[str, Field(min_length=1)]


class _Asked(Preset):
    """A preset with the values that no registry sets."""

    targets: Literal["all-linear"] | Annotated[tuple[_Name, ...], Field(min_length=1)] = "all-linear"
    epochs: Annotated[float, Field(gt=0, le=1e6)] = 3.0  # the steps must be a number
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None  # NumPy takes no larger one
    steps: _Count | None = None
    save_steps: _Count | None = None
    warmup_share: Annotated[float, Field(ge=0, lt=1)] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """What is to be trained. `base` is a model spec; `dataset` has one of the forms of `datasets.row_formats`.

    The settings are the preset of the registry's model for the `task`, with the fields in `changes` over it: those of
    `models.registry.Preset`, or `seed`, `steps`, `save_steps` and `warmup_share`. The base is quantized as it will be
    served: an adapter learns to make up for the rounding. `suites` are files or folders whose cases no row may come
    near; that is announced, or with `strict` refused. `validation` holds rows that are not learnt: the loss on them is
    measured after each pass. Rows are written with `template_arguments` and `system_role`,
    as the fine-tune will be asked with them, and the base is loaded with `revision`, `trust_remote_code`,
    `double_quant`, `compute_dtype` and, by one process, `device_map` (`model.*` in the settings).
    `force` tries what the memory estimate forbids. `config` is the settings file that the rest was read from, and
    `journal` the one that who watches writes: the command line names them again.
    """

    dataset: Path
    output: Path
    base: str = "smollm2-135m"
    validation: Path | None = None
    task: Task | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    system_role: Literal["system", "user"] = "system"
    revision: str | None = None
    trust_remote_code: bool = False
    double_quant: bool = True
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device_map: str | Mapping[str, int | str] = "auto"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    suites: Sequence[Path] = ()
    vocabulary: Path | None = None
    overwrite: bool = False
    resume: bool = False
    force: bool = False
    strict: bool = False
    keep_checkpoints: bool = False
    config: Path | None = None
    journal: Path | None = None

    def settled(self) -> tuple[Preset, Hyperparameters]:
        """The preset with the changes, and the same as the trainer takes it.

        Raises:
            UsageError: a change is of no use: an unknown name, or a value out of its range.
        """
        preset = load_registry().preset(self.base, self.task)
        try:
            asked = _Asked.model_validate({**dict(preset), **self.changes})
        except ValidationError as error:
            raise UsageError(self._faults(error)) from error
        shared = set(Preset.model_fields)
        own = asked.model_dump(exclude=shared, exclude_none=True)
        preset = Preset.model_validate(asked.model_dump(include=shared))
        return preset, Hyperparameters(**preset.model_dump(exclude={"quantization"}), **own)

    def _faults(self, error: ValidationError) -> str:
        """One fault for each option: every form that a value could have had is an error of its own."""
        faults: dict[str, str] = {}
        for fault in error.errors():
            name = str(fault["loc"][0])
            faults.setdefault(name, fault["msg"][:1].lower() + fault["msg"][1:])
        if "targets" in faults:
            faults["targets"] = "name layers, such as q_proj,v_proj, or take all-linear"
        return "; ".join(f"{shlex.join(_option(name, self.changes[name]))}: {why}" for name, why in faults.items())

    def going_on(self) -> FinetuneRequest:
        """The request that goes on with this training after it was stopped."""
        return dataclasses.replace(self, resume=True, overwrite=False)

    def anew(self) -> FinetuneRequest:
        """The request that makes the same adapter from the beginning."""
        return dataclasses.replace(self, resume=False, overwrite=False, journal=None)

    def command(self) -> str:
        """The command line that asks for the same, of as many processes."""
        words = self.words()
        if (processes := process_count()) > 1:
            launched = ["accelerate", "launch", "--num_processes", str(processes), "--module", "pytest_llmbench.cli"]
            return shlex.join([*launched, *words[1:]])
        return shlex.join(words)

    def check_command(self, dataset: Path, *options: str) -> str:
        """The command line that looks for what is wrong with the rows of a dataset, beside the same suites."""
        words = ["llmbench", "dataset", "check", str(dataset), *options, *self._suite_words()]
        if self.vocabulary and self.vocabulary != VOCABULARY:
            words += ["--vocabulary", str(self.vocabulary)]
        return shlex.join(words + (["--config", str(self.config)] if self.config else []))

    def _suite_words(self) -> list[str]:
        """Also those that are the settings' own: these may be others by the time that the command is given."""
        return [word for suites in self.suites for word in ("--prompts", str(suites))]

    def words(self) -> list[str]:
        """The command line, word by word."""
        words = ["llmbench", "finetune", str(self.dataset), "--base", self.base, "--output", str(self.output)]
        if self.validation:
            words += ["--validation", str(self.validation)]
        if self.task:
            words += ["--preset", self.task]
        for name, value in self.changes.items():
            words += _option(name, value)
        if self.device != "auto":
            words += ["--device", self.device]
        if self.template_arguments:
            words += ["--template-arguments", json.dumps(dict(self.template_arguments), ensure_ascii=False)]
        if self.system_role != "system":
            words += ["--system-role", self.system_role]
        words += self._suite_words()
        for name, file in (("config", self.config), ("journal", self.journal)):
            words += [f"--{name}", str(file)] if file else []
        words += [f"--{name.replace('_', '-')}" for name in _SWITCHES if getattr(self, name)]
        return words


def _option(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, (tuple, list)):
        return [f"--{flag}", ",".join(map(str, value))]
    return [f"--{flag}", str(value)]  # a float's shortest form that reads back as the same


@dataclasses.dataclass(frozen=True, slots=True)
class Hyperparameters:
    """A step sees `batch_size` x `gradient_accumulation` rows; `max_length` counts a row's prompt and answer together.

    `steps` ends the training after so many, whatever `epochs` says. `targets` are the names of the layers that get
    a LoRA. `save_steps` is how often a checkpoint is written; None writes one every five minutes.
    """

    epochs: float = 3.0
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    batch_size: int = 16
    gradient_accumulation: int = 1
    max_length: int = 256
    gradient_checkpointing: bool = False
    seed: int = 42
    steps: int | None = None
    save_steps: int | None = None

    def with_batch(self, fitted: Mapping[str, int]) -> Hyperparameters:
        """The same steps with another `batch_size` and `gradient_accumulation`, where `fitted` holds them."""
        return dataclasses.replace(
            self,
            batch_size=fitted.get("batch_size", self.batch_size),
            gradient_accumulation=fitted.get("gradient_accumulation", self.gradient_accumulation),
        )

    def with_half_batch(self) -> Hyperparameters:
        """The same steps in smaller bites: half the rows at once, rounded up, and twice as often."""
        return dataclasses.replace(
            self, batch_size=(self.batch_size + 1) // 2, gradient_accumulation=self.gradient_accumulation * 2
        )
