"""What a server's refusal means: whether to ask again, whether anything more can be asked, and what to change."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
import random
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import aiohttp

_FAULT = 500
_PASSING = (408, 409, 425, 429, 499)
_NEVER_PASSING = (501, 505)
_OF_THE_SERVER = (401, 402, 403, 404, 405, 407, 410, *_NEVER_PASSING)
_LOADING = (502, 503, 504)
_REDIRECTS = range(300, 400)

_REFUSED_KEY = re.compile(
    r"unsupported|not supported|does not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|"
    r"not accepted|not available|extra|forbidden|deprecated|removed|disabled|instead|use max_completion_tokens"
)
_TOO_MUCH = re.compile(r"too (?:large|long|high|big)|exceed|context length|at most|less than|greater than")
_KEY_REFUSED = re.compile(
    r"no connected db|"  # what LiteLLM without a database says to every key that is not its own
    r"(?:invalid|incorrect|missing|expired|wrong|no|provide|valid) (?:\w+ ){0,3}api[ _-]?key|"
    r"api[ _-]?key (?:\w+ ){0,3}(?:invalid|not valid|incorrect|missing|expired|required|not found)|"
    r"authentication (?:failed|error|required)|unauthori[sz]ed"
)
_MODEL_REFUSED = re.compile(
    r"(?:invalid|unknown|no such|unrecogni[sz]ed) model\b|"
    r"\bmodel\b[^.]*\b(?:not found|not exist|not served|not loaded)\b"
)
_SAYS_NOTHING = ("internal server error", "no reason given")
_SYSTEM_ROLE = re.compile(r"system (?:role|message|prompt|instruction)|role[^.]*system|system[^.]*role|must alternate")
_SET_KEY = "set the server's key in LLMBENCH_API_KEY"
_CHECK_KEY = "and if it wants a key, set LLMBENCH_API_KEY"
_MODEL, _URL = "server.model", "server.url"
_CHECK_MODEL = f"check the model's name ({_MODEL})"
_BOTH = ", and server.adapter_body to the same"
_OWN_SETTINGS: Mapping[str, str] = {
    "chat_template_kwargs": (
        f"empty model.template_arguments, or set server.base_body: {{chat_template_kwargs: null}}{_BOTH}"
    ),
    "stream": "set server.stream: false",
}


About = Literal["passing", "question", "server"]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause is not waited for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """What was asked: the method, the page, and the keys of the body with their values."""

    method: str
    url: str
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A status other than success. `wait_s` is how long the server asks not to be asked again.

    What it is about: "passing" may be over when it is asked again; "question" is this question alone; with "server" no
    other question would fare better. `status` is that of HTTP, None where no answer came. `names` are the settings that
    the advice tells to look at.
    """

    reason: str
    about: About
    advice: str = ""
    wait_s: float = 0.0
    status: int | None = None
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}; {self.advice}" if self.advice else self.reason


def refusal(status: int, reason: str, sent: Sent, headers: Mapping[str, str]) -> Refusal:
    """What a status means. `headers` are those of the answer."""
    about, advice = _meaning(status, reason, sent, headers)
    wait_s = retry_after_s(headers.get("Retry-After")) if about == "passing" else 0.0
    return Refusal(f"HTTP {status}: {reason}", about, advice.text, wait_s, status, advice.names)


class _Advice(NamedTuple):
    """What to do, and the settings that it names."""

    text: str
    names: tuple[str, ...] = ()


def _meaning(status: int, reason: str, sent: Sent, headers: Mapping[str, str]) -> tuple[About, _Advice]:
    if status in _REDIRECTS:
        return "server", _about_redirect(sent, headers.get("Location"))
    if status in _OF_THE_SERVER:
        return "server", _about_server(status, sent)
    if status in _PASSING or status >= _FAULT:
        return "passing", _about_fault(status, reason)
    if advice := about_question(reason, sent.body):
        return "question", _Advice(advice)
    everywhere = _about_all_questions(reason)
    return ("server" if everywhere.text else "question"), everywhere


