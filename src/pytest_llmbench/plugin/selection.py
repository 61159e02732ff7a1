"""Which tests that load a model or a server a session was asked for; all others are left out of it.

Asked for is what `-m` or `-k` names, and what stands in a file that the command line names. A folder, `--lf` and
`-m "not slow"` name none of them: people give those to run their quick tests.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.core.errors import NotReadyError

FIXTURES: Mapping[str, str] = {
    "llmbench_case": "benchmark",
    "llmbench_answers": "benchmark",
    "answers": "benchmark",
    "llmbench_backend": "benchmark",
    "server_limits": "autotune",
    "server_context": "context",
    "short_training": "finetune",
}
"""The fixtures that make a test heavy, and the marker that such a test has or gets."""

SELECTION = pytest.StashKey["Selection"]()
NAMED = "llmbench_files_are_named"
"""Tells the workers of pytest-xdist whether the command line names files: they are given those of `testpaths` alike."""
WORKER_OUTPUT = "llmbench_selection"

_OURS = "pytest_llmbench.plugin.fixtures"
_TOKEN = re.compile(r"[()]|[^\s()]+")
_RUNNERS = {"asyncio": "autotune", "benchmark": "speed"}
"""Plugins that some of our tests need, and the extra that brings each."""


class Selection:
    """What one process left out, and why; `seen` counts the tests of each marker that it collected."""

    def __init__(self, config: pytest.Config) -> None:
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.files_are_named = bool(worker[NAMED]) if worker else config.args_source is pytest.Config.ArgsSource.ARGS
        self.seen: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.unrunnable: Counter[str] = Counter()

    def apply(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Take what was not asked for out of `items`, and return it; skip what nothing here can run."""
        unasked = []
        for item in items:
            if marker := marker_of(item):
                if not is_asked_for(item):
                    self.left_out[marker] += 1
                    unasked.append(item)
                elif plugin := _missing_runner(item):
                    self.unrunnable[_RUNNERS[plugin]] += 1
                    item.add_marker(pytest.mark.skip(reason=f"needs pytest-{plugin}: {_installing(plugin)}"))
        if unasked:
            gone = set(unasked)
            items[:] = [item for item in items if item not in gone]
        return unasked

    def see(self, item: pytest.Item) -> str | None:
        """Count a test that was collected, whatever leaves it out afterwards; its marker where it is one of ours."""
        marker = marker_of(item)
        if marker:
            self.seen[marker] += 1
        return marker

    def check_gate(self, required: int | None) -> None:
        """Refuse to pass over what a gate is to be judged by. Raises NotReadyError where its items cannot run."""
        if required is not None and self.unrunnable["autotune"]:
            raise NotReadyError(
                f"{required} users are required, and the items that count them need pytest-asyncio: "
                f"{_installing('asyncio')}"
            )

    def to_json(self) -> dict[str, dict[str, int]]:
        """As a worker of pytest-xdist hands it over."""
        return {"seen": dict(self.seen), "left_out": dict(self.left_out), "unrunnable": dict(self.unrunnable)}

    def take(self, told: Mapping[str, Mapping[str, int]]) -> None:
        """Take over what a worker says; each has collected everything."""
        self.seen, self.left_out = Counter(told["seen"]), Counter(told["left_out"])
        self.unrunnable = Counter(told["unrunnable"])


def marker_of(item: pytest.Item) -> str | None:
    """`benchmark`, `autotune`, `context` or `finetune` where the test has a heavy fixture, else None."""
    if FIXTURES.keys().isdisjoint(getattr(item, "fixturenames", ())):
        return None
    return next((marker for name, marker in FIXTURES.items() if is_ours(item, name)), None)


def is_ours(item: Any, fixture: str) -> bool:
    """Whether a test gets that fixture from this plugin; one of the user's own is none of our business."""
    definitions = item._fixtureinfo.name2fixturedefs.get(fixture)  # noqa: SLF001  # pytest has no public way to ask
    return bool(definitions) and definitions[-1].func.__module__ == _OURS


def is_asked_for(item: Any) -> bool:
    """Whether the command line names a marker of the test, its file, or a word of its name."""
    words = _words_of(item.config.option.keyword)
    return _is_marked_or_in_a_named_file(item) or any(
        word.lower() in name.lower() for word in words for name in _names(item)
    )


