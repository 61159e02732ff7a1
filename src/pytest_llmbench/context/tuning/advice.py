"""What a tuning advises, in the form that the files of a server's settings are written from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llmbench.context.serving.optimized_config import OptimizedConfig

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.document import TuningDocument
    from pytest_llmbench.core.setting_sections import Settings


def advised_config(document: TuningDocument, settings: Settings) -> OptimizedConfig:
    """The settings to run, each with what was measured as its reason."""
    advised, launch = document.advised, document.advised.launch
    on_gpu = launch.device == "cuda"
    answer = settings.generation.max_new_tokens + settings.generation.max_reasoning_tokens
    return OptimizedConfig(
        model=document.model,
        launch=launch,
        hardware=_hardware(document.metadata.provenance, on_gpu=on_gpu),
        gpus=launch.tensor_parallel if on_gpu else 0,
        memory={},
        prompt_tokens=max(1, launch.max_context - answer),
        pool_tokens=launch.kv_tokens,
        reasons=dict.fromkeys(advised.settings, _reason(document)),
        vllm_version=settings.serving.vllm_version if launch.engine == "vllm" else None,
    )


def _reason(document: TuningDocument) -> str:
    ratio, held = document.ratio, document.advised.held
    users = f"{held.users} users held" if held else "not measured"
    if document.outcome == "better" and ratio:
        ends = f"{ratio.low:.2f} or more" if document.at_least else f"{ratio.low:.2f} to {ratio.high:.2f}"
        return f"measured: {users}, {ratio.value:.2f} times the baseline's ({ends})"
    return f"the baseline: {users}, and nothing was shown to be better"


def _hardware(provenance: dict[str, Any], *, on_gpu: bool) -> str:
    """The machine that it was measured on."""
    gpus = provenance.get("gpus")
    if on_gpu and gpus:
        return ", ".join(str(gpu.get("name", gpu)) if isinstance(gpu, dict) else str(gpu) for gpu in gpus)
    cpu = provenance.get("cpu") or {}
    return f"{cpu.get('model', 'CPU')}, {cpu.get('usable_cores', '?')} cores"
