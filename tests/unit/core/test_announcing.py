from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.announcing import Announcement, announce_again
from pytest_llmbench.core.errors import NotReadyError, naming

VALUES = st.text(max_size=20) | st.integers() | st.floats(allow_nan=False)


def record(text: str, *values: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("pytest_llmbench").makeRecord(
        "pytest_llmbench", logging.WARNING, "file", 1, text, values, None, extra=extra
    )


@given(st.lists(VALUES, max_size=3))
def test_what_was_logged_is_told_in_the_same_words(values: list[str | int | float]) -> None:
    logged = record(" and ".join(["%s"] * len(values)), *values)
    assert Announcement.of(logged).said == logged.getMessage()


@pytest.mark.parametrize(
    ("text", "values", "kept"),
    [
        ("100 % of it", (), ("100 % of it", ())),
        ("%.0f %% of %s", (12.5, Path("a")), ("%.0f %% of %s", (12.5, "a"))),
        ("gave %r", (Path("a"),), ("%s", (f"gave {Path('a')!r}",))),  # only the logged value knows how it looks
    ],
)
def test_values_are_text_and_numbers(text: str, values: tuple[object, ...], kept: tuple[object, ...]) -> None:
    announced = Announcement.of(record(text, *values))
    assert (announced.text, announced.values) == kept


def test_the_settings_that_it_names_are_kept_and_named_again(caplog: pytest.LogCaptureFixture) -> None:
    error = NotReadyError("no room", names=("ray.actors",))
    announced = Announcement.of(record("one less: %s", error, **naming("model.hold")))
    assert announced == Announcement("one less: %s", ("no room",), ("model.hold", "ray.actors"))
    announce_again([announced])
    assert Announcement.of(caplog.records[0]) == announced
