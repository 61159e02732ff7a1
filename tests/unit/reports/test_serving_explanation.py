from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from support.serving_documents import history_finding, tokens_finding
from support.serving_findings import LEVELS, finding, queued_trial, users_finding

from pytest_llmbench.autotune.document import Finding, LimitEvidence
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Request, Trial
from pytest_llmbench.reports.serving.explanation_words import explain
from pytest_llmbench.reports.serving.words import CAUSES, serving_words

PROMISE = SLO(0.95, 3.0)


def english(found: dict[str, Any]) -> str:
    return " ".join(found["sentences"]["en"])


def explained(found: dict[str, Any]) -> dict[str, Any]:
    """As `autotune.json` holds it."""
    return explain(Finding.model_validate(found)).json_ready()


def searched(change: Callable[[Trial], Trial], levels: tuple[int, ...] = LEVELS, **queue: Any) -> dict[str, Any]:
    """The explanation of a search whose trials were changed."""
    trials = [change(queued_trial(level, PROMISE, seed=place, **queue)) for place, level in enumerate(levels)]
    return explained(finding(trials, PROMISE, 50))


def each_request(change: Callable[[Request], Request]) -> Callable[[Trial], Trial]:
    return lambda trial: dataclasses.replace(trial, requests=tuple(map(change, trial.requests)))


def with_gauges(found: dict[str, Any], **gauges: float) -> dict[str, Any]:
    for trial in found["trials"]:
        trial["server"] = gauges
    return found


def test_slots_that_the_server_does_not_show_are_counted_and_said_to_be_inferred() -> None:
    found = explained(users_finding())
    assert (found["cause"], found["evidence"]["slots"]) == ("slots", 4)
    assert "its 4 slots" in english(found) or "it has 4 slots is inferred" in english(found)
    assert "parallel slots" in found["try"]["en"][0]
    assert "places en parallèle" in found["try"]["fr"][0]


def test_the_servers_own_gauges_come_before_what_is_inferred() -> None:
    found = explained(with_gauges(users_finding(), running_max=6, waiting_max=9))
    assert (found["cause"], found["evidence"]["slots"]) == ("slots", 6)
    assert "up to 6 requests running and 9 waiting" in english(found)
    assert "inferred" not in english(found)


def test_a_server_without_a_line_that_delays_first_tokens_is_not_said_to_lack_slots() -> None:
    found = explained(with_gauges(users_finding(), running_max=18, waiting_max=0))
    assert found["cause"] == "unknown"
    assert "does not tell why" in english(found)


def test_a_full_cache_is_told_from_few_slots() -> None:
    found = explained(with_gauges(users_finding(), running_max=7, waiting_max=9, kv_cache_max=0.99))
    assert found["cause"] == "kv_cache"


def test_more_slots_are_not_advised_where_all_slots_share_one_speed() -> None:
    """Four at once are four times slower: nothing is won by more."""

    def slowed(trial: Trial) -> Trial:
        return each_request(lambda one: dataclasses.replace(one, gaps_s=(0.12,) * len(one.gaps_s)))(trial)

    found = searched(lambda trial: slowed(trial) if trial.level > 4 else trial)
    assert found["cause"] == "slots"
    assert not any("parallel slots" in line for line in found["try"]["en"])


def test_answers_that_would_be_late_on_an_idle_server_are_not_blamed_on_load() -> None:
    found = searched(lambda trial: trial, (1, 1, 2, 2), tokens=140)
    assert found["cause"] == "alone"
    assert "idle server" in english(found)


def test_stalls_at_any_load_are_told_from_load() -> None:
    def stalled(trial: Trial) -> Trial:
        rows = [
            dataclasses.replace(one, first_token_s=one.first_token_s + 3, ended_s=one.ended_s + 3)
            if place % 5 == 0 and one.first_token_s is not None
            else one
            for place, one in enumerate(trial.requests)
        ]
        return dataclasses.replace(trial, requests=tuple(rows))

    levels = (1, 1, 2, 2, 3)
    trials = [stalled(queued_trial(level, PROMISE, seed=place, slots=20)) for place, level in enumerate(levels)]
    search = finding(trials, PROMISE, 50)
    found = explained(search)
    assert found["cause"] == "stalls"
    assert found["evidence"]["stray_share"] == pytest.approx(0.2, abs=0.08)
    for trial in search["trials"]:
        trial["requests"] = trial["requests"][::2]  # as large trials list their requests
    assert explained(search)["evidence"]["stray_share"] == pytest.approx(0.2, abs=0.08)


