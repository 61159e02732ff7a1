from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

from pytest_llmbench.load import worker
from pytest_llmbench.load.client import Call


def test_an_answer_that_ended_is_told_while_its_stream_is_still_open() -> None:
    call = Call(0, 0)
    reporter = worker._Reporter(cast("Any", SimpleNamespace(calls=[call], fatal=None, gone=None)))
    assert reporter.report(0).whole == {}
    call.answer.finish_reason = "stop"
    call.answer.end()
    report = reporter.report(0)
    assert (report.whole, report.ended) == ({0: call.answer.ended_at}, {})
    call.end("stop", at=time.monotonic())
    report = reporter.report(0)
    assert (report.whole, list(report.ended)) == ({}, [0])
