"""Who may talk to the studio, and what its answers may do in a browser.

A page of any site can send requests to 127.0.0.1, and a name of any site can be made to mean 127.0.0.1. So the Host
header must name this studio (no DNS rebinding), what changes something must not come from another origin (no request
forgery), and where a token is set, every request must bring it. docs/decisions/0033 has the threats.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from anyio import BrokenResourceError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.problems import problem

TOKEN_VARIABLE = "LLMBENCH_STUDIO_TOKEN"  # noqa: S105  # its name
TOKEN_COOKIE = "llmbench_studio"  # noqa: S105
_TOKEN_FIELD = "token"  # noqa: S105
_FEWEST_CHARACTERS = 16

LARGEST_BODY: Final = 1 << 20
"""Bytes of a request that is no upload."""
UPLOADS = "/api/datasets"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'self'"
)
"""A report is one file with its scripts inside: it runs them in an origin of its own, without a way to the API."""

_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer a form of our own pages would come from the origin `null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on the host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, token: str | None) -> None:
    """See that a studio which other machines reach has a token, and that a token is no guess.

    Raises:
        UsageError: it has none, or a short one.
    """
    if token is not None and len(token) < _FEWEST_CHARACTERS:
        raise UsageError(
            f"{TOKEN_VARIABLE}: the token has {len(token)} characters; give {_FEWEST_CHARACTERS} or more, "
            "such as those of `openssl rand -hex 16`"
        )
    if token is None and not is_loopback(host):
        raise UsageError(
            f"studio.host: {host} is reached by other machines, and whoever reaches the studio can train and read "
            f"your data; set {TOKEN_VARIABLE} to a secret of {_FEWEST_CHARACTERS} characters or more, or leave the "
            "host out",
            names=("studio.host",),
        )


class Safety:
    """Refuses what must not be answered, bounds bodies, and puts the policies on every answer."""

    def __init__(self, app: ASGIApp, options: StudioOptions) -> None:
        self._app = app
        self._token = options.token.encode() if options.token else None
        self._names = _LOOPBACK_NAMES if is_loopback(options.host) else None
        self._largest_upload = options.settings.studio.upload_mb * 2**20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        sending = _with_headers(send)
        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        try:
            await self._app(scope, _Bounded(receive, self._limit(scope)), sending)
        except* BrokenResourceError:
            pass  # a reader left while an event waited for it: FastAPI 0.165 lets the failed hand-over out

    def _limit(self, scope: Scope) -> int:
        return self._largest_upload if scope["path"] == UPLOADS else LARGEST_BODY

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return (
            self._wrong_host(headers)
            or _from_elsewhere(scope["method"], headers)
            or self._without_token(scope, headers)
            or self._too_large(scope, headers)
        )

    def _wrong_host(self, headers: Headers) -> Response | None:
        """Where only this machine reaches it, a Host that is no name of this machine is a name that was rebound."""
        host = headers.get("host", "")
        if self._names is None or (_name_of(host) in self._names):
            return None
        return problem(421, f"the studio is not called {host!r:.60}; open it as 127.0.0.1 or localhost", "host")

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None or self._is_token(_bearer(headers)) or self._is_token(_cookie(headers)):
            return None
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        given = query.pop(_TOKEN_FIELD, None)
        if scope["method"] == "GET" and self._is_token(given) and given is not None:
            return _remembered(scope, query, given)
        told = f"give the studio's token: `Authorization: Bearer ...`, or open the page with ?{_TOKEN_FIELD}=..."
        refused = problem(401, told, "token")
        refused.headers["www-authenticate"] = 'Bearer realm="llmbench studio"'
        return refused

    def _is_token(self, given: str | None) -> bool:
        return given is not None and self._token is not None and hmac.compare_digest(given.encode(), self._token)

    def _too_large(self, scope: Scope, headers: Headers) -> Response | None:
        length, most = headers.get("content-length", "0"), self._limit(scope)
        if not length.isdecimal():
            return problem(400, f"Content-Length: {length!r:.40} is no number", "http")
        return _refused_size(most) if int(length) > most else None


def _refused_size(most: int) -> JSONResponse:
    return problem(413, _too_large(most), "too_large", names=("studio.upload_mb",))


def _too_large(most: int) -> str:
    return f"the body is larger than {most // 2**20} MiB (studio.upload_mb, for datasets)"


class _Bounded:
    """A request's body, which ends in an error where it is larger than it may be, whatever its header said."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._came = receive, most, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            if self._came > self._most:
                raise HTTPException(413, _too_large(self._most))
        return message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending


def _from_elsewhere(method: str, headers: Headers) -> Response | None:
    """A browser says where a request comes from; programs say nothing, and cannot be made to by a page."""
    if method in _SAFE_METHODS:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    own = origin is None or (origin != "null" and urlsplit(origin).netloc == headers.get("host"))
    if own and site in ("none", "same-origin"):
        return None
    return problem(
        403, f"the request comes from {origin or site!r:.80}; only the studio's own pages may do this", "origin"
    )


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _bearer(headers: Headers) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(TOKEN_COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _remembered(scope: Scope, query: Mapping[str, str], token: str) -> Response:
    """The same page without the token in its address, which histories and logs keep; a cookie has it then."""
    rest = f"?{urlencode(query)}" if query else ""
    path = "/" + scope["path"].lstrip("/")  # `//elsewhere` would be another site
    answer = RedirectResponse(path + rest, 303)
    answer.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
    return answer