def may_be_asked_for(definition: Any) -> bool:
    """As `is_asked_for` for a test whose items, which `-k` goes by, are not made yet."""
    return bool(_words_of(definition.config.option.keyword)) or _is_marked_or_in_a_named_file(definition)


def require_asked(request: pytest.FixtureRequest) -> None:
    """Skip a test that got to a heavy fixture by `request.getfixturevalue`, which no collection sees."""
    if not is_asked_for(request._pyfuncitem):  # noqa: SLF001  # the fixture's own node may be the whole session
        pytest.skip(f"{request.fixturename} loads a model or a server; name this test's file, or a word of it with -k")


@functools.cache
def asked_markers(expression: str) -> frozenset[str]:
    """Those of our markers that an expression of `-m` names."""
    return _words_of(expression) & frozenset(FIXTURES.values())


def _is_marked_or_in_a_named_file(item: Any) -> bool:
    markers = {marker_of(item), *(marker.name for marker in item.iter_markers())}
    named = item.config.stash[SELECTION].files_are_named and item.session.isinitpath(item.path)
    return named or not markers.isdisjoint(_words_of(item.config.option.markexpr))


@functools.cache
def _words_of(expression: str) -> frozenset[str]:
    """The words of a `-k` or `-m` expression that are wanted: `lights` of `lights and not (slow or mute)`."""
    words, negations, negated = set(), [False], False
    for token in _TOKEN.findall(expression or ""):
        if token == "not":  # noqa: S105  # a word of the expression, no secret
            negated = not negated
            continue
        if token == "(":  # noqa: S105
            negations.append(negations[-1] ^ negated)
        elif token == ")" and len(negations) > 1:  # noqa: S105
            negations.pop()
        elif token not in {"and", "or"} and not negations[-1] ^ negated:
            words.add(token)
        negated = False
    return frozenset(words)


def _names(item: pytest.Item) -> Iterator[str]:
    """What pytest's `-k` looks at."""
    for node in item.listchain():
        if not isinstance(node, pytest.Session | pytest.Directory):
            yield node.name
    yield from item.listextrakeywords()
    yield from getattr(getattr(item, "function", None), "__dict__", ())
    yield from (marker.name for marker in item.iter_markers())


def _missing_runner(item: Any) -> str | None:
    """The plugin without which the test cannot run, None where nothing is missing."""
    manager = item.config.pluginmanager
    if "benchmark" in item.fixturenames and not item._fixtureinfo.name2fixturedefs.get("benchmark"):  # noqa: SLF001
        return "benchmark"
    is_async = inspect.iscoroutinefunction(getattr(item, "function", None))
    if is_async and not manager.hasplugin("asyncio") and not item.get_closest_marker("anyio"):
        return "asyncio"
    return None


def _installing(plugin: str) -> str:
    return f"pip install 'pytest-llmbench[{_RUNNERS[plugin]}]'"


def summary(selection: Selection, config: pytest.Config, *, nothing_collected: bool) -> list[str]:
    """One line for what was left out, one for each missing plugin, and one where nothing is there to be run."""
    lines = []
    if counts := selection.left_out:
        how = ", ".join(f"-m {marker} ({count})" for marker, count in counts.items())
        many = counts.total()
        lines.append(
            f"llmbench: {many} test{'s need' if many > 1 else ' needs'} a model or a server, left out; run with {how}, "
            "-k, or by file"
        )
    for extra, count in selection.unrunnable.items():
        plugin = next(name for name, brings in _RUNNERS.items() if brings == extra)
        lines.append(f"llmbench: {count} skipped without pytest-{plugin}: {_installing(plugin)}")
    if nothing_collected and not selection.seen:
        lines += [_how_to_begin(marker, config) for marker in sorted(asked_markers(config.option.markexpr))]
    return lines


def _how_to_begin(marker: str, config: pytest.Config) -> str:
    from pytest_llmbench.core.starter import SUITES

    suite = next(Path(path) for path in SUITES if marker in path)
    if (config.invocation_params.dir / suite).is_file():
        return f"llmbench: {suite} was not collected; name its folder: pytest -m {marker} {suite.parent}"
    return f"llmbench: no test here is one of '{marker}'; `llmbench init` writes {suite}, then: pytest -m {marker}"