def about_question(reason: str, body: Mapping[str, Any]) -> str:
    """Which setting to change so that the server takes the question; empty where its reason does not tell."""
    text = reason.casefold()
    roles = {message["role"] for message in body.get("messages", ())}
    if "system" in roles and _SYSTEM_ROLE.search(text):
        return "set model.system_role: user, which puts the system prompt into the first user turn"
    named = [key for key in body if key not in ("messages", "model") and re.search(rf"\b{re.escape(key)}\b", text)]
    if not named or not _REFUSED_KEY.search(text) or _TOO_MUCH.search(text):
        return ""
    key = min(named, key=text.index)
    if key == "max_tokens":
        return f"set server.base_body: {{max_tokens: null, max_completion_tokens: {body[key]}}}{_BOTH}"
    return _OWN_SETTINGS.get(key, f"set server.base_body: {{{key}: null}}{_BOTH}")


class NoConnection(NamedTuple):
    """Why no connection came about, and what to do."""

    reason: str
    advice: str
    names: tuple[str, ...] = ()


def unreachable(error: aiohttp.ClientError) -> NoConnection | None:
    """What an error says of a connection that was never made; None where one was."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        todo = "name the file of the authority that signed it in the environment variable SSL_CERT_FILE"
        return NoConnection(f"no connection: its certificate is not trusted ({error.certificate_error})", todo)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return NoConnection(f"no connection: {error}", f"write http:// in {_URL} if it does not speak TLS", (_URL,))
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return NoConnection(f"no connection: {error}", f"start the server, or correct {_URL}", (_URL,))
    return None


def _about_redirect(sent: Sent, location: str | None) -> _Advice:
    if not location:
        return _Advice(f"it redirects without saying where; check {_URL}", (_URL,))
    target = _without_secrets(urllib.parse.urljoin(sent.url, location), urllib.parse.urlsplit(sent.url).query)
    root = re.sub(r"/(?:chat/completions|models)/?(?=\?|$)", "", target)
    return _Advice(
        f"it redirects to {target}, where nothing was sent; if that is the server, set {_URL}: {root}", (_URL,)
    )


def _without_secrets(url: str, known_query: str) -> str:
    """The URL without a login, or a query that was not asked: pages to log in get tokens there."""
    parts = urllib.parse.urlsplit(url)
    query = parts.query if parts.query == known_query else ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment="").geturl()


def _about_fault(status: int, reason: str) -> _Advice:
    if status in _LOADING:
        return _Advice("it may still be loading its model; try again when it is ready")
    if reason.casefold().strip() in _SAYS_NOTHING:  # a model or a key that is not known ends so in some servers
        return _Advice(f"its log tells why; {_CHECK_MODEL}, {_CHECK_KEY}", (_MODEL,))
    return _Advice("")


def _about_all_questions(reason: str) -> _Advice:
    """What to change where a status that is of this question tells of what every question carries; else empty."""
    text = reason.casefold()
    if _KEY_REFUSED.search(text):
        return _Advice(_SET_KEY)
    return _Advice(_CHECK_MODEL, (_MODEL,)) if _MODEL_REFUSED.search(text) else _Advice("")


def _about_server(status: int, sent: Sent) -> _Advice:
    if status in (401, 403):
        return _Advice(_SET_KEY)
    if status in (404, 410):
        given = "" if re.search(r"/v\d", sent.url) else "; a path is used as it is given, and many APIs' ends in /v1"
        return _Advice(f"check {_URL} and {_MODEL}: asked was {sent}{given}", (_URL, _MODEL))
    if status in (405, 501):
        return _Advice(f"check {_URL}: {sent.url} takes no questions", (_URL,))
    return _Advice("the server's operator can tell why")


def backoff_s(attempt: int) -> float:
    """Seconds before asking again: doubling, with up to half of it taken off at random so that clients spread."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing


def retry_after_s(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for, as a count or a date (RFC 9110, 10.2.3); 0 when unreadable."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    zoned = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
    return max(0.0, (zoned - datetime.datetime.now(datetime.UTC)).total_seconds())


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A page as it was answered; `status` is 0 where no answer came. `refused` says why there is none.

    `software` is what the server says of itself in its `Server` header.
    """

    sent: Sent
    status: int
    text: str
    software: str | None = None
    refused: Refusal | None = None

    @property
    def data(self) -> Any:
        """The JSON of a page that was given, None when it is none."""
        if self.refused:
            return None
        try:
            return json.loads(self.text)
        except ValueError:
            return None
