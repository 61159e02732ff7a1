"""A whole test of a server over HTTP: how it counts, what it refuses, what it hides, and going on after a stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.context_server import TEMPLATE, ContextServer, context_server
from support.known_context import KnownContext

from pytest_llmbench.context.context_run import ContextRun, Step, Target
from pytest_llmbench.context.course import Course
from pytest_llmbench.context.needles import KINDS
from pytest_llmbench.context.prompt_building import Count, Draft, ExactPrompt, InexactError, exact_prompt
from pytest_llmbench.core.errors import LLMBenchError, ServerError, UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.runs.context_document import ContextTarget

SMALL = {"depths": [0.5], "languages": "en", "kinds": ["one"], "probes": 5, "answer_tokens": 8}


def run(
    server: ContextServer,
    folder: Path,
    *,
    asked: str | None = None,
    resume: bool = False,
    steps: list[Step] | None = None,
    **context: Any,
) -> ContextTarget:
    settings = Settings.model_validate(
        {
            "context": {**SMALL, **context},
            "load": {"latency": 1.0, "measured": "first_token", "scrape": False},
            "output": {"report_dir": folder},
        }
    )
    tell = (steps if steps is not None else []).append
    return asyncio.run(ContextRun(settings, Target(server.url, asked), resume=resume, tell=tell).measure())


def codes(found: ContextTarget) -> set[str]:
    return {finding.code for finding in found.findings}


@pytest.mark.parametrize(
    ("engine", "method"),
    [
        ("vllm", "tokenize"),
        ("tgi", "tokenize"),
        ("sglang", "tokenize"),
        ("llamacpp", "apply_template"),
        ("silent", "calibrated"),
    ],
)
def test_every_prompt_has_the_tokens_that_were_asked_for_however_they_are_counted(
    engine: str, method: str, tmp_path: Path
) -> None:
    with context_server(KnownContext(limit=900), engine=engine) as server:
        found = run(server, tmp_path)
    assert found.counting.method == method
    assert found.counting.exact
    answered = [probe for probe in found.probes if probe.refusal is None]
    assert all(probe.usage_tokens == probe.prompt_tokens == probe.length for probe in answered)
    assert found.counting.template_tokens == (None if engine == "silent" else TEMPLATE)
    assert found.limits.accepted is not None
    assert found.limits.accepted.tokens == 900


def test_the_three_limits_the_answer_and_what_it_rests_on(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=4000), announced=4001) as server:
        found = run(server, tmp_path, lengths=(512, 1024, 2048), kinds=KINDS)
    assert [name for name, _ in found.limits.sought()] == ["accepted", "in_time", "right"]
    assert found.lengths == (512, 1024, 2048)
    assert found.answer is not None
    swept = [probe for probe in found.probes if probe.sought == "sweep"]
    assert {probe.kind for probe in swept} == {"one", "several", "distractors"}
    assert all(probe.correct == 1 for probe in swept)
    assert found.server.announced_context == 4001


def test_what_a_server_tells_of_its_base_is_told_of_a_fine_tune_too(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=600), announced=601, fine_tune="tuned") as server:
        found = run(server, tmp_path, asked="tuned", lengths=(256, 512), max_context=512)
    assert found.server.announced_context == 601


def test_the_longest_prompt_that_is_asked_for_can_be_the_one_that_is_required(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=4000)) as server:
        found = run(server, tmp_path, lengths=(512, 1024), max_context=1024)
    assert found.lengths == (512, 1024)
    assert found.answer is not None
    assert (found.answer.tokens, found.answer.high) == (1024, None)
    assert found.limits.in_time is not None
    assert found.limits.in_time.low == 1024


def test_limits_below_all_lengths_that_were_asked_for_are_found(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=1000)) as server:
        found = run(server, tmp_path, lengths=(1024,))
    assert found.limits.accepted is not None
    assert (found.limits.accepted.tokens, found.limits.accepted.decided) == (1000, True)
    assert found.lengths == (993,)  # as long as leaves room for an answer


@pytest.mark.parametrize(
    ("fails", "code", "status"),
    [("status", "context_exceeded", 400), ("event", "context_exceeded", None), ("memory", "out_of_memory", None)],
)
def test_a_refusal_is_a_typed_result_in_whatever_form_it_comes(
    fails: str, code: str, status: int | None, tmp_path: Path
) -> None:
    with context_server(KnownContext(limit=700), fails=fails) as server:
        found = run(server, tmp_path)
    refused = next(probe.refusal for probe in found.probes if probe.refusal)
    assert (refused.code, refused.status) == (code, status)
    assert found.limits.accepted is not None
    assert found.limits.accepted.tokens == 700


def test_a_server_that_hangs_up_on_long_prompts_is_a_result_and_a_finding(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=700), fails="close") as server:
        found = run(server, tmp_path, max_context=2000)
    assert found.limits.accepted is not None
    assert found.limits.accepted.tokens == 700
    assert found.limits.accepted.reason.values["code"] == "server_gone"
    assert "server_died" in codes(found)


class Overloaded(ContextServer):
    """Says of prompts that are too long only that it has no time, in so many words; to none once `status` is 0."""

    def __init__(self, status: int, wait_s: int = 0) -> None:
        self.status, self._wait_s = status, wait_s
        super().__init__(KnownContext(limit=700))

    async def _refuse(self, request: web.Request, why: str, fails: Any) -> web.StreamResponse:
        if not self.status:
            return await super()._refuse(request, why, fails)
        body = {"error": {"message": "not now"}}
        return web.json_response(body, status=self.status, headers={"Retry-After": str(self._wait_s)})


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.context.live_server.backoff_s", lambda _attempt: 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("status", "code"), [(429, "stopped"), (503, "stopped"), (504, "refused"), (502, "refused"), (500, "refused")]
)
def test_a_server_that_has_no_time_shows_no_end_of_what_it_accepts(status: int, code: str, tmp_path: Path) -> None:
    with contextlib.closing(Overloaded(status)) as server:
        early = run(server, tmp_path, max_context=2000).limits.accepted
        server.status = 0
        later = run(server, tmp_path, max_context=2000, resume=True).limits.accepted
    assert early is not None
    assert (early.high, early.decided, early.reason.code) == (None, False, code)
    assert later is not None
    assert (later.high, later.decided) == ((None, False) if status == 500 else (700, True))


@pytest.mark.usefixtures("at_once")
def test_a_server_that_asks_for_a_long_pause_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(Overloaded(429, wait_s=3600)) as server:
        found = run(server, tmp_path, max_context=2000)
    assert found.limits.accepted is not None
    assert found.limits.accepted.reason.code == "stopped"
    assert "HTTP 429: not now; it asks to wait 3600 s; what was tried is kept" in caplog.text


def test_what_is_cut_without_a_word_is_not_accepted_and_told(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=700, beyond="cut")) as server:
        found = run(server, tmp_path, max_context=2000)
    assert found.limits.accepted is not None
    assert (found.limits.accepted.tokens, found.limits.accepted.reason.code) == (700, "cut")
    assert "silent_truncation" in codes(found)


def test_an_answer_that_goes_on_beyond_the_context_is_told(tmp_path: Path) -> None:
    for shift in (True, False):
        with context_server(KnownContext(limit=511), engine="llamacpp", announced=512, shift=shift) as server:
            assert ("context_shift" in codes(run(server, tmp_path))) is shift


def test_a_server_that_accepts_more_than_it_announces_has_forgotten_nothing(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=2000), engine="llamacpp", announced=512, shift=True) as server:
        assert codes(run(server, tmp_path, max_context=3000)) == {"announced_differs", "answers_cut"}


def test_a_prompt_that_is_not_of_the_length_that_was_asked_for_is_not_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shorter(draft: Draft, target: int, count: Count) -> ExactPrompt:
        made = await exact_prompt(draft, target - 2, count)
        raise InexactError(target, made)

    monkeypatch.setattr("pytest_llmbench.context.live_server.exact_prompt", shorter)
    with context_server(KnownContext(limit=600)) as server:
        found = run(server, tmp_path)
    assert (found.counting.exact, found.counting.most_off) == (False, 2)


def test_a_prompt_cache_is_seen_and_never_met_by_the_prompts_that_are_timed(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=600, prefix_cache=True)) as server:
        found = run(server, tmp_path)
    assert "prefix_cache_seen" in codes(found)
    assert len(set(server.prompts)) >= len(server.prompts) - 1


def test_a_count_that_the_servers_usage_contradicts_is_not_believed(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=600), engine="sglang", off=3) as server:
        found = run(server, tmp_path)
    assert found.counting.exact  # the same number each time is the template's
    assert found.limits.accepted is not None
    assert found.limits.accepted.tokens == 600


def test_a_server_without_usage_is_tested_where_it_counts_and_refused_where_nothing_does(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=600), usage=False) as server:
        assert "no_usage" in codes(run(server, tmp_path))
    with (
        context_server(KnownContext(limit=600), usage=False, engine="silent") as server,
        pytest.raises(ServerError, match=r"neither counts tokens \(/tokenize\) nor sends `usage`"),
    ):
        run(server, tmp_path)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"lengths": (512, 9000)}, "context.lengths: 9000 is beyond the 4096 tokens that the server announces"),
        ({"lengths": (512, 1024), "max_context": 800}, "context.max_context is 800, and context.lengths has 1024"),
        ({"max_context": 100}, "context.max_context is 100, and no question fits in less than 256 tokens"),
        ({"lengths": (20, 512)}, "20 tokens are too few for a prompt: .* ask for longer lengths"),
    ],
)
def test_lengths_that_cannot_be_are_refused_before_a_long_prompt_is_sent(
    context: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with context_server(announced=4096) as server:
        with pytest.raises(UsageError, match=message):
            run(server, tmp_path, **context)
        assert all(len(prompt.split()) < 150 for prompt in server.prompts)


def test_a_cap_below_the_shortest_prompt_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.context_server.TEMPLATE", 220)
    told = "context.max_context is 256, and the shortest prompt that the questions fit in has 320 tokens; raise it"
    with context_server() as server, pytest.raises(UsageError, match=told):
        run(server, tmp_path, max_context=256)


def test_a_stopped_test_goes_on_without_sending_a_prompt_twice(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=900)) as server:
        whole = run(server, tmp_path)
        journal = tmp_path / "context" / "known.jsonl"
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(lines[:4]) + lines[4][:20])
        server.prompts.clear()
        resumed = run(server, tmp_path, resume=True)
    assert resumed.resumed_probes == 3
    assert resumed.limits.accepted == whole.limits.accepted
    assert [probe.id for probe in resumed.probes[:3]] == [probe.id for probe in whole.probes[:3]]
    assert len(server.prompts) == len(resumed.probes) - 3 + 2  # and two short ones, by which counting is checked


def test_a_stopped_test_that_is_begun_anew_says_how_much_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with context_server(KnownContext(limit=400)) as server:
        run(server, tmp_path)
        run(server, tmp_path)
        assert "dropped" not in caplog.text
        run(server, tmp_path, time_limit=0.000001, resume=True)
        journal = tmp_path / "context" / "known.jsonl"
        journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:4]))
        run(server, tmp_path)
    assert "3 prompts of an earlier test are dropped; resuming goes on from one with the same settings" in caplog.text


def test_a_journal_of_another_test_is_refused_by_name(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=600)) as server:
        run(server, tmp_path)
        with pytest.raises(UsageError, match=r"known.jsonl:1: these probes are of another test: context not the same"):
            run(server, tmp_path, kinds=["several"], resume=True)


def test_a_server_that_never_comes_back_ends_the_test_with_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(_presence: object, _longest_s: float) -> bool:
        return False

    monkeypatch.setattr("pytest_llmbench.load.health_check.Presence.returned", gone)
    with context_server(KnownContext(limit=700), fails="close") as server:
        found = run(server, tmp_path, max_context=2000)
    assert found.limits.accepted is not None
    assert (found.limits.accepted.decided, found.limits.accepted.reason.code) == (False, "stopped")
    assert found.answer is not None


def test_the_time_limit_ends_the_test_early(tmp_path: Path) -> None:
    with context_server(KnownContext(limit=900)) as server:
        found = run(server, tmp_path, time_limit=0.000001)
    assert found.limits.accepted is not None
    assert (found.limits.accepted.decided, found.limits.accepted.reason.code) == (False, "stopped")
    assert not found.probes
    assert found.limits.in_time is None
    assert "time_over" in codes(found)


def test_facts_are_not_told_up_to_lengths_whose_prompts_were_never_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_over(course: Course) -> bool:
        return any(probe.sought == "sweep" for probe in course._journal.probes)

    monkeypatch.setattr(Course, "_is_over", is_over)
    with context_server(KnownContext(limit=900)) as server:
        found = run(server, tmp_path)
    assert found.limits.accepted is not None
    assert found.limits.right is not None
    assert found.limits.right.tokens < found.limits.accepted.tokens == 900


def test_each_probe_is_told_and_on_disk_before_the_next(tmp_path: Path) -> None:
    steps: list[Step] = []
    with context_server(KnownContext(limit=600)) as server:
        found = run(server, tmp_path, steps=steps)
    kept = [json.loads(line) for line in (tmp_path / "context" / "known.jsonl").read_text().splitlines()]
    assert [step.probes for step in steps if not step.over] == list(range(1, len(found.probes) + 1))
    assert [step.sought for step in steps if step.over] == ["accepted", "sweep", "sweep", "in_time", "right"]
    assert [entry["probe"]["id"] for entry in kept[1:-1]] == [probe.id for probe in found.probes]
    assert kept[-1] == {"finished": True}
    assert any("refused (context exceeded)" in step.verdict for step in steps)


def test_nobody_there_is_one_message(tmp_path: Path) -> None:
    with context_server() as server:
        pass
    with pytest.raises(LLMBenchError, match="no connection"):
        run(server, tmp_path)


def test_a_member_of_the_family_bounds_the_lengths_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    with context_server() as server:
        with pytest.raises(UsageError, match=r"2000000 is beyond the \d+ tokens that the model reads"):
            run(server, tmp_path, model="medium", lengths=(512, 2_000_000))
        with pytest.raises(UsageError, match="'gigantic'"):
            run(server, tmp_path, model="gigantic")
        assert not server.prompts


def test_the_tokenizer_that_is_named_counts_for_a_server_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Words:
        chat_template = "its words"

        def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> list[str]:
            return ["<t>"] * TEMPLATE + messages[0]["content"].split()

    monkeypatch.setattr("pytest_llmbench.context.local_tokenizer._tokenizer", lambda *_, **__: Words())
    with context_server(KnownContext(limit=600), usage=False, engine="silent") as server:
        found = run(server, tmp_path, tokenizer="some/model")
    assert found.counting.method == "tokenizer"
    assert found.limits.accepted is not None
    assert found.limits.accepted.tokens == 600
