from __future__ import annotations

import pytest

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.tuning.model_context import loaded_by
from pytest_llmbench.context.tuning.space import SearchSpace, usual_baseline, usual_parameters
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.setting_sections import Engine

LAUNCH = LaunchSettings(engine="llamacpp", model="m.gguf", max_context=1024, device="cpu")


def test_the_baseline_is_among_the_choices_and_numbers_are_in_order() -> None:
    space = SearchSpace(LAUNCH, {"slots": (8, 2), "kv_type": ("f16", "q8_0")}, {"slots": 4, "threads": 1})
    slots, kinds = space.parameters
    assert (slots.choices, slots.ordered, kinds.ordered) == ((2, 4, 8), True, False)
    assert space.baseline.values == {"slots": 4, "kv_type": "f16"}
    assert space.candidate({"slots": 8, "kv_type": "q8_0"}).launch == LAUNCH.model_copy(
        update={"slots": 8, "kv_type_k": "q8_0", "kv_type_v": "q8_0", "threads": 1}
    )


def test_choices_that_start_the_same_server_are_one() -> None:
    space = SearchSpace(LAUNCH, {"batch_tokens": (64, 512), "micro_batch": (64, 512)}, {})
    assert len({one.key for one in space.all()}) == 3  # a micro-batch above its batch is the batch


@pytest.mark.parametrize("engine", ["llamacpp", "vllm", "sglang"])
def test_what_is_usual_can_be_launched(engine: str) -> None:
    launch = LAUNCH.model_copy(update={"engine": engine})
    space = SearchSpace(launch, usual_parameters(launch.engine, 8), usual_baseline(launch.engine, 8))
    assert space.baseline.values == usual_baseline(launch.engine, 8)
    assert all(one.launch for one in space.all())


@pytest.mark.parametrize(
    ("vary", "fixed", "told"),
    [
        ({"slotz": (1, 2)}, {}, r"tune\.vary: there is no setting 'slotz'; did you mean 'slots'\?"),
        ({"port": (1, 2)}, {}, r"tune\.vary: port cannot be set here"),
        ({"slots": ()}, {}, r"tune\.vary: slots has no values"),
        ({"slots": (0, 2)}, {}, r"tune\.vary: slots: 0 is not valid; give a whole number from 1 or null$"),
        ({"slots": (None, 2)}, {}, r"tune\.vary: slots: llama\.cpp's context is divided by them; give a number$"),
        ({"kv_type": ("f16", "q5")}, {}, r'"q5" is not valid; give one of f16, bf16, fp8, q8_0, q4_0 or null$'),
        (
            {"slots": (1, 2)},
            {"yarn": {"factor": 0.5}},
            r"yarn\.factor: 0\.5 is not valid; give a number above 1$",
        ),
        ({"slots": (1, 2)}, {"lora": [{"name": "x"}]}, r"fixed: lora\.0\.path: is missing; give a text$"),
        ({"slots": (1, 2)}, {"lora": [{"nam": "x"}]}, r"tune\.fixed: lora\.0\.name: is missing"),
        ({"kv_type": ("f16", "fp8")}, {}, r"tune\.vary: llamacpp stores no keys and values as fp8"),
        ({"slots": (1, 2)}, {"slots": 4}, r"tune\.fixed: slots is varied too"),
        ({"slots": (1, 2)}, {"gpu_memory_share": 0.9}, r"tune\.fixed: gpu_memory_share: llama\.cpp takes"),
    ],
)
def test_a_setting_or_a_value_that_cannot_be_is_refused(
    vary: dict[str, tuple[int, ...]], fixed: dict[str, int], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        SearchSpace(LAUNCH, vary, {}, fixed)


@pytest.mark.parametrize(
    ("base", "engine", "taken"),
    [
        ("qwen3-4b", "vllm", "Qwen/Qwen3-4B"),
        ("qwen3-4b", "llamacpp", "Qwen/Qwen3-4B-GGUF:Q8_0"),
        ("org/unknown", "vllm", "org/unknown"),
    ],
)
def test_a_program_is_given_what_it_can_load_and_no_alias_of_the_registry(
    base: str, engine: Engine, taken: str
) -> None:
    assert loaded_by(base, engine) == taken