def test_without_streams_a_queue_and_slow_decoding_are_not_told_apart() -> None:
    found = searched(each_request(lambda one: dataclasses.replace(one, first_token_s=None, gaps_s=())))
    assert found["cause"] == "unknown"
    assert "were not streamed" in english(found)
    assert "server.stream" in found["try"]["en"][0]


def test_a_client_that_was_the_bottleneck_is_named_and_not_the_server() -> None:
    """The levels above the last valid one are invalid."""

    def drowned(trial: Trial) -> Trial:
        if trial.level < 8:
            return trial
        why = Reason("client_busy", {"cpu": 0.97, "allowed": 0.9})
        return dataclasses.replace(trial, verdict="invalid", why=why, client_cpu=0.97)

    found = searched(drowned, (1, 2, 4, 8, 8))
    assert found["cause"] == "client"
    assert "CPU 97 % of a core" in english(found)


def test_a_level_that_is_refused_as_too_large_is_told_with_the_servers_words() -> None:
    found = history_finding()
    kept = [trial for trial in found["trials"] if trial["level"] <= found["value"]]
    refusal = "HTTP 400: the request exceeds the available context size"
    refused = {"level": 64, "verdict": "broken", "code": "refused", "good": 0, "total": 24, "errors": {refusal: 24}}
    told = explained({**found, "held": True, "trials": [*kept, {**kept[0], **refused, "requests": []}]})
    assert told["cause"] == "errors"
    evidence = {"levels": [64], "bad": 24, "failed": 24, "error": refusal, "error_count": 24}
    assert told["evidence"] == evidence
    assert "64 messages" in english(told)
    assert refusal in english(told)


def test_a_limit_that_was_not_reached_says_so() -> None:
    found = explained(users_finding((1, 2, 4, 8, 10, 10), highest=10, slots=30))
    assert found["cause"] == "not_reached"
    assert "10 users, the most that was allowed" in english(found)


def test_a_search_that_ended_below_every_fault_claims_no_cause() -> None:
    found = explained(users_finding((1, 2)))
    assert (found["cause"], found["evidence"]) == ("unknown", {})


def test_longer_histories_and_answers_are_explained_by_reading_and_writing() -> None:
    assert explained(history_finding())["cause"] == "prefill"
    found = explained(tokens_finding())
    assert found["cause"] == "length"
    assert "a token takes 30 ms" in english(found)


def test_under_a_strict_promise_the_late_answers_are_explained_too() -> None:
    assert explained(users_finding(slo=SLO(1.0, 3.0)))["cause"] == "slots"


@pytest.mark.parametrize("question", ["users", "rate", "history", "max_tokens"])
def test_every_cause_has_words_for_every_question_in_both_languages(question: str) -> None:
    from pytest_llmbench.reports.serving.explanation_words import sentences, to_try

    asked = Finding.model_validate(users_finding() | {"question": question})
    evidence = explain(asked).evidence.model_copy(update={"stray_share": 0.1})
    for cause in CAUSES:
        for language in ("en", "fr"):
            for known in (LimitEvidence(), evidence) if cause != "alone" else (evidence,):
                if cause in ("stalls", "length", "prefill", "kv_cache") and known is not evidence:
                    continue  # they are only ever told from evidence
                lines = [*sentences(cause, asked, known, language), *to_try(cause, asked, known, language)]
                assert all(line and "{" not in line for line in lines)


def test_times_and_shares_are_written_as_people_read_them() -> None:
    say, dit = serving_words("en"), serving_words("fr")
    assert [say.seconds(value) for value in (0.0034, 0.042, 0.42, 4.2, 321.0, None)] == [
        "3.4 ms",
        "42 ms",
        "0.42 s",
        "4.2 s",
        "321 s",
        "-",
    ]
    assert [dit.seconds(2.5), dit.limit(3), dit.share(0.955)] == ["2,5 s", "3,0 s", "96 %"]
    assert [say.amount("users", 1), dit.amount("users", 0), say.amount("users", 0)] == [
        "1 user",
        "0 utilisateur",
        "0 users",
    ]
