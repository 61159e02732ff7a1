from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.generation.embedded.lora_gguf import BaseShape, converted, lora_gguf, read_shape
from pytest_llmbench.models.adapters import read_adapter

LLAMA = BaseShape("llama", layers=2, heads=2, kv_heads=1)
QWEN = BaseShape("qwen3", layers=2, heads=2, kv_heads=1)
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
QUERY = "base_model.model.model.layers.1.self_attn.q_proj"
DOWN = "base_model.model.model.layers.0.mlp.down_proj"


def pair(module: str, outputs: int, rank: int = 2) -> dict[str, np.ndarray[Any, Any]]:
    second = np.arange(outputs * rank, dtype=np.float32).reshape(outputs, rank)
    return {f"{module}.lora_A.weight": np.ones((rank, 8), np.float32), f"{module}.lora_B.weight": second}


def test_tensors_go_by_the_names_of_the_base() -> None:
    tensors = converted({**pair(QUERY, 8), **pair(DOWN, 8)}, CONFIG, LLAMA, "here")
    names = {f"{name}.weight.lora_{matrix}" for name in ("blk.1.attn_q", "blk.0.ffn_down") for matrix in "ab"}
    assert tensors.keys() == names


def test_rows_of_a_llamas_queries_are_interleaved_and_nothing_else_is_moved() -> None:
    """GGUF has rotary pairs side by side, transformers has the first halves of a head before the second halves."""
    llama = converted({**pair(QUERY, 8), **pair(DOWN, 8)}, CONFIG, LLAMA, "here")
    plain = converted({**pair(QUERY, 8), **pair(DOWN, 8)}, CONFIG, QWEN, "here")
    assert [row[0] / 2 for row in llama["blk.1.attn_q.weight.lora_b"]] == [0, 2, 1, 3, 4, 6, 5, 7]
    assert [row[0] / 2 for row in llama["blk.0.ffn_down.weight.lora_b"]] == list(range(8))
    assert [row[0] / 2 for row in plain["blk.1.attn_q.weight.lora_b"]] == list(range(8))


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({}, 1.0),
        ({"use_rslora": True}, 2**0.5),  # alpha / sqrt(rank) for alpha / rank
        ({"alpha_pattern": {"down_proj": 12}}, 3.0),
        ({"alpha_pattern": {"up_proj": 12}}, 1.0),
    ],
)
def test_another_scale_than_alpha_over_rank_is_multiplied_in(more: dict[str, Any], factor: float) -> None:
    weights = pair(DOWN, 8)
    tensors = converted(weights, {**CONFIG, **more}, QWEN, "here")
    scaled = tensors["blk.0.ffn_down.weight.lora_b"]
    np.testing.assert_allclose(scaled, weights[f"{DOWN}.lora_B.weight"] * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"use_dora": True}, "cannot apply DoRA"),
        ({"bias": "all"}, "cannot apply trained biases"),
        ({"modules_to_save": ["lm_head"]}, "whole modules beside the LoRA"),
    ],
)
def test_what_llama_cpp_cannot_apply_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(AdapterError, match=f"here: .*{said}"):
        converted(pair(DOWN, 8), {**CONFIG, **more}, LLAMA, "here")


def test_a_tensor_without_a_place_in_the_base_is_refused() -> None:
    with pytest.raises(AdapterError, match="no LoRA matrix that llama"):
        converted({"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)}, CONFIG, LLAMA, "here")
    with pytest.raises(AdapterError, match=r"the base \(llama\) has no module model.layers.7.mlp.down_proj"):
        converted(pair(DOWN.replace("0", "7"), 8), CONFIG, LLAMA, "here")


def test_an_architecture_that_was_not_looked_into_is_refused_with_the_way_out() -> None:
    with pytest.raises(AdapterError, match=r"architecture phi3 are not converted; convert it with llama\.cpp's"):
        converted(pair(DOWN, 8), CONFIG, BaseShape("phi3", 2, 2, 2), "here")


@pytest.mark.parametrize("heads", [None, [0, 0, 8]])
def test_an_architecture_with_heads_by_layer_or_none_is_refused_alike(tmp_path: Path, heads: list[int] | None) -> None:
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "lfm2")
    writer.add_block_count(3)
    if heads:
        writer.add_head_count(32)
        writer.add_head_count_kv(heads)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(AdapterError, match="architecture lfm2 are not converted"):
        converted(pair(DOWN, 8), CONFIG, read_shape(tmp_path / "base.gguf"), "here")


def test_an_adapter_is_written_once_in_the_form_that_llama_cpp_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))
    base, folder = tmp_path / "base.gguf", tmp_path / "adapter"
    writer = gguf.GGUFWriter(base, "llama")
    writer.add_block_count(2)
    writer.add_head_count(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    folder.mkdir()
    save_file(pair(DOWN, 8), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")

    file = lora_gguf(read_adapter(folder), base)
    read = gguf.GGUFReader(file)
    said = {key: read.fields[key].contents() for key in ("general.type", "adapter.type", "adapter.lora.alpha")}
    assert said == {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 4.0}
    assert {tensor.name: tuple(tensor.shape) for tensor in read.tensors} == {
        "blk.0.ffn_down.weight.lora_a": (8, 2),
        "blk.0.ffn_down.weight.lora_b": (2, 8),
    }
    written = file.stat().st_mtime_ns
    assert lora_gguf(read_adapter(folder), base) == file
    assert file.stat().st_mtime_ns == written
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, "lora_alpha": 8}), encoding="utf-8")
    assert lora_gguf(read_adapter(folder), base) != file
