"""Why a prompt was not answered, in each server's own words."""

from __future__ import annotations

import pytest

from pytest_llmbench.context.refusals import code_of, told_limits, why_refused
from pytest_llmbench.generation.client.answer_judge import Ending
from pytest_llmbench.generation.client.refusals import Refusal

TOO_LONG = {
    "llama.cpp": ("request (517 tokens) exceeds the available context size (512 tokens), try increasing it", [512]),
    "llama.cpp, one pool": ("Context size has been exceeded.", []),
    "vLLM": (
        (
            "This model's maximum context length is 4096 tokens. However, you requested 0 output tokens and your "
            "prompt contains at least 4097 input tokens, for a total of at least 4097 tokens."
        ),
        [4096],
    ),
    "vLLM, before": (
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5012 tokens (5000 in the "
            "messages, 12 in the completion). Please reduce the length of the messages or completion."
        ),
        [4096],
    ),
    "vLLM, max_tokens": ("max_tokens=9000 cannot be greater than max_model_len=4096: it exceeds max_model_len", []),
    "SGLang": ("The input (40000 tokens) is longer than the model's context length (32768 tokens).", [32768]),
    "SGLang, queue": ("Input length (9000 tokens) exceeds the maximum allowed length (8191 tokens).", [8191]),
    "TGI": ("Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", [1024]),
    "TGI, both": (
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000 `inputs` tokens "
            "and 100 `max_new_tokens`"
        ),
        [2048],
    ),
    "Ollama": ("the input length exceeds the context length", []),
    "LM Studio": ("Trying to keep the first 5000 tokens when context the overflows. Load a larger context", []),
    "TensorRT-LLM": ("The prompt length (9000) should not exceed max_input_len (8192)", []),
    "OpenAI": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        [8192],
    ),
    "Anthropic": ("prompt is too long: 210000 tokens > 200000 maximum", [200000]),
    "Gemini": ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", [1048576]),
    "LiteLLM": ("litellm.ContextWindowExceededError: context window exceeded", []),
}
NO_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "torch.OutOfMemoryError: CUDA out of memory",
    "failed to allocate buffer of size 1073741824",
    "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed",
    "Input prompt is too long to fit: KV cache is full",
    "failed to find free space in the KV cache",
)
NEITHER = ("model not found", "invalid api key", "Internal Server Error", "temperature must be at most 2")


@pytest.mark.parametrize("server", TOO_LONG)
def test_a_context_that_is_exceeded_is_known_in_each_servers_words(server: str) -> None:
    text, limits = TOO_LONG[server]
    assert code_of(text) == "context_exceeded"
    assert told_limits(text) == limits


@pytest.mark.parametrize("text", NO_MEMORY)
def test_memory_that_ran_out_is_known(text: str) -> None:
    assert code_of(text) == "out_of_memory"


@pytest.mark.parametrize("text", NEITHER)
def test_other_refusals_are_not_taken_for_a_long_context(text: str) -> None:
    assert code_of(text) == "http"


def test_an_error_inside_a_stream_is_typed_like_one_with_a_status() -> None:
    within = why_refused(Ending("error", 0.0, "the server reports: Context size has been exceeded.", failure="broken"))
    refused = Refusal("HTTP 400: the input length exceeds the context length", "question", status=400)
    status = why_refused(Ending("error", 0.0, refused.reason, refused, "refused"))
    assert within is not None
    assert status is not None
    assert (within.code, within.status) == ("context_exceeded", None)
    assert (status.code, status.status) == ("context_exceeded", 400)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Ending("timeout", 0.0), "timeout"),
        (Ending("error", 0.0, "the server closed the connection in mid-answer", failure="closed"), "server_gone"),
        (Ending("error", 0.0, "no connection", failure="unreachable"), "server_gone"),
        (Ending("error", 0.0, "the server sent broken JSON", failure="broken"), "http"),
    ],
)
def test_losses_are_results_with_a_code(ending: Ending, code: str) -> None:
    refusal = why_refused(ending)
    assert refusal is not None
    assert refusal.code == code


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_is_no_refusal(finish: str) -> None:
    assert why_refused(Ending(finish, 0.0)) is None  # type: ignore[arg-type]  # parametrized as texts
