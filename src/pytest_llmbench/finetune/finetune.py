"""From a training set and a base to an adapter folder that says how it was made."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ModelError, NotReadyError, UsageError
from pytest_llmbench.core.files import WRITE_ELSEWHERE
from pytest_llmbench.core.writable import finite
from pytest_llmbench.finetune.adapter_folder import (
    begin_anew,
    check_files,
    check_output,
    checkpoint_to_resume,
    checkpoints_of,
    refuse_another_training,
    save_adapter,
    training_folder,
    training_outcome,
)
from pytest_llmbench.finetune.checkpoints import newest_checkpoint
from pytest_llmbench.finetune.memory import expected_memory, is_to_be_downloaded
from pytest_llmbench.finetune.processes import is_first, own_gpu, process_count
from pytest_llmbench.finetune.request import FinetuneRequest
from pytest_llmbench.finetune.sft import Hyperparameters, Training, TrainingStopped, Watch, train
from pytest_llmbench.finetune.tokenized import TokenizedRows, form_hash
from pytest_llmbench.finetune.training_log import DestroyedTraining
from pytest_llmbench.finetune.training_rows import DatasetFile, agree_on_template, read_files
from pytest_llmbench.models.fitting import known_architecture
from pytest_llmbench.models.registry import ModelEntry, Preset, load_registry

if TYPE_CHECKING:
    from pytest_llmbench.models.loaded import LoadedModel
    from pytest_llmbench.models.prompt_form import PromptForm
    from pytest_llmbench.models.sources import Source

_ROWS, _VALIDATION = "rows", "validation"  # their tokens, in the folder of the checkpoints


@dataclasses.dataclass(frozen=True, slots=True)
class Finetuned:
    """A training that went through: its record, and what it was made with. `estimate` is in bytes, None if unknown."""

    record: Mapping[str, Any]
    training: Training
    form: PromptForm
    footprint: int
    estimate: int | None


def finetune(request: FinetuneRequest, watch: Watch | None = None) -> Finetuned:
    """Train a LoRA adapter on the request's rows and write its folder, whole or not at all.

    The folder holds `adapter_config.json`, `adapter_model.safetensors` (half precision), `llmbench_training.json` (the
    record: base and data hashes, versions, seed, hyper-parameters, course and outcome of the training) and a README.
    Until then `<output>.checkpoints` holds the newest two checkpoints. Of several processes the first one writes.

    Raises:
        UsageError: the rows or options are wrong, the output folder is taken or in use, or nothing can be resumed.
        ModelError: the base cannot be found or loaded, or is gated.
        NotReadyError: a package is missing, the training does not fit into memory, or the disk is full.
        TrainingStopped: `watch.stop` said so; a checkpoint was written.
        DestroyedTraining: the loss or the weights are no numbers any more; checkpoints go, unless they are to be kept.
    """
    _check_packages()
    if request.output.is_symlink():
        request = dataclasses.replace(request, output=request.output.resolve())  # what it names is replaced, not it
    watch = watch or Watch()
    preset, hyperparameters = request.settled()
    check_files(request)
    check_output(request.output, overwrite=request.overwrite or request.resume or not is_first())
    entry = load_registry().find(request.base)
    _refuse_gated(entry, request.revision)
    with _folder_of_checkpoints(request) as checkpoints:
        resume_from = checkpoint_to_resume(checkpoints, resume=request.resume, overwrite=_overwrites(request))
        files = _files(request, watch)
        if entry and entry.architecture:
            _check_targets(request.base, preset)
        if is_to_be_downloaded(request.base, request.revision):  # one that is here is looked at later, with its rows
            _expected(request, preset, answer_tokens=1)
        source = _resolve(request)
        _check_targets(request.base, preset, source.path)
        form, context = _form(request, source, files, may_be_plain=entry is not None and not entry.chat_template)
        identity = _identity(request, files, source, form_hash(form), preset, hyperparameters)
        if resume_from is not None:
            refuse_another_training(resume_from, identity)
        rows = {
            name: file.tokenized(
                form, hyperparameters.max_length, kept=checkpoints / name, hashed=identity["tokenizer"], watch=watch
            )
            for name, file in files.items()
        }
        _refuse_too_long(request, context, rows)
        longest = preset.model_copy(update={"max_length": max(one.longest for one in rows.values())})
        answers = max(one.longest_answer for one in rows.values())
        estimate = _expected(request, longest, folder=source.path, answer_tokens=answers)
        if resume_from is None and is_first():
            begin_anew(checkpoints, identity)
        loaded = _load(request, source, preset)
        with _quiet(), _told_how_to_go_on(request), _cleared_when_destroyed(checkpoints, request):
            training = train(
                loaded.model,
                form.tokenizer,
                rows[_ROWS].examples,
                hyperparameters,
                validation=rows[_VALIDATION].examples if _VALIDATION in rows else None,
                work_folder=checkpoints,
                resume_from=resume_from,
                watch=watch,
            )
            record = finite(_record(request, source, preset, training, files, estimate) | _recorded(form))
            if is_first():
                base = entry.hub if entry else record["base_spec"]
                remedy = _how_to_go_on(request, checkpoints)
                save_adapter(training, record, form, request.output, base=base, remedy=remedy)
                _clear(checkpoints, keep=request.keep_checkpoints)
    return Finetuned(record, training, form, loaded.footprint, estimate)


def _expected(request: FinetuneRequest, preset: Preset, *, answer_tokens: int, folder: str | None = None) -> int | None:
    """The bytes that it will take. Raises NotReadyError, as `expected_memory` does."""
    return expected_memory(
        request.base,
        preset,
        request.device,
        double_quant=request.double_quant,
        compute_dtype=request.compute_dtype,
        folder=folder,
        answer_tokens=answer_tokens,
        force=request.force,
    )


def _check_packages() -> None:
    for package in ("trl", "datasets"):
        if importlib.util.find_spec(package) is None:
            raise NotReadyError(f"{package} is not installed; pip install 'pytest-llmbench[train]'")


def _files(request: FinetuneRequest, watch: Watch) -> dict[str, DatasetFile]:
    """The datasets, read through; of several processes the first one tells what is to be told of them."""
    rows, validation = read_files(request, watch, tells=is_first())
    return {_ROWS: rows, **({_VALIDATION: validation} if validation else {})}


def _check_targets(base: str, preset: Preset, folder: str | None = None) -> None:
    """See that the base has them, where its shapes are known; the trainer looks at those of any other base."""
    architecture = None if preset.targets == "all-linear" else known_architecture(base, folder)
    try:
        if architecture:
            architecture.targeted(preset.targets)
    except ModelError as error:
        raise UsageError(f"targets: {error}", names=("targets",)) from error


def _refuse_gated(entry: ModelEntry | None, revision: str | None) -> None:
    """Say at once what a gated model asks for, when it is neither here nor can be fetched."""
    if entry is None or not entry.gated:
        return
    import huggingface_hub

    from pytest_llmbench.models.sources import cached

    if huggingface_hub.get_token() is None and cached(entry.hub, revision) is None:
        raise ModelError(
            f"{entry.hub} is gated: accept its licence on https://huggingface.co/{entry.hub}, "
            "then log in (`hf auth login`) or set HF_TOKEN; `llmbench models` lists models that are not gated"
        )


@contextlib.contextmanager
def _folder_of_checkpoints(request: FinetuneRequest) -> Iterator[Path]:
    if is_first():
        with training_folder(request.output) as folder:
            yield folder
    else:
        yield checkpoints_of(request.output)


def _resolve(request: FinetuneRequest) -> Source:
    from pytest_llmbench.models.sources import resolve

    return resolve(request.base, revision=request.revision)


def _form(
    request: FinetuneRequest, source: Source, files: Mapping[str, DatasetFile], *, may_be_plain: bool
) -> tuple[PromptForm, int | None]:
    """The form that rows are written in, and the tokens that the base reads at once, before its weights are loaded."""
    from transformers import AutoConfig

    from pytest_llmbench.models.chat_templates import base_form
    from pytest_llmbench.models.loading_errors import explained
    from pytest_llmbench.models.tokenizers import context_tokens, embedding_rows, load_tokenizer

    with _quiet(), explained(source):
        trusted = request.trust_remote_code
        tokenizer = load_tokenizer(source, trust_remote_code=trusted)
        config = AutoConfig.from_pretrained(source.path, trust_remote_code=trusted)
    form = base_form(tokenizer, request.template_arguments, request.system_role, embedding_rows(config))
    agree_on_template(form, {role for file in files.values() for role in file.roles}, may_be_plain=may_be_plain)
    return form, context_tokens(config)


def _refuse_too_long(request: FinetuneRequest, context: int | None, rows: Mapping[str, TokenizedRows]) -> None:
    for name, file in ((_ROWS, request.dataset), (_VALIDATION, request.validation)):
        if context is not None and file and (longest := rows[name].longest) > context:
            told = f"{request.base} reads {context} tokens at once, and the longest row of {file} has {longest}"
            lists = request.check_command(file, "--base", request.base, "--max-length", str(context))
            raise UsageError(
                f"{told}; shorten such rows, or take another base (`{lists}` lists them)", names=("max_length",)
            )


def _recorded(form: PromptForm) -> dict[str, Any]:
    return {
        "template": "base" if form.origin else "plain",
        "template_arguments": dict(form.arguments),
        "system_role": form.system_role,
    }


def _identity(
    request: FinetuneRequest,
    files: Mapping[str, DatasetFile],
    source: Source,
    tokenizer: str,
    preset: Preset,
    hyperparameters: Hyperparameters,
) -> dict[str, Any]:
    """What makes two trainings the same one, so that the one can go on with the other's checkpoint."""
    loaded_as = {"double_quant": (request.double_quant, True), "compute_dtype": (request.compute_dtype, "bfloat16")}
    return {
        "base": source.weights_hash,
        "tokenizer": tokenizer,
        "dataset": files[_ROWS].sha256,
        **({_VALIDATION: files[_VALIDATION].sha256} if _VALIDATION in files else {}),
        "quantization": preset.quantization,
        **{key: value for key, (value, usual) in loaded_as.items() if value != usual},  # older checkpoints have none
        **({"number of processes": processes} if (processes := process_count()) > 1 else {}),
        **{key: value for key, value in dataclasses.asdict(hyperparameters).items() if key != "save_steps"},
    }


