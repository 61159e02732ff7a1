"""Server settings by arithmetic: they fit, they hold the context that is asked for, and say why; or tell what would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.serving_settings import optimized

from pytest_llmbench.context.serving.argv import UNSAID, argv
from pytest_llmbench.context.serving.family import architecture_of, context_lengths, find_member, members, stretched
from pytest_llmbench.context.serving.launch_settings import LaunchSettings, LoraModule
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.setting_sections import Engine
from pytest_llmbench.models.memory.estimate import estimate_inference
from pytest_llmbench.models.memory.weights import GIB

ADAPTER = Path(__file__).parents[3] / "adapters" / "smollm2-135m-jarvis-fr"


def test_keys_and_values_are_those_of_models_estimate() -> None:
    estimate = estimate_inference(architecture_of(find_member("medium")), batch_size=3, context=40960, device="cuda")
    config = optimized("medium", engine="llamacpp", slots=3, max_context=40960)
    assert config.memory["keys and values"] == estimate.parts["KV cache"]


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(["micro", "mini", "medium"]),
    engine=st.sampled_from(["vllm", "llamacpp", "sglang"]),
    memory=st.floats(1, 200),
    context=st.integers(256, 131072),
)
def test_what_is_found_fits_and_holds_the_context_in_every_slot(
    model: str, engine: str, memory: float, context: int
) -> None:
    try:
        config = optimized(model, engine=engine, memory=memory, max_context=context)
    except UsageError:
        assert context > 40960
        return
    except NotReadyError as error:
        if way := re.search(r"max_context (\d+)", str(error)):
            assert optimized(model, engine=engine, memory=memory, max_context=max(129, int(way[1])))
        return
    assert sum(config.memory.values()) == int(memory * GIB)
    assert config.memory["free"] >= int(0.1 * memory * GIB)
    assert config.launch.slots is not None
    assert config.pool_tokens >= config.launch.slots * context
    assert config.launch.yarn is None or config.launch.yarn.context >= context


@pytest.mark.parametrize(
    ("model", "context", "factor", "reason"),
    [
        ("micro", 32768, None, "trained on"),
        ("micro", 40960, None, "beyond the 32768 tokens that it was trained on"),
        ("medium", 40960, None, "within the 40960 positions"),
        ("medium", 40961, 1.3, "YaRN stretches 32768 by 1.3"),
        ("medium", 65536, 2.0, "by 2"),
        ("medium", 98304, 3.0, "by 3"),
        ("medium", 131072, 4.0, "by 4"),
    ],
)
def test_a_context_is_stretched_no_further_than_it_needs(
    model: str, context: int, factor: float | None, reason: str
) -> None:
    yarn, why = stretched(find_member(model), context)
    assert (yarn.factor if yarn else None) == factor
    assert reason in why


def test_the_family_is_tested_up_to_what_each_model_card_vouches_for() -> None:
    lengths = {name: context_lengths(entry) for name, entry in members().items()}
    assert list(lengths) == ["micro", "mini", "medium"]
    assert [one[0] for one in lengths.values()] == [1024] * 3
    assert [one[-1] for one in lengths.values()] == [32768, 32768, 131072]


def test_a_small_step_leaves_fewer_slots_where_nobody_set_any() -> None:
    config = optimized("micro", batch_tokens=128, memory=80, max_context=1024)
    assert (config.launch.slots, config.launch.batch_tokens) == (128, 128)
    assert "a step of 128 tokens has one of each" in config.reasons["slots"]


@pytest.mark.parametrize(
    ("model", "wishes", "told"),
    [
        ("large", {}, "'large' is no member of the family; choose from micro, mini, medium"),
        ("smollm2-135m", {}, "'smollm2-135m' is no member of the family"),
        ("mini", {"max_context": 40961}, "mini reads at most 40960 tokens, not 40961"),
        ("medium", {"max_context": 131073}, "131072 tokens (32768 without YaRN), not 131073"),
        ("micro", {"max_context": 128}, "128 tokens leaves no room for a prompt beside answers of 128"),
        ("micro", {"gpus": 3}, "8 heads are not shared by 3 GPUs; choose from 1, 2, 4, 8"),
        ("micro", {"gpus": 2, "device": "cpu"}, "several GPUs were asked for, and it runs on the CPU"),
        ("micro", {"engine": "llamacpp", "kv_type": "fp8"}, "llamacpp stores no keys and values as fp8"),
        ("micro", {"threads": 3}, "threads is llama.cpp's alone; vllm has no such setting"),
        ("micro", {"kv_type": "q8_0"}, "vllm stores no keys and values as q8_0"),
        ("micro", {"batch_tokens": 8, "slots": 11}, "8 tokens has no place for one of each of 11 slots"),
        ("micro", {"lora": {"mine": "nowhere"}}, "nowhere: it is neither a folder nor an id of the hub"),
        ("micro", {"lora": {"mine": "org/mine"}}, "or the rank as serving.max_lora_rank"),
        ("micro", {"lora": {"mine": str(ADAPTER)}, "engine": "llamacpp"}, "llama.cpp serves GGUF files"),
        ("micro", {"lora": {"mine": "org/mine"}, "max_lora_rank": 600}, "serves ranks up to 512, not 600"),
        (
            "micro",
            {"lora": {"my name": "org/mine"}, "max_lora_rank": 8},
            "'my name', org/mine: requests call it by its name",
        ),
        ("micro", {"lora": {"qwen3-0.6b": "org/mine"}, "max_lora_rank": 8}, "requests call the base by that name"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_clear_message(model: str, wishes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        optimized(model, **wishes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "[]", '"r"', '{"r": null}'])
def test_an_adapter_whose_settings_are_none_has_no_known_rank(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(UsageError, match="its rank is not known"):
        optimized("micro", lora={"mine": str(tmp_path)})


def test_what_does_not_fit_is_told_by_part_with_ways_that_do_fit() -> None:
    with pytest.raises(NotReadyError) as caught:
        optimized(memory=24, max_context=98304)
    told = str(caught.value)
    assert all(part in told for part in ("weights 7.49", "keys and values 13.50", "21.60 GB may be used"))
    ways = re.search(r"max_context (\d+) or kv_type fp8 would fit", told)
    assert ways
    optimized(memory=24, max_context=int(ways[1]))
    optimized(memory=24, max_context=98304, kv_type="fp8")
    with pytest.raises(NotReadyError):
        optimized(memory=24, max_context=int(ways[1]) + 16)


def test_places_for_adapters_are_of_the_rank_that_their_folder_says_and_vllm_has() -> None:
    launch = optimized("micro", lora={"jarvis": str(ADAPTER)}).launch
    assert (launch.max_lora_rank, launch.lora[0].name) == (8, "jarvis")
    assert optimized("micro", lora={"mine": "org/mine"}, max_lora_rank=9).launch.max_lora_rank == 16


def test_every_value_that_was_chosen_has_a_reason() -> None:
    for wishes in ({"gpus": 2}, {"engine": "llamacpp", "device": "cpu"}, {"device": "cpu"}, {"engine": "sglang"}):
        config = optimized("micro", **wishes)
        chosen = {
            "max_context",
            "slots",
            "batch_tokens",
            "micro_batch",
            "gpu_memory_share",
            "kv_cache_bytes",
            "threads",
        }
        values = config.launch.model_dump(exclude_none=True)
        assert (chosen | {"threads"}) & values.keys() <= config.reasons.keys()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"engine": "vllm", "unified_kv": True}, "unified_kv is llama.cpp's alone"),
        ({"engine": "llamacpp", "gpu_memory_share": 0.9}, "not a share of the GPU"),
        ({"engine": "llamacpp", "pool_tokens": 4096}, "only with unified_kv"),
        ({"engine": "llamacpp", "unified_kv": True, "pool_tokens": 512}, "hold no request of max_context 1024"),
        ({"engine": "llamacpp", "micro_batch": 512, "batch_tokens": 256}, "more than batch_tokens 256"),
        ({"engine": "vllm", "kv_type_k": "fp8"}, "stores keys and values alike"),
    ],
)
def test_launch_settings_that_contradict_each_other_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        LaunchSettings.model_validate({"model": "m", "max_context": 1024, **values})


@pytest.mark.parametrize("engine", ["vllm", "llamacpp", "sglang"])
def test_settings_that_a_command_line_has_no_option_for_are_known(engine: Engine) -> None:
    plain = LaunchSettings(engine=engine, model="m", max_context=2048, device="cpu")
    values = {"slots": 7, "batch_tokens": 64, "kv_type_k": "bf16", "threads": 3, "tensor_parallel": 2}
    own: dict[Engine, dict[str, object]] = {
        "vllm": {"gpu_memory_share": 0.5, "kv_cache_bytes": 9},
        "llamacpp": {"micro_batch": 64, "unified_kv": True},
        "sglang": {"gpu_memory_share": 0.5},
    }
    unsaid = {
        name
        for name, value in {**values, **own[engine]}.items()
        if argv(plain.model_copy(update={name: value})) == argv(plain)
    }
    tuned = plain.model_copy(update={"lora": (LoraModule(name="a", path="b"),)})
    if argv(tuned.model_copy(update={"max_lora_rank": 8})) == argv(tuned):
        unsaid.add("max_lora_rank")
    assert unsaid == UNSAID[engine]
