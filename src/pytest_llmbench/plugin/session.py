"""What the three questions of one pytest process share: settings, suites, metrics, and what is shown and said.

Nothing here happens in a session that has no item asking for a fixture of ours.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.progress import Announcements, LiveLine

if TYPE_CHECKING:
    from pytest_llmbench.cases.case_list import Chunk
    from pytest_llmbench.cases.suites import Case, Vocabulary
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

_log = logging.getLogger("pytest_llmbench")

SESSION = pytest.StashKey["Session"]()
AUTO_ABOVE, AUTO_SIZE = 2000, 1000
"""`benchmark.chunk: auto` makes chunks of this size above so many cases."""


def _refuse_left_behind(root: Path, *paths: Path) -> None:
    """The packaged demo stands in for what is nowhere, not for what lies at the top of the project."""
    from pytest_llmbench.core.starter import left_behind

    if left := left_behind(root, *paths):
        named = ", ".join(str(root / one) for one in left)
        raise UsageError(f"not read from {Path.cwd()}: {named}; the demo would be judged instead: run pytest in {root}")


@contextlib.contextmanager
def ending(session: pytest.Session) -> Iterator[None]:
    """Turns what a user can mend into one message and the exit code that it stands for, and ends the session."""
    try:
        yield
    except LLMBenchError as error:
        session.config.stash[SESSION].fault = session.config.stash[SESSION].ended_by = error
        code, message = error.exit_code, options.told_error(error)
        if hasattr(session.config, "workerinput"):
            session.shouldstop = message  # how a worker of pytest-xdist tells its controller why it stops
            code = NotReadyError.exit_code  # 2 would say that somebody typed Ctrl-C; the fault has its own code
        pytest.exit(message, returncode=code)


class Session:
    """What the fixtures and hooks of one process share, whichever marker they belong to.

    `fault` is the first mistake that was met, `ended_by` the one that ended the session.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.fault: LLMBenchError | None = None
        self.ended_by: LLMBenchError | None = None
        self._usual_level = logging.NOTSET

    @property
    def ended_saying(self) -> str:
        """What ended the session, empty where nothing did."""
        return options.told_error(self.ended_by) if self.ended_by else ""

    @property
    def cases_were_read(self) -> bool:
        """Whether any test has asked for a case."""
        return "cases" in self.__dict__

    @functools.cached_property
    def settings(self) -> Settings:
        """Command line over environment over ini file over settings file over defaults."""
        from pytest_llmbench.core.settings import load_settings
        from pytest_llmbench.core.starter import CONFIG

        given = options.chosen(self._config, options.CONFIG_FILE)
        if not given:
            _refuse_left_behind(self._config.rootpath, CONFIG)
        path = Path(given[0]) if given else (CONFIG if CONFIG.is_file() else None)
        return load_settings(path, options.overrides(self._config), os.environ)

    def check_name(self) -> None:
        """Refuse a name that the run cannot be saved under. Raises UsageError."""
        from pytest_llmbench.runs.folders import refuse_long_name

        if named := options.chosen(self._config, options.SAVE):
            refuse_long_name(named[0])

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The tools and their terms."""
        from pytest_llmbench.cases.suites import load_vocabulary
        from pytest_llmbench.core.starter import present

        return load_vocabulary(present(Path(self.settings.benchmark.vocabulary)))

    @functools.cached_property
    def cases(self) -> Sequence[Case]:
        """The cases of the suites that the settings select, before pytest selects among them.

        Those that become items stay the same objects.

        Raises:
            UsageError: a suite is wrong, or chunks are wanted of a pytest without subtests.
        """
        from pytest_llmbench.cases.selection import select

        found = select(self._every_case, self.settings)
        return found if _chunk_size(len(found), self.settings) else [*found]

    @property
    def is_limited(self) -> bool:
        """Whether `benchmark.limit` leaves cases out."""
        from pytest_llmbench.cases.selection import is_limited

        return self.settings.benchmark.limit is not None and is_limited(self._every_case, self.settings)

    @functools.cached_property
    def _every_case(self) -> Sequence[Case]:
        from pytest_llmbench.cases.selection import every_case

        asked, model = self.settings.benchmark, self.settings.model
        looked_in = [model.adapters_dir] if "auto" in model.adapters and not self.settings.server.url else []
        _refuse_left_behind(self._config.rootpath, *asked.prompts, asked.vocabulary, *looked_in)
        return every_case(self.settings, self.vocabulary)

    @functools.cached_property
    def chunks(self) -> list[Chunk] | None:
        """The cases in chunks, which become items; None where each case becomes one."""
        from pytest_llmbench.cases.case_list import chunked

        size = _chunk_size(len(self.cases), self.settings)
        return chunked(self.cases, size) if size else None

    @functools.cached_property
    def line(self) -> LiveLine:
        """Where it is shown what goes on."""
        return LiveLine(self._config, visible=self.settings.logging.progress)

    @functools.cached_property
    def announcements(self) -> Announcements:
        """What the engines have announced; they are listened to from the first look on."""
        handler = Announcements(self.line.say, self.settings.logging.level)
        _log.addHandler(handler)
        self._usual_level = _log.level
        _log.setLevel(handler.level)
        return handler

    @functools.cached_property
    def registry(self) -> MetricRegistry:
        """What answers are scored by: the metrics that are switched on, and those that plugins add."""
        from pytest_llmbench.metrics import default_metrics

        registry = default_metrics(self.settings.metrics, self.vocabulary, self.cases)
        self._config.hook.pytest_llmbench_metrics(registry=registry)
        return registry

    def check_base(self) -> None:
        """Refuse a base that goes by no such name. Raises UsageError."""
        from pytest_llmbench.benchmark.preflight import check_base

        check_base(self.settings)

    def close(self) -> dict[str, str | int] | None:
        """Listen no longer; the fault that was met as plain data, None where there was none."""
        if "announcements" in self.__dict__:
            _log.removeHandler(self.announcements)
            _log.setLevel(self._usual_level)
        return {"exit_code": self.fault.exit_code, "message": self.ended_saying} if self.fault else None


def _chunk_size(cases: int, settings: Settings) -> int | None:
    """How many cases are an item; None where each is one.

    Raises:
        UsageError: chunks are wanted of a pytest without subtests.
    """
    size = settings.benchmark.chunk
    has_subtests = hasattr(pytest, "Subtests")
    if size == "off" or (size == "auto" and (cases <= AUTO_ABOVE or not has_subtests)):
        return None
    if not has_subtests:
        raise UsageError(
            f"chunks of cases need the subtests of pytest 9, and this is pytest {pytest.__version__}; upgrade pytest, "
            "or set benchmark.chunk: off",
            names=("benchmark.chunk",),
        )
    return AUTO_SIZE if size == "auto" else size
