"""One stage of `benchmarks/gpu.py`, in a process of its own; prints what it measured as one line of JSON.

usage: python gpu_stage.py STAGE FOLDER cuda|cpu large|tiny
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from gpu_models import expert_config, expert_weights, save_adapter, save_dense

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.finetune.memory import PeakMemory
from pytest_llmbench.generation.backend import OutOfMemoryError
from pytest_llmbench.generation.local.backend import LocalBackend
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import find_adapters
from pytest_llmbench.models.held_weights import hold_weights
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base, quantization_config
from pytest_llmbench.models.memory.architecture import read_architecture
from pytest_llmbench.models.memory.estimate import TrainingPlan, estimate_inference, estimate_training
from pytest_llmbench.models.memory.weights import footprint
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.models.verification import prove_sound, raw_base

GIB = 2**30
PROMPT = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a stage runs: the folder with the models, the device, and whether shapes are tiny."""

    folder: Path
    device: str
    tiny: bool

    @property
    def dense(self) -> Path:
        """The dense model."""
        return self.folder / "dense"

    @property
    def adapter(self) -> Path:
        """A LoRA of it."""
        return self.folder / "adapter"


def main() -> None:
    """Run the stage that is named."""
    name, folder, device, size = sys.argv[1:]
    print(json.dumps(STAGES[name](Place(Path(folder), device, size == "tiny"))))


def models(place: Place) -> dict[str, Any]:
    """Make the dense model and its adapter."""
    save_dense(place.dense, tiny=place.tiny)
    save_adapter(place.dense, place.adapter)
    return {"bytes": sum(file.stat().st_size for file in place.dense.glob("*.safetensors"))}


def correctness(place: Place) -> dict[str, Any]:
    """NF4 weights against bitsandbytes' own, the base under its adapter against the raw base, LoRA by its formula."""
    loaded = load(place, "nf4", "packed")
    worst = max(_weight_gaps(place, loaded))
    sound = prove_sound(loaded)
    return {
        "weights: largest gap to bitsandbytes' own quantization (0 is right)": worst,
        "base: largest logit gap, adapter off against the raw base (0 is right)": sound.base_gap,
        "adapter: largest logit gap on against off": dict(sound.adapter_gaps),
        "adapter: largest relative gap of a layer to x (W + s B A) (rounding)": _lora_gap(loaded),
    }


def hold(place: Place) -> dict[str, Any]:
    """Tokens/s and peak memory, packed and dequantized, from one answer at a time to 512."""
    found: dict[str, Any] = {}
    for held in ("packed", "dequantized"):
        loaded = load(place, "nf4", held)
        for batch in (1, 4) if place.tiny else (1, 8, 32, 128, 512):
            found[f"{held}, batch {batch}"] = _speed(place, loaded, batch)
            tell_so_far(found)
        del loaded
        free()
    return found


def memory(place: Place) -> dict[str, Any]:
    """The estimate of answering against the measured peak, dense model, packed NF4."""
    context, batch = (96, 4) if place.tiny else (1024, 16)
    with PeakMemory(place.device) as peak:
        loaded = load(place, "nf4", "packed", adapter=False)
        _forward_twice(loaded.model, batch, context, place.device)
    config = json.loads((place.dense / "config.json").read_text(encoding="utf-8"))
    architecture = read_architecture(config, "dense")
    expected = estimate_inference(architecture, batch_size=batch, context=context, device=place.device)  # type: ignore[arg-type]  # one of its words
    return _compared(expected.total - expected.parts.get("driver", 0), peak.bytes) | {"tokens": batch * context}


def experts(place: Place) -> dict[str, Any]:
    """A mixture of experts of Qwen3-30B-A3B's shape in NF4: its weights, and its peak while it answers."""
    from transformers import Qwen3MoeForCausalLM

    from pytest_llmbench.models.moe_quantization import quantizing_experts

    config, context = expert_config(tiny=place.tiny), 96 if place.tiny else 4096
    settings = Settings.model_validate({"model": {"device": place.device}}).model
    started = time.perf_counter()
    with PeakMemory(place.device) as loading, quiet_libraries(), quantizing_experts():
        model = Qwen3MoeForCausalLM.from_pretrained(
            None, config=config, state_dict=expert_weights(config), dtype=torch.bfloat16,
            device_map={"": place.device}, quantization_config=quantization_config(settings),
        ).eval()  # fmt: skip
    loaded_s = time.perf_counter() - started
    tell_so_far({"loaded_s": loaded_s, "weights_gib": footprint(model) / GIB, "loading peak GiB": loading.bytes / GIB})
    before = footprint(model) if place.device == "cpu" else 0
    with PeakMemory(place.device) as peak:
        _forward_twice(model, 1, context, place.device)
    architecture = read_architecture(config.to_dict(), "experts")
    expected = estimate_inference(architecture, batch_size=1, context=context, device=place.device)  # type: ignore[arg-type]  # one of its words
    return {
        "loaded_s": loaded_s,
        "weights_gib": footprint(model) / GIB,
        "loading peak GiB": loading.bytes / GIB,
        "tokens": context,
        **_compared(expected.total - expected.parts.get("driver", 0), before + peak.bytes),
    }