def _overwrites(request: FinetuneRequest) -> bool:
    """Whether checkpoints that are there may go; those of the first process are no matter for the others."""
    return request.overwrite or not is_first()


def _load(request: FinetuneRequest, source: Source, preset: Preset) -> LoadedModel:
    from pytest_llmbench.core.settings import ModelSettings
    from pytest_llmbench.finetune.trainer import training_dtype
    from pytest_llmbench.models.loading import choose_device, load_base

    device = choose_device(request.device)
    place = request.device_map if isinstance(request.device_map, str) else dict(request.device_map)
    if process_count() > 1:  # each process has a copy of the base on its own GPU
        place = {"": own_gpu()}
    loaded = load_base(
        source,
        ModelSettings(
            base=request.base,
            quantization=preset.quantization,
            double_quant=request.double_quant,
            compute_dtype=training_dtype(request.compute_dtype, device),
            device=device,
            device_map=place,
            trust_remote_code=request.trust_remote_code,
            template_arguments=dict(request.template_arguments),
            system_role=request.system_role,
        ),
    )
    if loaded.device == "cpu":
        _choose_threads(loaded.model.config.get_text_config().hidden_size)
    return loaded


def _choose_threads(width: int) -> None:
    """Set PyTorch's threads to the number that multiplies fastest: on busy shared cores two can be slower than one."""
    import torch

    from pytest_llmbench.generation.local.calibration import step_seconds

    activations, weights = torch.rand(512, width), torch.rand(width, 4 * width)

    def step() -> None:
        for _ in range(4):
            torch.mm(torch.mm(activations, weights), weights.T).relu_()

    seconds = step_seconds(step, torch.set_num_threads)
    torch.set_num_threads(min(seconds, key=lambda threads: seconds[threads]))


