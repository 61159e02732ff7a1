"""The URLs that people write for the servers they have, and what is asked there."""

from __future__ import annotations

import pytest

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.generation.client.server_address import (
    api_url,
    chat_url,
    engine_url,
    page_url,
    request_headers,
    versioned,
)

AZURE = "https://me.openai.azure.com/openai/deployments/gpt"
DATED = "api-version=2024-10-21"
PAGES = ("chat/completions", "models")


@pytest.mark.parametrize(
    "url",
    [
        "http://h:1",
        "http://h:1/",
        " http://h:1/v1 ",
        "http://h:1/v1/",
        "http://h:1//v1",
        "http://h:1/v1#top",
        "http://h:1/v1/chat/completions",
        "http://h:1/v1/models",
        "http://h:1/v1/completions",
    ],
)
def test_every_usual_way_to_write_the_url_is_understood(url: str) -> None:
    assert api_url(url) == "http://h:1/v1"


@pytest.mark.parametrize(
    ("url", "chat", "models", "metrics"),
    [
        ("http://h:80", "http://h:80/v1/chat/completions", "http://h:80/v1/models", "http://h:80/metrics"),
        ("http://h/api/v1", "http://h/api/v1/chat/completions", "http://h/api/v1/models", "http://h/api/metrics"),
        ("http://h/v1beta/o/", "http://h/v1beta/o/chat/completions", "http://h/v1beta/o/models", "http://h/metrics"),
        ("http://h/chat/completions", "http://h/chat/completions", "http://h/models", "http://h/metrics"),
        ("http://h/V1/", "http://h/V1/chat/completions", "http://h/V1/models", "http://h/metrics"),
        ("http://h/llama", "http://h/llama/chat/completions", "http://h/llama/models", "http://h/llama/metrics"),
        (f"{AZURE}/chat/completions?{DATED}", *(f"{AZURE}/{page}?{DATED}" for page in PAGES), f"{AZURE}/metrics"),
        (f"http://h/v1?{DATED}", *(f"http://h/v1/{page}?{DATED}" for page in PAGES), "http://h/metrics"),
    ],
)
def test_a_path_that_is_given_is_used_as_it_is(url: str, chat: str, models: str, metrics: str) -> None:
    root = api_url(url)
    assert (chat_url(root), page_url(root, "/models"), engine_url(root, "/metrics")) == (chat, models, metrics)
    assert api_url(root) == root


@pytest.mark.parametrize(
    ("url", "longer"),
    [
        ("http://h/llm", "http://h/llm/v1"),
        ("http://h", None),
        ("http://h/v1beta/openai", None),
        ("http://h/llm/chat/completions", None),
    ],
)
def test_only_a_root_without_a_version_may_lack_one(url: str, longer: str | None) -> None:
    assert versioned(api_url(url)) == longer


@pytest.mark.parametrize("url", [None, "", "localhost:8000", "ftp://h", "http://h:port", "http://h /v1"])
def test_a_url_that_is_none_is_refused(url: str | None) -> None:
    with pytest.raises(UsageError, match=r"^server\.url: .* is no URL; write one like") as raised:
        api_url(url)
    assert raised.value.names == ("server.url",)


@pytest.mark.parametrize(
    "url", ["http://user:word@h", "http://h/v1?key=AIza", "http://h/v1?api-key=AIza", "http://h/v1?code=xy"]
)
def test_a_secret_has_no_place_in_a_url(url: str) -> None:
    with pytest.raises(UsageError, match="LLMBENCH_API_KEY") as raised:
        api_url(url)
    assert "AIza" not in str(raised.value)


def test_a_key_that_cannot_be_sent_is_refused_without_being_shown() -> None:
    with pytest.raises(UsageError, match="LLMBENCH_API_KEY holds a line break") as raised:
        request_headers({}, "sk-one\nsk-two")
    assert "sk-" not in str(raised.value)
    with pytest.raises(UsageError, match=r"server\.headers\.X-Team holds"):
        request_headers({"X-Team": "a\r\nb"}, "")
    assert request_headers({"Authorization": "Basic x"}, "sk-one\n") == {"Authorization": "Basic x"}