def training(place: Place) -> dict[str, Any]:
    """A QLoRA training: that the loss falls, and its peak against the estimate.

    With TRL and datasets it is the product's own; without them a bare loop over the base as the product loads it.
    """
    steps, batch, length = (6, 2, 32) if place.tiny else (30, 8, 256)
    words = length // 2 - 8
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    train = _bare_training if missing else _own_training
    with PeakMemory(place.device) as peak:
        losses = train(place, steps, batch, length, words)
    config = json.loads((place.dense / "config.json").read_text(encoding="utf-8"))
    plan = TrainingPlan(batch, length, quantization="nf4", precision="bfloat16", answer_tokens=words)
    expected = estimate_training(read_architecture(config, "dense"), plan)
    return {
        "trainer": f"a bare loop, without {' and '.join(missing)}" if missing else "llmbench finetune",
        "steps": len(losses),
        "first loss": losses[0],
        "last loss": losses[-1],
        **_compared(expected.total - expected.parts.get("driver", 0), peak.bytes),
    }


def _own_training(place: Place, steps: int, batch: int, length: int, words: int) -> list[float]:
    from pytest_llmbench.datasets.files import write_rows
    from pytest_llmbench.finetune.finetune import finetune
    from pytest_llmbench.finetune.request import FinetuneRequest

    rows = [
        {"prompt": [{"role": "user", "content": _words(number, words)}],
         "completion": [{"role": "assistant", "content": _words(number % 4, words)}]}
        for number in range(steps * batch)
    ]  # fmt: skip
    write_rows(place.folder / "rows.jsonl", rows)
    changes = {"batch_size": batch, "max_length": length, "steps": steps, "learning_rate": 1e-3}
    request = FinetuneRequest(
        place.folder / "rows.jsonl", place.folder / "trained", base=str(place.dense), device=place.device,  # type: ignore[arg-type]  # one of its words
        changes=changes, force=True, overwrite=True,
    )  # fmt: skip
    return [step.loss for step in finetune(request).training.steps if step.loss is not None]


def _bare_training(place: Place, steps: int, batch: int, length: int, words: int) -> list[float]:
    from peft import LoraConfig, get_peft_model

    loaded = load(place, "nf4", "packed", adapter=False)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(loaded.model, config).train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    noise, losses = torch.Generator(place.device).manual_seed(4), []
    for _ in range(steps):
        tokens = torch.randint(5, 400, (batch, length), device=place.device, generator=noise)
        tokens[:, -words:] = tokens[0, :words]
        labels = tokens.clone()
        labels[:, :-words] = -100
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def invariance(place: Place) -> dict[str, Any]:
    """Of 24 greedy answers, how many are the same alone and in batches of every size and order."""
    found: dict[str, Any] = {}
    for quantization, held in (("nf4", "packed"), ("nf4", "dequantized"), ("none", "auto")):
        loaded = load(place, quantization, held)
        name = f"{quantization}, {held}" if quantization == "nf4" else "bfloat16"
        found[name] = _equal_answers(loaded, 8 if place.tiny else 24)
        tell_so_far(found)
        del loaded
        free()
    return found


STAGES: Mapping[str, Callable[[Place], dict[str, Any]]] = {
    each.__name__: each for each in (models, correctness, memory, experts, training, hold, invariance)
}


def tell_so_far(found: Mapping[str, Any]) -> None:
    """Print what is known, so that a stage that is cut off leaves what it had."""
    print(json.dumps(found), flush=True)


def load(place: Place, quantization: str, held: str, *, adapter: bool = True) -> LoadedModel:
    """The dense model as the product loads it."""
    given = {"base": str(place.dense), "quantization": quantization, "hold": held, "device": place.device}
    settings = Settings.model_validate({"model": given}).model
    source = resolve(settings.base)
    loaded = load_base(source, settings)
    hold_weights(loaded, settings)
    if adapter:
        attach(loaded, find_adapters((str(place.adapter),), place.folder, source, verify=False))
    return loaded


def free() -> None:
    """Give back what was let go of."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _weight_gaps(place: Place, loaded: LoadedModel) -> Iterator[float]:
    """Of each packed layer the largest gap to what bitsandbytes makes of the stored weights."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from bitsandbytes.nn import Linear4bit
    from safetensors.torch import load_file

    stored = {name: value for file in place.dense.glob("*.safetensors") for name, value in load_file(file).items()}
    with raw_base(loaded.model) as base:
        for name, module in base.named_modules():
            if not isinstance(module, Linear4bit) or module.weight.quant_state is None:
                continue
            ours = dequantize_4bit(module.weight.data, module.weight.quant_state)
            weight = stored[f"{name}.weight"].to(module.weight.device)
            data, state = quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
            yield float((ours.float() - dequantize_4bit(data, state).float()).abs().max())


