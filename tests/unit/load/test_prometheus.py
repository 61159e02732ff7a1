from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.load.prometheus import Reading, read_page

LLAMA = """\
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 5
llamacpp:prompt_tokens_total 31
llamacpp:requests_processing 2
llamacpp:requests_deferred 3
"""
VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="a b {x}"} 3.0
vllm:num_requests_running{engine="1",model_name="a b {x}"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e+03
vllm:num_preemptions_total{engine="0",model_name="m"} 2.0 1700000000000
"""


def test_a_page_of_llama_cpp_is_read() -> None:
    assert read_page(LLAMA) == Reading(running=2, waiting=3, prompt_tokens=31, generated_tokens=5)


def test_engines_are_taken_together_and_longer_names_are_other_names() -> None:
    assert read_page(VLLM) == Reading(running=7, waiting=0, kv_cache=0.75, generated_tokens=1500, preemptions=2)


def test_what_a_server_tells_by_priority_is_in_its_total_already() -> None:
    page = "".join(
        f'sglang:num_running_reqs{{model_name="m",priority="{priority}",tp_rank="0"}} {count}.0\n'
        for priority, count in (("", 5), ("0", 2), ("10", 3))
    )
    assert read_page(page) == Reading(running=5)


def test_a_page_of_another_program_tells_nothing() -> None:
    assert read_page("process_cpu_seconds_total 3\n<html>") is None
    assert read_page("") is None


@given(st.floats(allow_nan=False), st.text(alphabet=st.characters(exclude_characters="\n", codec="utf-8")))
def test_a_value_is_read_whatever_the_labels_are(value: float, label: str) -> None:
    page = f"other 1\nllamacpp:requests_processing{{name={label!r}}} {value!r}\n"
    assert read_page(page) == Reading(running=value)


@given(st.text(min_size=1))
def test_a_value_that_is_no_number_is_not_taken_for_one(text: str) -> None:
    reading = read_page(f"llamacpp:requests_processing x{text}\n")
    assert reading is not None
    assert math.isnan(reading.running or 0)