def _how_to_go_on(request: FinetuneRequest, checkpoints: Path) -> str:
    """What to do where the adapter cannot be written: in another folder the training would begin anew."""
    newest = newest_checkpoint(checkpoints)
    if newest is None:
        return WRITE_ELSEWHERE
    return f"free some space, then go on from {newest.name}: {request.going_on().command()}"


@contextlib.contextmanager
def _told_how_to_go_on(request: FinetuneRequest) -> Iterator[None]:
    try:
        yield
    except TrainingStopped as stopped:
        raise TrainingStopped(f"{stopped}: {request.going_on().command()}") from stopped


@contextlib.contextmanager
def _cleared_when_destroyed(checkpoints: Path, request: FinetuneRequest) -> Iterator[None]:
    """Whoever went on from a checkpoint of a destroyed training would take the same steps into the same end."""
    try:
        yield
    except DestroyedTraining as destroyed:
        if not is_first() or not any(checkpoints.glob("checkpoint-*")):
            raise
        _clear(checkpoints, keep=request.keep_checkpoints)
        after = f"its checkpoints are kept in {checkpoints}" if request.keep_checkpoints else "its checkpoints are gone"
        raise DestroyedTraining(f"{destroyed}; {after}", names=destroyed.names) from destroyed


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


def _clear(checkpoints: Path, *, keep: bool) -> None:
    import shutil

    for checkpoint in () if keep else checkpoints.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _shareable(spec: str, source: Source) -> str:
    """The base's name without a path of this machine: an alias or hub id as given, a file or folder by its name."""
    return source.name if Path(spec).exists() else spec


def _record(
    request: FinetuneRequest,
    source: Source,
    preset: Preset,
    training: Training,
    files: Mapping[str, DatasetFile],
    estimate: int | None,
) -> dict[str, Any]:
    return {
        "base_weights_hash": source.weights_hash,
        "base_name": source.name,
        "base_spec": _shareable(request.base, source),
        "command": request.anew().command(),
        "dataset": files[_ROWS].recorded(),
        **({"validation_dataset": files[_VALIDATION].recorded()} if _VALIDATION in files else {}),
        "quantization": preset.quantization,
        "task": request.task,
        **training_outcome(training, estimate),
    }