def _lora_gap(loaded: LoadedModel) -> float:
    """Of one layer with its adapter on, against the product written out in float32."""
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import LoraLayer

    with torch.inference_mode(), loaded.speaking_as("finetuned") as model:
        layer: Any = next(one for one in model.modules() if isinstance(one, LoraLayer))
        (name,) = layer.lora_A.keys()
        base, one, two = layer.get_base_layer(), layer.lora_A[name].weight, layer.lora_B[name].weight
        weight = dequantize_4bit(base.weight.data, base.weight.quant_state).float()
        noise = torch.Generator(weight.device).manual_seed(2)
        x = torch.randn(8, base.in_features, device=weight.device, generator=noise)
        wanted = x @ (weight + layer.scaling[name] * two.float() @ one.float()).T
        given = layer(x.to(torch.bfloat16)).float()
    return float((given - wanted).abs().max() / wanted.abs().max())


def _speed(place: Place, loaded: LoadedModel, batch: int) -> dict[str, Any]:
    tokens = 4 if place.tiny else 32
    backend = _backend(loaded, batch, tokens)
    cases = [_case(number, PROMPT) for number in range(batch)]
    try:
        list(backend.complete(cases[: min(batch, 2)], "base"))
        with PeakMemory(place.device) as peak:
            started = time.perf_counter()
            made = sum(done.completion_tokens or 0 for done in backend.complete(cases, "base"))
            seconds = time.perf_counter() - started
    except OutOfMemoryError as error:
        return {"out of memory": str(error)[:200]}
    return {"tokens_per_s": made / seconds, "seconds": seconds, "peak_gib": peak.bytes / GIB}


def _equal_answers(loaded: LoadedModel, count: int) -> dict[str, str]:
    cases, order = [_case(number, 16 + number) for number in range(count)], random.Random(0)  # noqa: S311  # an order
    found: dict[str, str] = {}
    alone = _answers(loaded, cases, 1)
    for batch in (4, count):
        found[f"equal in batches of {batch}"] = _same(alone, _answers(loaded, cases, batch))
    shuffled = order.sample(cases, count)
    found["equal in another order"] = _same(alone, _answers(loaded, shuffled, count))
    found["equal in another order, base alone"] = _same(alone, _answers(loaded, shuffled, count, ("base",)))
    return found


def _answers(
    loaded: LoadedModel, cases: Sequence[Case], batch: int, variants: Sequence[str] = ("base", "finetuned")
) -> dict[tuple[str, str], str]:
    backend = _backend(loaded, batch, 24)
    asked = [(case, variant) for case in cases for variant in variants]
    size = max(1, batch)
    chunks = (asked[at : at + size] for at in range(0, len(asked), size))
    return {(done.case, done.variant): done.text for chunk in chunks for done in backend.complete_together(chunk)}


def _same(some: Mapping[tuple[str, str], str], others: Mapping[tuple[str, str], str]) -> str:
    return f"{sum(some[key] == text for key, text in others.items())} of {len(others)}"


def _backend(loaded: LoadedModel, batch: int, tokens: int) -> LocalBackend:
    given = {"batch_size": batch, "max_new_tokens": tokens, "do_sample": False, "timeout": 600.0}
    return LocalBackend(loaded, Settings.model_validate({"generation": given}).generation, {})


def _case(number: int, words: int) -> Case:
    text = _words(number, words)
    return Case("gpu", f"c{number}", text, ({"role": "user", "content": text},))


@functools.cache
def _words(seed: int, count: int) -> str:
    words = random.Random(seed).choices(range(400), k=count)  # noqa: S311  # a text
    return " ".join(f"w{number}" for number in words)


def _forward_twice(model: Any, batch: int, context: int, device: str) -> None:
    """A prompt that fills all but one token of the context, then that token."""
    inputs = torch.randint(5, 400, (batch, context), device=device, generator=torch.Generator(device).manual_seed(3))
    with torch.inference_mode():
        first = model(input_ids=inputs[:, :-1], use_cache=True, logits_to_keep=1)
        model(input_ids=inputs[:, -1:], past_key_values=first.past_key_values, use_cache=True, logits_to_keep=1)


def _compared(expected: int, measured: int) -> dict[str, float]:
    return {
        "estimated GiB": expected / GIB,
        "measured GiB": measured / GIB,
        "estimate over measured, less 1": expected / measured - 1 if measured else float("nan"),
    }


if __name__ == "__main__":
    main()
