"""The model registry: short names for models, what is known about each, and the preset it trains well with."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pytest_llmbench.core.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.starter import starter_folder
from pytest_llmbench.models.memory.architecture import DescribedShapes, contradictions

Task = Literal["chat", "completion", "classification"]
TASKS: tuple[Task, ...] = ("chat", "completion", "classification")
REGISTRY = Path("configs/models.yaml")

MOST = 2**53
"""The largest count that a setting may be: what JSON's readers and the libraries beneath still take for a number."""

_Count = Annotated[int, Field(ge=1, le=MOST)]
_Text = Annotated[str, Field(min_length=1)]
_Rating = Annotated[int, Field(ge=1, le=5)]
_Name = Annotated[str, Field(pattern=r"^[\w.:-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Preset(_Strict):
    """How a model is fine-tuned. A step sees `batch_size` x `gradient_accumulation` rows of `max_length` tokens."""

    quantization: Literal["nf4", "none"] = "nf4"
    batch_size: _Count = 4
    gradient_accumulation: _Count = 1
    max_length: Annotated[int, Field(ge=8, le=MOST)] = 512
    rank: _Count = 8
    alpha: _Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | tuple[_Text, ...] = "all-linear"
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    epochs: Annotated[float, Field(gt=0)] = 3.0
    gradient_checkpointing: bool = False

    def changed_by(self, other: Preset) -> Preset:
        """Itself, with the fields that were written out in `other`."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class ContextWindow(_Strict):
    """How long a context a model reads, in tokens: what it was trained on, and how far YaRN stretches that; if at all.

    `rope_theta` is the base of its rotary positions, which YaRN needs.
    """

    native: _Count
    yarn: _Count | None = None
    rope_theta: Annotated[float, Field(gt=0)] | None = None

    @property
    def longest(self) -> int:
        """With YaRN, where the publisher vouches for it."""
        return self.yarn or self.native

    @model_validator(mode="after")
    def _refuse_half_a_stretch(self) -> Self:
        if self.yarn is not None and (self.yarn <= self.native or self.rope_theta is None):
            raise ValueError("yarn: give more tokens than native, and rope_theta beside it")
        return self


class _Written(_Strict):
    """A model as the file may describe it."""

    hub: Annotated[str, Field(pattern=r"^[\w-][\w.-]*/[\w.-]+$")]
    title: str = ""
    wheel: _Text | None = None
    aliases: tuple[_Name, ...] = ()
    family: str = ""
    member: _Name | None = None
    gguf: _Text | None = None
    context: ContextWindow | None = None
    parameters: _Count | None = None
    licence: str = ""
    gated: bool = False
    chat_template: bool = True
    vram_gb: Annotated[float, Field(gt=0)] | None = None
    quality: _Rating | None = None
    speed: _Rating | None = None
    description: str = ""
    limitation: str = ""
    training: Preset = Preset()
    tasks: dict[Task, Preset] = {}
    architecture: DescribedShapes = {}


class ModelEntry(_Written):
    """What the registry says of one model. In the file only `hub` is needed.

    `member` is its name where servers are configured, `gguf` its repository for llama.cpp with the quantization
    (`org/name:Q8_0`), or a file. `vram_gb` is the memory that training it asks for by experience, in GB of 10^9 bytes.
    `architecture` are the fields of its `config.json` that memory depends on, so that a known model is estimated
    without the network. `source` is where it is written, `file:line`.
    """

    alias: str
    source: str

    @property
    def name(self) -> str:
        """The title, or the alias where there is none."""
        return self.title or self.alias

    def preset(self, task: Task | None = None) -> Preset:
        """The model's training settings; with a task, those that its `tasks` section or the registry's changes.

        Raises:
            UsageError: there is no such task.
        """
        return _for_task(self.training, self.tasks, task)


@dataclasses.dataclass(frozen=True, slots=True)
class Registry(Mapping[str, ModelEntry]):
    """Models by alias. `get` and `in` know their other aliases too; iteration gives each model once.

    `tasks` are what each task changes of every model's preset.
    """

    entries: Mapping[str, ModelEntry]
    names: Mapping[str, str]
    tasks: Mapping[Task, Preset]

    def __getitem__(self, name: str) -> ModelEntry:
        return self.entries[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def find(self, spec: str) -> ModelEntry | None:
        """The model of this alias or hub id, or None."""
        return self.get(spec) or next((entry for entry in self.entries.values() if entry.hub == spec), None)

    def preset(self, spec: str, task: Task | None = None) -> Preset:
        """The training settings of a model spec, for a task if wanted; of a model that is not here, the defaults.

        Raises:
            UsageError: there is no such task.
        """
        entry = self.find(spec)
        return entry.preset(task) if entry else _for_task(Preset(), self.tasks, task)

    def require(self, name: str) -> ModelEntry:
        """The model of this alias or hub id. Raises UsageError with the nearest name when there is none."""
        if found := self.find(name):
            return found
        raise UsageError(f"the registry has no model {name!r}; {suggestion(name, self.names)}")


def load_registry(path: Path | None = None) -> Registry:
    """The models that the package knows, and those of `configs/models.yaml` in the current project over them.

    A project's file holds only its own models: one of a known alias takes that one's place, whole. With `path` that
    file is read alone.

    Raises:
        UsageError: a file is missing or wrong; one `file:line: ...` for each fault.
    """
    packaged = starter_folder() / REGISTRY
    files = [path] if path else [packaged]
    if path is None and REGISTRY.exists() and REGISTRY.resolve() != packaged.resolve():
        files.append(REGISTRY)
    return _registry(tuple((file, _state(file)) for file in files))


def _state(file: Path) -> tuple[str, int, int] | None:
    """What differs once the file does; None where there is none."""
    if not file.is_file():
        return None
    found = file.stat()
    return str(file.resolve()), found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4)
def _registry(files: tuple[tuple[Path, tuple[str, int, int] | None], ...]) -> Registry:
    """A training asks for it five times, a page of the studio at each request: it is read again once a file changed."""
    entries: dict[str, ModelEntry] = {}
    tasks: dict[Task, Preset] = {}
    for file, _ in files:
        document, read = _read(file)
        tasks |= read.tasks
        entries |= {alias: _entry(document, alias, written) for alias, written in read.models.items()}
    merged = {alias: _with_tasks(entry, tasks) for alias, entry in entries.items()}
    return Registry(merged, _names(merged), tasks)


class _File(_Strict):
    models: dict[_Name, _Written]
    tasks: dict[Task, Preset] = {}


def _entry(document: Document, alias: str, written: _Written) -> ModelEntry:
    source = f"{document.path}:{document.line('models', alias)}"
    return ModelEntry.model_validate({**dict(written), "alias": alias, "source": source})


def _read(path: Path) -> tuple[Document, _File]:
    document = read_yaml(path)
    if not isinstance(document.data, dict) or not isinstance(document.data.get("models"), dict):
        message = "a registry has the key `models`: a mapping of alias to its fields"
        raise UsageError(located(path, document.line("models"), message))
    faults = Faults()
    try:
        file = _File.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        for line, message in sorted(set(_faults(document, error))):
            faults.at(path, line, message)
        faults.raise_any()
        raise
    for alias, written in file.models.items():
        for where, message in _contradictions(written):
            faults.at(path, document.line("models", alias, *where), f"model {alias!r}: {message}")
    faults.raise_any()
    return document, file


def _contradictions(written: _Written) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no field says alone, with its place below the model: shapes, and presets that do not suit them."""
    if not written.architecture:  # then nothing is known of its layers
        return
    presets: dict[tuple[str, ...], Preset] = {("training",): written.training}
    presets |= {("tasks", task): preset for task, preset in written.tasks.items()}
    targets = {place: preset.targets for place, preset in presets.items() if preset.targets != "all-linear"}
    lengths = {place: preset.max_length for place, preset in presets.items()}
    yield from contradictions(written.architecture, targets, lengths)


def _faults(document: Document, error: ValidationError) -> Iterator[tuple[int, str]]:
    for item in error.errors(include_url=False):
        where = [part for part in item["loc"] if part not in _BRANCHES]
        *parents, key = where
        place = f"model {where[1]!r}: " if where[0] == "models" and len(where) > 1 else ""
        yield document.line(*where), place + _message(item, parents, key)


_BRANCHES = ("literal['all-linear']", "tuple[constrained-str, ...]", "[key]")


def _message(item: Any, parents: list[int | str], key: int | str) -> str:
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}; {suggestion(str(key), _keys_below(parents))}"
        case "missing":
            return f"needs the field `{key}`" + (": org/name on the hub" if key == "hub" else "")
        case "literal_error" if parents and parents[-1] == "tasks":
            return f"unknown task {key!r}; {suggestion(str(key), TASKS)}"
        case "string_pattern_mismatch" if key == "hub":
            return (
                f"hub: {item['input']!r:.60} is not valid: it is an id of the hub, org/name; "
                "a model on this disk needs no entry, give its folder where a model is asked for"
            )
    return f"{key}: {item['input']!r:.60} is not valid: {item['msg'][:1].lower()}{item['msg'][1:]}"


def _keys_below(parents: list[int | str]) -> list[str]:
    """The fields that may stand below a key path: of the file, of a model, or of its preset."""
    if not parents:
        return list(_File.model_fields)
    is_model = parents[0] == "models" and len(parents) == 2  # noqa: PLR2004  # models, and the alias
    return list(_Written.model_fields if is_model else Preset.model_fields)


def _with_tasks(entry: ModelEntry, tasks: Mapping[Task, Preset]) -> ModelEntry:
    """The entry with the registry's tasks below its own."""
    merged = {
        task: tasks.get(task, _NO_CHANGE).changed_by(entry.tasks.get(task, _NO_CHANGE))
        for task in (*tasks, *entry.tasks)
    }
    return entry.model_copy(update={"tasks": merged})


_NO_CHANGE = Preset()


def _for_task(training: Preset, tasks: Mapping[Task, Preset], task: Task | None) -> Preset:
    if task is None:
        return training
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}; {suggestion(task, TASKS)}")
    return training.changed_by(tasks.get(task, _NO_CHANGE))


def _names(entries: Mapping[str, ModelEntry]) -> dict[str, str]:
    """Every name to its alias.

    Raises:
        UsageError: two models share a name.
    """
    names = {alias: alias for alias in entries}
    faults = Faults()
    for alias, entry in entries.items():
        for other in entry.aliases:
            if other in names:
                faults.add(f"{entry.source}: model {alias!r}: the alias {other!r} already means {names[other]!r}")
            else:
                names[other] = alias
    faults.raise_any()
    return names
