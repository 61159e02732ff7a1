"""Whole searches on a calibrated server, whose limits follow from its rates."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers

from pytest_llmbench.autotune import trials
from pytest_llmbench.autotune.server import Finding, Look, ServerUnderTest, Target, targets_of
from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, ServerError, UsageError
from pytest_llmbench.core.settings import (
    BenchmarkSettings,
    GenerationSettings,
    LoadSettings,
    ServerSettings,
    Settings,
    TargetSettings,
)
from pytest_llmbench.load import users
from pytest_llmbench.load.search_journal import claimed
from pytest_llmbench.load.trial import TrialLimits

ANY_CLIENT = TrialLimits(max_loop_lag_s=9.0, max_client_cpu=9.0, drain_s=10.0)
ONE_SLOT = Calibration(slots=1, decode_tokens_per_s=100.0, prefill_tokens_per_s=5000.0, full_speed=1)
MANY_SLOTS = Calibration(slots=50, full_speed=50)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Finding]:
    """Asks one question about a server: `search(server, "max_users", budget=100)`."""
    talks = tmp_path / "talks.jsonl"
    lines = [{"messages": [{"role": "user", "content": f"bonjour {place}"}]} for place in range(40)]
    talks.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    def run(
        server: CalibratedServer | str,
        question: str,
        *,
        resume: bool = False,
        look: Callable[[Look], None] = print,
        limits: TrialLimits = ANY_CLIENT,
        **load: Any,
    ) -> Finding:
        quick = {"cooldown": 0.0, "latency": 0.2, "quantile": 0.9, "processes": 1, "scrape": False, "messages": 2}
        settings = Settings(
            load=LoadSettings(**{**quick, "conversations": talks, "out": tmp_path / "limits.json", **load}),
            server=ServerSettings(url=server if isinstance(server, str) else server.url),
            generation=GenerationSettings(timeout=2.0),
        )

        async def ask() -> Finding:
            target = targets_of(settings)[0]
            under_test = ServerUnderTest(
                settings, target, folder=tmp_path / "journals", resume=resume, progress=look, limits=limits
            )
            async with under_test as asked:
                made: Finding = await getattr(asked, question)()
                return made

        return asyncio.run(ask())

    return run


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_users_are_found_as_they_follow_from_the_slots(serve: Serve, search: Callable[..., Finding]) -> None:
    server = serve(ONE_SLOT, scale=4.0, answer_tokens=8)  # 20 ms an answer, one after the other
    looks: list[Look] = []
    found = search(server, "max_users", max_users=12, latency=0.07, budget=400, require_users=2, look=looks.append)
    assert abs(found["value"] - 3) <= 1
    assert found["low"] <= 3 <= found["high"]
    assert found["unit"] == "users"
    assert found["decided"]
    assert found["chance_required"] is not None
    assert found["chance_required"] > 0.9
    assert found["sent"] == sum(trial["sent"] for trial in found["trials"]) == len(server.served)
    assert sum(found["chances"].values()) == pytest.approx(1, abs=0.02)
    assert [entry["level"] for entry in found["curve"]] == list(range(1, len(found["curve"]) + 1))
    assert looks[-1].estimate.startswith(f"{found['value']:g} users (")
    assert looks[-1].sent == found["sent"]
    assert {look.verdict.partition(" ")[0] for look in looks} >= {"begins", "held"}
    json.dumps(found.json_ready(), allow_nan=False)


def test_the_strict_promise_is_searched_by_whole_trials(serve: Serve, search: Callable[..., Finding]) -> None:
    server = serve(ONE_SLOT, scale=4.0, answer_tokens=8)
    found = search(server, "max_users", max_users=6, latency=0.07, budget=300, quantile="strict")
    assert abs(found["value"] - 3) <= 1
    assert found["slo"]["quantile"] == 1
    assert {trial["verdict"] for trial in found["trials"]} <= {"held", "broken", "undecided"}


def test_a_rate_beyond_what_the_server_can_do_is_not_held(serve: Serve, search: Callable[..., Finding]) -> None:
    server = serve(ONE_SLOT, scale=8.0, answer_tokens=6)  # 7.5 ms an answer and a little: 130 a second at most
    found = search(server, "max_rate", max_rate=3200.0, latency=0.08, budget=600)
    assert 65 <= found["value"] <= 160
    assert found["habits"]["arrivals"] == "poisson"
    assert found["unit"] == "requests/s"
    assert found["sent"] > sum(trial["sent"] for trial in found["trials"])  # the looks for the range cost too
    assert len(server.served) <= found["sent"] <= 600 + 30


def test_a_search_keeps_to_its_budget_where_warming_up_takes_most_of_it(
    serve: Serve, search: Callable[..., Finding]
) -> None:
    server = serve(MANY_SLOTS, scale=10.0, answer_tokens=4)  # some 5 ms an answer, no cooldown
    warm_up = dataclasses.replace(ANY_CLIENT, warm_up_s=20.0)  # longer than the budget lasts, on a busy machine too
    with pytest.raises(NotReadyError, match="allow more requests"):
        search(server, "max_users", max_users=8, latency=1.0, budget=60, limits=warm_up)
    assert 60 <= len(server.served) <= 80  # it looks every 20 ms


def test_the_history_that_a_server_can_read_in_time(serve: Serve, search: Callable[..., Finding]) -> None:
    slow_reader = Calibration(slots=1, prefill_tokens_per_s=1000.0, decode_tokens_per_s=2000.0, full_speed=1)
    server = serve(slow_reader, scale=1.0, answer_tokens=20)  # a pair of messages has 23 words
    found = search(server, "max_history", users=1, max_history=10, latency=0.09, budget=90)
    assert found["value"] in (4, 6)
    assert found["users_held"] == 1
    assert found["sent"] == 16 + sum(trial["sent"] for trial in found["trials"])  # the questions for the histories
    assert len(server.served) <= found["sent"] <= 90 + 10
    assert {trial["level"] for trial in found["trials"]} <= {0, 2, 4, 6, 8, 10}
    lengths = [len(seen.body["messages"]) for seen in server.served]
    assert set(lengths[16:]) <= {int(trial["level"]) + 1 for trial in found["trials"]}
    asked = [message["content"] for seen in server.served[16:] for message in seen.body["messages"][:1]]
    assert len(asked) == len(set(asked))  # no history begins like another one, so that none is cached


def test_the_answers_that_a_server_can_give_in_time(serve: Serve, search: Callable[..., Finding]) -> None:
    two_slots = Calibration(slots=2, decode_tokens_per_s=100.0, full_speed=2, prefill_tokens_per_s=50_000)
    server = serve(two_slots, scale=2.0, answer_tokens=12)  # 5 ms a token
    found = search(server, "max_tokens", users=2, max_tokens=16, latency=0.0475, budget=240)
    assert 7 <= found["value"] <= 10
    assert found["cut_off"]
    assert [entry["share"] for entry in found["cut_off"] if entry["level"] < 12] == [1.0] * sum(
        entry["level"] < 12 for entry in found["cut_off"]
    )
    assert found["cut_off_at_value"] == 1.0


def test_longer_limits_that_change_nothing_are_told(serve: Serve, search: Callable[..., Finding]) -> None:
    found = search(serve(MANY_SLOTS, answer_tokens=4), "max_tokens", users=4, max_tokens=16, budget=600, cooldown=0.05)
    assert found["capped"]
    assert found["cut_off_at_value"] == 0.0
    assert any("longer limits change nothing" in note for note in found["notes"])


def test_a_level_whose_requests_are_too_large_is_lost_and_not_the_end(
    serve: Serve, search: Callable[..., Finding]
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=4)
    server.fault = lambda number: 400 if server.served[number].body.get("max_tokens", 0) > 8 else None
    found = search(server, "max_tokens", users=4, max_tokens=16, budget=600, cooldown=0.05)
    assert found["value"] == 8
    assert any("HTTP 400" in note for note in found["notes"])


@pytest.mark.parametrize(("fault", "error"), [(500, "HTTP 500"), ("garbage", "broken JSON")])
def test_answers_that_fail_give_no_capacity_and_are_named(
    serve: Serve, search: Callable[..., Finding], fault: Any, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_PAUSE_AFTER_ERROR_S", 0.01)
    found = search(serve(fault=lambda _: fault), "max_users", max_users=2, budget=30, cooldown=0.05)
    assert (found["value"], found["held"]) == (0, False)
    [note] = [note for note in found["notes"] if "because answers fail, not because they are slow" in note]
    assert error in note
    assert {trial["good"] for trial in found["trials"]} == {0}


class StopError(Exception):
    """What ends a search between two trials."""


def stop_after(trials: int) -> Callable[[Look], None]:
    seen = 0

    def look(look: Look) -> None:
        nonlocal seen
        seen += look.verdict.startswith(("held,", "broken,", "undecided,"))
        if seen == trials:
            raise StopError

    return look


def test_a_killed_search_goes_on_with_the_trials_it_had(
    serve: Serve, search: Callable[..., Finding], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=60)
    with pytest.raises(StopError):
        search(server, "max_users", max_users=8, budget=60, look=stop_after(2))
    journal = tmp_path / "journals/calibrated-users.jsonl"
    kept = [json.loads(line)["detail"] for line in journal.read_text().splitlines()[1:]]
    asked = len(server.served)
    found = search(server, "max_users", max_users=8, budget=60, resume=True)
    assert [trial.json_ready() for trial in found["trials"][:2]] == kept
    assert found["resumed_trials"] == 2
    assert "going on after 2 trials" in caplog.text
    assert found["sent"] == len(server.served)
    assert len(server.served) > asked
    ended_s = round(kept[1]["started_s"] + kept[1]["duration_s"], 3)  # as the three are told
    assert found["trials"][2]["started_s"] >= ended_s
    again = search(server, "max_users", max_users=8, budget=60, resume=True)  # finished: nothing is left to ask
    assert (again["value"], again["sent"]) == (found["value"], len(server.served))
    assert (found.asked_nobody, again.asked_nobody) == (False, True)
    assert again.tested_at == found.tested_at is not None
    assert f"the search was finished on {found.tested_at}, nothing was asked" in caplog.text
    assert journal.read_text().count('"finished"') == 1


def test_a_rate_whose_range_was_cut_short_by_the_time_goes_on(
    serve: Serve, search: Callable[..., Finding], caplog: pytest.LogCaptureFixture
) -> None:
    server, asked = serve(MANY_SLOTS, scale=8.0, answer_tokens=4), {"max_rate": 3200.0, "latency": 0.2, "budget": 400}
    found = search(server, "max_rate", time_limit=0.001, **asked)
    assert (found.ended_by, found.highest) == ("time", 150)
    assert "the look for the range of rates was cut short at 100 a second; resuming goes on" in caplog.text
    same = search(server, "max_rate", time_limit=1e-9, resume=True, **asked)  # no time to go on with the range
    assert (same.resumed_trials, same.highest) == (len(found.trials), found.highest)
    more = search(server, "max_rate", resume=True, **asked)
    assert more.highest > found.highest
    assert len(more.trials) > len(found.trials)
    assert "the range of the search went on, and its trials of before are dropped" in caplog.text
    assert more.sent == len(server.served) - sum(trial.sent for trial in found.trials)


def test_a_rate_whose_range_was_found_goes_on_with_its_trials(serve: Serve, search: Callable[..., Finding]) -> None:
    server, asked = serve(MANY_SLOTS, scale=8.0, answer_tokens=4), {"max_rate": 400.0, "latency": 0.04, "budget": 400}
    with pytest.raises(StopError):
        search(server, "max_rate", look=stop_after(1), **asked)  # the looks for the range are not among them
    more = search(server, "max_rate", resume=True, **asked)
    assert more.resumed_trials > 0
    assert more.sent == len(server.served)


def test_a_rate_that_is_searched_anew_drops_the_trials_of_another_range(
    serve: Serve, search: Callable[..., Finding], tmp_path: Path
) -> None:
    server, asked = serve(MANY_SLOTS, scale=8.0, answer_tokens=4), {"max_rate": 3200.0, "latency": 0.04}
    search(server, "max_rate", budget=200, time_limit=0.001, **asked)
    journal = tmp_path / "journals/calibrated-rate.jsonl"
    assert journal.exists()
    with claimed(journal), pytest.raises(UsageError, match="another search is at work"):
        search(server, "max_rate", budget=200, **asked)

    def stop(_look: Look) -> None:
        raise StopError

    with pytest.raises(StopError):
        search(server, "max_rate", budget=200, look=stop, **asked)
    assert not journal.exists()
    assert search(server, "max_rate", budget=200, time_limit=1.0, resume=True, **asked).resumed_trials == 0


def test_a_finished_search_for_the_history_asks_nothing_when_it_is_resumed(
    serve: Serve, search: Callable[..., Finding]
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=20)
    found = search(server, "max_history", users=1, max_history=2, budget=90)
    asked = len(server.served)
    again = search(server, "max_history", users=1, max_history=2, budget=90, resume=True)
    assert (again.value, again.sent, again.asked_nobody) == (found.value, found.sent, True)
    assert len(server.served) == asked


def test_a_new_search_replaces_the_journal_and_says_what_was_lost(
    serve: Serve, search: Callable[..., Finding], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=60)
    with pytest.raises(StopError):
        search(server, "max_users", max_users=8, budget=60, look=stop_after(1))
    assert search(server, "max_users", max_users=8, budget=60)["resumed_trials"] == 0
    assert "1 trials of a stopped search are dropped; resuming goes on from one with the same settings" in caplog.text
    caplog.clear()
    search(server, "max_users", max_users=8, budget=60)
    assert "not finished" not in caplog.text


def test_a_journal_of_another_promise_is_not_gone_on_from(serve: Serve, search: Callable[..., Finding]) -> None:
    server = serve(MANY_SLOTS, answer_tokens=60)
    search(server, "max_users", max_users=4, budget=60)
    with pytest.raises(UsageError, match="another search: slo not the same; begin anew"):
        search(server, "max_users", max_users=4, budget=60, latency=0.3, resume=True)


def test_a_search_that_met_its_cap_goes_on_with_a_higher_one(serve: Serve, search: Callable[..., Finding]) -> None:
    server = serve(MANY_SLOTS, answer_tokens=60)
    capped = search(server, "max_users", max_users=1, budget=60)
    assert (capped.value, capped.capped) == (1, True)
    more = search(server, "max_users", max_users=4, budget=120, resume=True)
    assert more.resumed_trials == len(capped.trials)
    assert more.value > 1
    lower = search(server, "max_users", max_users=1, budget=30, resume=True)
    assert (lower.value, lower.highest) == (more.value, more.highest_tried)


def test_a_step_that_follows_from_another_cap_is_refused_by_the_settings_name(
    serve: Serve, search: Callable[..., Finding]
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=60)
    search(server, "max_tokens", max_tokens=64, users=1, budget=30)
    with pytest.raises(UsageError, match=r"another search: load\.max_tokens not the same"):
        search(server, "max_tokens", max_tokens=256, users=1, budget=60, resume=True)


def test_a_journal_that_another_process_uses_is_left_alone(
    serve: Serve, search: Callable[..., Finding], tmp_path: Path
) -> None:
    with claimed(tmp_path / "journals/calibrated-users.jsonl"), pytest.raises(UsageError, match="another search"):
        search(serve(), "max_users", budget=60)


def test_an_interrupted_search_leaves_a_whole_journal_and_an_idle_server(
    serve: Serve, search: Callable[..., Finding], tmp_path: Path
) -> None:
    server = serve(MANY_SLOTS, answer_tokens=100)

    def interrupt(look: Look) -> None:
        if look.level == 2 and "so far" in look.verdict:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(server, "max_users", max_users=4, look=interrupt)
    lines = (tmp_path / "journals/calibrated-users.jsonl").read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines[1:]] == [1]
    with claimed(tmp_path / "journals/calibrated-users.jsonl"):
        eventually(lambda: server.open == 0)


def test_a_server_that_dies_and_comes_back_is_waited_for(
    serve: Serve, search: Callable[..., Finding], caplog: pytest.LogCaptureFixture
) -> None:
    server, back = serve(MANY_SLOTS, answer_tokens=2), []

    def restart() -> None:
        server.close()
        time.sleep(0.3)
        back.append(serve(MANY_SLOTS, answer_tokens=2, port=int(server.url.split(":")[2].split("/")[0])))

    def kill(look: Look) -> None:
        if look.level == 4 and not threads:
            threads.append(threading.Thread(target=restart))
            threads[0].start()

    threads: list[threading.Thread] = []
    found = search(server, "max_users", max_users=8, budget=900, look=kill)
    threads[0].join()
    assert found["value"] == 8
    verdicts = [trial["verdict"] for trial in found["trials"]]
    assert verdicts.count("invalid") == 1
    assert set(verdicts) <= {"held", "undecided", "invalid"}
    assert "its return is waited for" in caplog.text
    assert any("invalid" in note for note in found["notes"])
    assert back


def test_a_server_that_stays_away_ends_the_search_with_what_was_kept(
    serve: Serve, search: Callable[..., Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_AWAY_S", 0.3)
    server = serve(MANY_SLOTS, answer_tokens=2)

    def kill(look: Look) -> None:
        if look.level == 2:
            server.close()

    with pytest.raises(ServerError, match=r"not back after 0\.3 s; what was tried is kept.*resuming goes on") as raised:
        search(server, "max_users", max_users=8, look=kill)
    assert raised.value.names == ("resume",)
    assert len((tmp_path / "journals/calibrated-users.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "server_settings", "told"),
    [
        ({"key": "sk-right"}, {}, "LLMBENCH_API_KEY"),
        ({}, {"model": "llama"}, "has no model 'llama'"),
    ],
)
def test_a_server_that_cannot_be_asked_is_refused_before_anything_is_sent(
    serve: Serve, options: dict[str, Any], server_settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    server = serve(**options)
    settings = Settings(server=ServerSettings(url=server.url, **server_settings))

    async def enter() -> None:
        async with ServerUnderTest(settings, targets_of(settings)[0], folder=tmp_path):
            pass

    with pytest.raises(ServerError, match=told):
        asyncio.run(enter())
    assert server.served == []
    assert not list(tmp_path.iterdir())


def test_a_server_that_refuses_the_question_itself_is_told_so(serve: Serve, search: Callable[..., Finding]) -> None:
    with pytest.raises(ServerError, match="HTTP 400: calibrated refusal"):
        search(serve(fault=lambda _: 400), "max_users", budget=60)


def test_a_budget_too_small_for_anything_is_told(serve: Serve, search: Callable[..., Finding]) -> None:
    with pytest.raises(LLMBenchError, match="allow more requests"):
        search(serve(), "max_tokens", users=40, max_tokens=16, budget=30)


def test_two_targets_are_told_apart() -> None:
    one, other = TargetSettings(url="http://a:1"), TargetSettings(url="http://a:2", model="m")
    load = LoadSettings(targets=(one, other))
    assert targets_of(Settings(load=load)) == (Target("http://a:1"), Target("http://a:2", "m"))
    with pytest.raises(UsageError, match="twice"):
        targets_of(Settings(load=LoadSettings(targets=(one, one))))
    with pytest.raises(UsageError, match=r"name it with server\.url") as raised:
        targets_of(Settings())
    assert raised.value.names == ("server.url",)


def test_without_suites_there_is_nothing_to_ask(tmp_path: Path) -> None:
    settings = Settings(benchmark=BenchmarkSettings(prompts=(tmp_path,)), server=ServerSettings(url="http://a:1"))
    with pytest.raises((UsageError, NotReadyError)):
        ServerUnderTest(settings, targets_of(settings)[0], folder=tmp_path)
