"""Where the server is, and what every request to it carries: the parts of the settings that can be wrong unseen.

A server is known by its *root*: the URL under which `/chat/completions` and `/models` lie. Where people gave the page
of questions itself, under no version, that page is kept as it was written.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from pytest_llmbench.core.errors import UsageError

_CHAT = "/chat/completions"
_VERSION = re.compile(r"/v\d\w*(?=/|$)", re.IGNORECASE)
_PAGES = re.compile(r"(?<=/)(?P<version>v\d\w*)/(?:completions|models|responses|embeddings|chat)$", re.IGNORECASE)
_SECRET = re.compile(r"key|token|secret|passw|pwd|auth|credential|signature|^(?:sig|code)$", re.IGNORECASE)


def api_url(url: str | None) -> str:
    """The root of the API: `http://host:8000` becomes `http://host:8000/v1`, and a path that is given stays.

    Raises:
        UsageError: it is no http(s) URL, or holds a password or key, which would end up in reports.
    """
    parts = _parsed(url)
    if parts.username or parts.password or any(_SECRET.search(name) for name, _ in _query(parts)):
        raise UsageError(
            "server.url holds a user, password or key, which reports would show; put the key in LLMBENCH_API_KEY, "
            "or in server.headers",
            names=("server.url",),
        )
    path = re.sub("/+", "/", parts.path).rstrip("/")
    if path.endswith(_CHAT):
        known = _VERSION.search(path) is not None and not parts.query
        path = path.removesuffix(_CHAT) if known else path
    else:
        path = _PAGES.sub(r"\g<version>", path) or "/v1"
    return parts._replace(path=path, fragment="").geturl()


def chat_url(root: str) -> str:
    """The page that takes questions."""
    path = urllib.parse.urlsplit(root).path
    return _with_path(root, path if path.endswith(_CHAT) else path + _CHAT)


def page_url(root: str, page: str) -> str:
    """A page beside the questions, such as `/models`."""
    return _with_path(root, urllib.parse.urlsplit(root).path.removesuffix(_CHAT) + page)


def engine_url(root: str, page: str) -> str:
    """A page of the engine itself, such as `/metrics`: they lie where the API's version begins."""
    parts = urllib.parse.urlsplit(root)
    path = parts.path.removesuffix(_CHAT)
    version = _VERSION.search(path)
    return parts._replace(path=(path[: version.start()] if version else path) + page, query="").geturl()


def versioned(root: str) -> str | None:
    """The root with a version after its path, where the path has none: some people leave it out. None elsewhere."""
    path = urllib.parse.urlsplit(root).path
    return None if path.endswith(_CHAT) or _VERSION.search(path) else _with_path(root, path + "/v1")


def request_headers(headers: Mapping[str, str], key: str) -> dict[str, str]:
    """The headers of every request; an `Authorization` of the settings wins over the key.

    Raises:
        UsageError: a value that no header can carry. The value is not shown, it may be secret.
    """
    bearer = {"Authorization": f"Bearer {key.strip()}"} if key.strip() else {}
    for name, value in {**bearer, **headers}.items():
        if not value.isprintable():
            where = "LLMBENCH_API_KEY" if name == "Authorization" and name not in headers else f"server.headers.{name}"
            raise UsageError(f"{where} holds a line break or another character that cannot be sent; write it again")
    return {**bearer, **headers}


def _parsed(url: str | None) -> urllib.parse.SplitResult:
    written = (url or "").strip()
    try:
        parts = urllib.parse.urlsplit(written)
        proper = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:  # brackets or a port that are none
        proper = False
    if not proper or re.search(r"\s", written):
        raise UsageError(f"server.url: {url!r} is no URL; write one like http://127.0.0.1:8000", names=("server.url",))
    return parts


def _query(parts: urllib.parse.SplitResult) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(parts.query, keep_blank_values=True)


def _with_path(root: str, path: str) -> str:
    return urllib.parse.urlsplit(root)._replace(path=path).geturl()
