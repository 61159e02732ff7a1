"""Where the server is, and what every request to it carries: the parts of the settings that can be wrong unseen."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from pytest_llmbench.errors import UsageError

_VERSION = re.compile(r"/v\d\w*$")


def api_url(url: str | None) -> str:
    """The root of the API, ending in its version: `http://host:8000` becomes `http://host:8000/v1`.

    Raises:
        UsageError: it is no http(s) URL, or holds a password, which would end up in reports.
    """
    try:
        parts = urllib.parse.urlsplit((url or "").strip())
        proper = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:  # brackets or a port that are none
        proper = False
    if not proper:
        raise UsageError(f"--llmbench-server {url!r} is no URL; write one like http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise UsageError("--llmbench-server holds a user or password; put the key in LLMBENCH_API_KEY instead")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if not _VERSION.search(path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


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
