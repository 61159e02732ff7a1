"""Does training still learn? A short real one, and what has to be true of it.

Each question returns the faults it found, in words; none means that it holds. A training is done once, and each answer
is worked out when it is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.announcing import NO_BASELINE
from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.core.records import BASE, FINETUNED
from pytest_llmbench.core.starter import present
from pytest_llmbench.datasets.files import write_rows
from pytest_llmbench.datasets.rows import read_rows
from pytest_llmbench.finetune.finetune import Finetuned, finetune
from pytest_llmbench.finetune.history import find_training, save_training, worse_than
from pytest_llmbench.finetune.request import NOT_OVER_INT8, FinetuneRequest
from pytest_llmbench.finetune.routing_eval import RoutingScores, cases_of, compare_routing
from pytest_llmbench.finetune.sft import Watch
from pytest_llmbench.finetune.step_checks import batch_faults, gradient_faults, loss_faults
from pytest_llmbench.finetune.training_log import DestroyedTraining

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.models.loaded import LoadedModel
    from pytest_llmbench.models.prompt_form import PromptForm

_LAST_STEPS = 2  # trained again after the checkpoint that resuming starts from
_READ = 4  # held-out prompts whose logits are compared
_RESUME_DIFFERENCE = 1e-5  # of the largest weight: sums in another order round differently
_FIRST_LOSS = 0.1

_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of the training once its model is let go: its LoRA weights, and logits of held-out prompts."""

    finetuned: Finetuned
    weights: Mapping[str, Tensor]
    logits: Sequence[Tensor]


class TrainingProof:
    """A short training with the settings' rows and steps, in `folder`; `watch` looks on, and may prepare the trainer.

    `save_as` is the name under which it is kept for later comparisons.
    """

    def __init__(self, settings: Settings, folder: Path, watch: Watch | None = None, *, save_as: str = "") -> None:
        self._save_as = save_as
        self._settings, self._chosen = settings, settings.finetune
        self._watch = watch or Watch()
        self._folder = folder

    @functools.cached_property
    def _request(self) -> FinetuneRequest:
        dataset = self._folder / f"{self._chosen.dataset.stem}.jsonl"
        write_rows(dataset, _of_tools(self._chosen.dataset, self._chosen.tools))
        return request_of(self._settings, dataset, self._folder / "adapter")

    @property
    def evidence(self) -> Evidence:
        """The training, done once. Raises DestroyedTraining each time where its loss is no number any more."""
        if isinstance(self._evidence, DestroyedTraining):
            raise self._evidence.with_traceback(None)
        return self._evidence

    @functools.cached_property
    def _evidence(self) -> Evidence | DestroyedTraining:
        try:
            done = finetune(self._request, self._watch)
        except DestroyedTraining as error:
            return error.with_traceback(None)  # whose frames hold the model
        logits = _logits(done.training.model, done.form, self._heldout[:_READ])
        weights = _lora_weights(done.training.model)
        done = dataclasses.replace(done, training=dataclasses.replace(done.training, model=None))
        gc.collect()
        return Evidence(done, weights, logits)

    def loss(self) -> list[str]:
        """It falls by the share that is asked for, and never rises far above its beginning."""
        done = self.evidence.finetuned
        chosen = done.training.hyperparameters.learning_rate
        used = max((step.learning_rate or 0.0 for step in done.training.steps), default=0.0)  # a trainer may be changed
        return loss_faults(done.training.steps, least_fall=self._chosen.loss_fall, learning_rate=max(used, chosen))

    def gradients(self) -> list[str]:
        """Every LoRA matrix gets one that is not zero."""
        return gradient_faults(self.evidence.finetuned.training.gradients)

    def answers_alone(self) -> list[str]:
        """What was learnt is the answers, each token in its place, and the loss is that of the answers."""
        done = self.evidence.finetuned
        faults = batch_faults(done.training.first_batch, done.form, read_rows(self._request.dataset))
        return faults or self._first_loss()

    def routing(self) -> list[str]:
        """The fine-tune routes held-out commands better than its base does, beyond chance."""
        return self.held_out.faults(self._settings.gate.alpha)

    def reload(self) -> list[str]:
        """The saved adapter, laid over a base loaded anew, gives the logits of the model that was trained."""
        reloaded = self._reloaded
        with reloaded.speaking_as(FINETUNED) as model:
            again = _logits(model, self.evidence.finetuned.form, self._heldout[:_READ])
        differences = [
            float((one - other).abs().mean() / one.std())
            for one, other in zip(self.evidence.logits, again, strict=True)
        ]
        if max(differences) <= self._chosen.logit_difference:
            return []
        return [
            (
                f"the saved adapter does not give the trained model's logits: they differ by {max(differences):.1%} "
                f"of their spread, more than {self._chosen.logit_difference:.1%}; what was saved is not "
                "what was trained"
            )
        ]

    def resume(self) -> list[str]:
        """Going on from the checkpoint before the end gives the weights of the training that was not interrupted."""
        before = self.evidence.weights
        done = finetune(dataclasses.replace(self._request, resume=True, overwrite=True), self._watch)
        after = _lora_weights(done.training.model)
        largest = max(float(weights.abs().max()) for weights in before.values())
        name, gap = max(
            ((name, float((before[name] - after[name]).abs().max())) for name in before), key=lambda pair: pair[1]
        )
        if gap <= _RESUME_DIFFERENCE * largest:
            return []
        return [
            (
                f"resuming from step {done.training.resumed_at} ends with other weights than an uninterrupted "
                f"training: {name} differs by {gap:.2g}, where the largest weight is {largest:.2g}; data order, "
                "optimizer or random state were not restored"
            )
        ]

    def memory(self) -> list[str]:
        """Its peak is within the estimate."""
        done = self.evidence.finetuned
        if done.estimate is None:
            _log.warning("the model's memory is not estimated, so its peak is not checked")
            return []
        peak = done.training.peak_memory + (0 if _on_gpu(done) else done.footprint)
        allowed = done.estimate * (1 + self._chosen.memory_margin)
        if peak <= allowed:
            return []
        return [
            (
                f"the training held {peak / 2**20:.0f} MiB, more than the {done.estimate / 2**20:.0f} MiB that were "
                f"expected and {self._chosen.memory_margin:.0%}; what grew?"
            )
        ]

    def compared(self) -> list[str]:
        """No metric is worse than that of the training in `gate.baseline`, if one is given; this one is kept too.

        Raises:
            MissingRunError: that training is not there, which `gate.missing_baseline` does not allow.
        """
        found, reports = self.held_out, Path(self._settings.output.report_dir)
        now = {**self.evidence.finetuned.record, "held_out": dict(found.finetuned), "held_out_base": dict(found.base)}
        gate = self._settings.gate
        before, missing = None, None
        try:
            before = find_training(reports, gate.baseline) if gate.baseline else None
        except MissingRunError as error:
            missing = error
        kept = save_training(reports, now, self._save_as)
        if missing and gate.missing_baseline == "fail":
            raise missing.saying(f"{missing}; this one is kept as {kept.stem}")
        if missing:
            _log.warning(NO_BASELINE, missing)
        if before is None:
            return []
        return worse_than(before, now, margin=self._chosen.metric_margin, alpha=gate.alpha)

    @functools.cached_property
    def held_out(self) -> RoutingScores:
        """Greedy answers of base and fine-tune to the held-out rows, compared row by row."""
        cases = cases_of(self._heldout, self._chosen.heldout)
        settings = self._settings
        return compare_routing(
            self._reloaded, settings.generation, cases, settings.gate.alpha, settings.metrics.call_form
        )

    @functools.cached_property
    def _heldout(self) -> list[dict[str, Any]]:
        return _of_tools(self._chosen.heldout, self._chosen.tools)

    @functools.cached_property
    def _reloaded(self) -> LoadedModel:
        from pytest_llmbench.models.adapter_loading import attach
        from pytest_llmbench.models.adapters import read_adapter
        from pytest_llmbench.models.loading import load_base
        from pytest_llmbench.models.sources import resolve

        self.evidence  # noqa: B018  # the adapter is made first
        loaded = load_base(resolve(self._request.base, revision=self._request.revision), self._settings.model)
        attach(loaded, {FINETUNED: read_adapter(self._request.output)})
        return loaded

    def _first_loss(self) -> list[str]:
        """The first step's loss beside the base's own on the same rows: a fresh adapter changes nothing yet."""
        done = self.evidence.finetuned
        told = done.training.steps[0]
        if told.step != 1 or done.training.hyperparameters.gradient_accumulation > 1:
            return []
        expected = _base_loss(self._reloaded, done.training.first_batch)
        if abs(told.loss - expected) <= _FIRST_LOSS * expected:
            return []
        return [
            (
                f"the first step's loss is {told.loss:.3f} where the base's on the answers of its rows is "
                f"{expected:.3f}: the loss is not that of the answers' tokens (are they shifted, or is something "
                "else counted?)"
            )
        ]


def _of_tools(path: Path, tools: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows of a dataset that have one of these tools; all rows when None.

    Raises:
        UsageError: there is no file, it is wrong, or no row has one of the tools.
    """
    rows = read_rows(present(path))
    chosen = rows if tools is None else [row for row in rows if row.get("tool") in tools]
    if not chosen:
        raise UsageError(
            f"{path}: no row has one of finetune.tools ({', '.join(tools or ())}); set it to null for all rows"
        )
    return chosen


def request_of(settings: Settings, dataset: Path, output: Path) -> FinetuneRequest:
    """What `pytest -m finetune` trains."""
    chosen, model = settings.finetune, settings.model
    if model.quantization == "int8":
        raise UsageError(NOT_OVER_INT8, names=("model.quantization",))
    changes = {
        "quantization": model.quantization,
        "batch_size": chosen.batch_size,
        "gradient_accumulation": 1,
        "max_length": chosen.max_length,
        "learning_rate": chosen.learning_rate,
        "steps": chosen.steps,
        "save_steps": chosen.steps - _LAST_STEPS,
    }
    return FinetuneRequest(
        dataset,
        output,
        model.base,
        device=model.device,
        template_arguments=model.template_arguments,
        system_role=model.system_role,
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
        double_quant=model.double_quant,
        compute_dtype=model.compute_dtype,
        device_map=model.device_map,
        changes=changes,
        keep_checkpoints=True,
    )


def _on_gpu(done: Finetuned) -> bool:
    return str(done.record["device"]).startswith("cuda")


def _lora_weights(model: Any) -> dict[str, Tensor]:
    from pytest_llmbench.finetune.training_log import lora_parameters

    return {name: parameter.detach().float().cpu().clone() for name, parameter in lora_parameters(model)}


def _logits(model: Any, form: PromptForm, rows: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """The logits over the answers of the rows, each (tokens, vocabulary), in float32."""
    import torch

    model.eval()
    found = []
    for row in rows:
        whole, prompt = form.example(row)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([whole], device=model.device)).logits[0, len(prompt) :]
        found.append(logits.float().cpu())
    return found


def _base_loss(loaded: LoadedModel, batch: Mapping[str, Any]) -> float:
    import torch

    with torch.inference_mode(), loaded.speaking_as(BASE) as model:
        place = {key: value.to(model.device) for key, value in batch.items()}
        return float(model(**place).loss)
