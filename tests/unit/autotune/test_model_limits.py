from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.serving_findings import HABITS, bare_finding, bare_trial

from pytest_llmbench.autotune import model_limits
from pytest_llmbench.autotune.document import Finding, LimitsDocument, typed_limits
from pytest_llmbench.core.errors import UsageError

METADATA = {
    "versions": {"pytest-llmbench": "1"},
    "command": "llmbench autotune",
    "timestamp": "",
    "git": None,
    "machine": {},
    "settings": {},
}


def trial(level: int, p50: float | None, verdict: str = "held") -> dict[str, Any]:
    latency = None if p50 is None else {"p50": p50, "p95": 2 * p50}
    return bare_trial(level, 9, 10, verdict=verdict, latency_s=latency)


def finding(value: float, *trials: dict[str, Any], cooldown_s: float = 10.0, **changed: Any) -> Finding:
    habits = {**HABITS, "cooldown_s": cooldown_s, **changed.get("habits", {})}
    return bare_finding(value, **{"trials": trials, **changed, "habits": habits})


def document(
    *targets: dict[str, Finding], names: tuple[str, ...] = ("qwen", "gpt"), last: str = "http://h/v1"
) -> LimitsDocument:
    """`last` is the address of the last target."""
    urls = [*["http://h/v1"] * (len(targets) - 1), last]
    described = [
        {"name": name, "url": url, "model_name": name, "engine": "vLLM", "findings": findings}
        for name, url, findings in zip(names, urls, targets, strict=False)
    ]
    return typed_limits({"schema_version": 1, "metadata": METADATA, "targets": described})


def written(path: Path, made: LimitsDocument) -> dict[str, Any]:
    model_limits.write_limits_file(path, made)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_file_has_the_keys_that_programs_read(tmp_path: Path) -> None:
    users = finding(5, trial(4, 1.0), trial(5, 2.5), trial(6, 4.0, "broken"), trial(6, 0.1, "invalid"))
    made = written(tmp_path / "configs/limits.json", document({"users": users, "history": finding(8, users_held=5)}))
    assert list(made)[:7] == [
        "model_name",
        "max_concurrent_users",
        "max_history_messages",
        "user_rate_limit",
        "response_timeout",
        "tested_at",
        "test_results",
    ]
    assert (made["model_name"], made["max_concurrent_users"], made["max_history_messages"]) == ("qwen", 5, 8)
    assert made["user_rate_limit"] == pytest.approx(1 / 12.5)
    assert made["response_timeout"] == 3.0
    assert [row["users"] for row in made["test_results"]] == [4, 5, 6]  # nothing of invalid trials
    assert made["test_results"][0] == {"users": 4, "verdict": "held", "good": 9, "total": 10, "p95": 2.0}
    assert made["interval"] == [4, 6]
    assert made["max_tokens"] is None
    assert made["provenance"]["requests_sent"] == {"users": 77, "history": 77}
    assert made["provenance"]["users_held"] == {"history": 5}


def test_a_server_that_holds_nobody_is_written_with_the_reason(tmp_path: Path) -> None:
    none = finding(0, trial(1, None, "broken"), notes=["nothing is held because answers fail"])
    made = written(tmp_path / "limits.json", document({"users": none}))
    assert made["max_concurrent_users"] == 0
    assert made["user_rate_limit"] is None
    assert made["reasons"] == {"users": ["nothing is held because answers fail"]}


def test_several_models_are_all_in_it_the_first_on_top(tmp_path: Path) -> None:
    made = written(tmp_path / "limits.json", document({"users": finding(5)}, {"users": finding(9)}))
    assert made["max_concurrent_users"] == 5
    assert [entry["max_concurrent_users"] for entry in made["models"]] == [5, 9]


def test_limits_of_models_that_were_not_asked_this_time_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    written(path, document({"users": finding(5)}))
    second = written(path, document({"users": finding(9)}, names=("gpt",)))
    assert (second["model_name"], second["max_concurrent_users"]) == ("gpt", 9)
    assert [(one["model_name"], one["max_concurrent_users"]) for one in second["models"]] == [("gpt", 9), ("qwen", 5)]
    again = written(path, document({"users": finding(6)}))
    assert [(one["model_name"], one["max_concurrent_users"]) for one in again["models"]] == [("qwen", 6), ("gpt", 9)]
    assert model_limits.users_of(path, "gpt", "http://h/v1") == 9
    for port in range(20):
        last = written(path, document({"users": finding(5)}, last=f"http://h:{port}/v1"))
    assert [one["provenance"]["url"] for one in last["models"]] == [f"http://h:{port}/v1" for port in range(19, 2, -1)]


def test_the_users_of_a_model_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    url = "http://h/v1"
    assert model_limits.users_of(path, "qwen", url) is None
    model_limits.write_limits_file(path, document({"users": finding(5)}, {"users": finding(9)}))
    assert [model_limits.users_of(path, name, url) for name in ("qwen", "gpt", "other")] == [5, 9, None]
    assert model_limits.users_of(path, "qwen", "http://another/v1") is None
    path.unlink()
    model_limits.write_limits_file(path, document({"history": finding(5)}))
    assert model_limits.users_of(path, "qwen", url) is None


@pytest.mark.parametrize(
    "content",
    ["[]", '{"models": 3}', '{"models": [3]}', "{", '{"load": {"latency": 3}}', '{"targets": [], "schema_version": 1}'],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"limits\.json"):
        model_limits.users_of(path, "qwen", "http://h/v1")
    with pytest.raises(UsageError, match=r"limits\.json"):
        model_limits.refuse_other_file(path)


def test_users_who_never_wait_have_no_rate_limit() -> None:
    assert model_limits.user_rate_limit(finding(5, trial(5, 0.0), cooldown_s=0.0)) is None


def test_what_was_not_searched_this_time_is_kept_from_an_earlier_search_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    before = written(path, document({"users": finding(5, trial(5, 2.5))}))
    after = written(path, document({"history": finding(8, users_held=5)}))
    assert (after["max_concurrent_users"], after["interval"], after["max_history_messages"]) == (5, [4, 6], 8)
    assert after["kept_from"] == {"max_concurrent_users": before["tested_at"]}
    assert "kept_from" not in written(path, document({"users": finding(6), "history": finding(8)}))


def test_a_limit_that_is_kept_keeps_the_reason_for_it(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    before = written(path, document({"users": finding(0, notes=("answers fail",))}))
    assert before["reasons"]["users"]
    after = written(path, document({"history": finding(8, users_held=1)}))
    assert (after["max_concurrent_users"], after["reasons"].get("users")) == (0, before["reasons"]["users"])


def test_a_limit_that_is_kept_keeps_what_is_known_of_its_search(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    before = written(path, document({"history": finding(8, users_held=5)}))["provenance"]
    after = written(path, document({"users": finding(6)}))
    assert (after["max_history_messages"], after["provenance"]["users_held"]) == (8, {"history": 5})
    for told in ("requests_sent", "decided"):
        assert after["provenance"][told].keys() == {"users", "history"}
        assert after["provenance"][told]["history"] == before[told]["history"]
    again = written(path, document({"max_tokens": finding(64)}))["provenance"]  # kept from what was kept
    assert (again["users_held"], again["decided"].keys()) == ({"history": 5}, {"users", "history", "max_tokens"})


def test_a_limit_is_kept_from_an_older_file_that_says_nothing_of_searches(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    older = written(path, document({"history": finding(8, users_held=5)}))
    for told in ("requests_sent", "decided", "users_held"):
        del older["provenance"][told]
    path.write_text(json.dumps(older), encoding="utf-8")
    after = written(path, document({"users": finding(6)}))
    assert (after["max_history_messages"], after["provenance"]["decided"].keys()) == (8, {"users"})


@pytest.mark.parametrize(
    "other",
    [
        {"names": ("gpt",)},
        {"slo": {"quantile": 0.9, "limit_s": 3.0, "latency": "total"}},
        {"habits": {"arrivals": "burst", "cooldown_s": 10.0, "seed": 42}},
    ],
)
def test_nothing_is_kept_of_another_model_promise_or_kind_of_users(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "limits.json"
    names = other.pop("names", ("qwen",))
    model_limits.write_limits_file(path, document({"users": finding(5)}))
    after = written(path, document({"history": finding(8, users_held=5, **other)}, names=names))
    assert after["max_concurrent_users"] is None


def test_kept_users_keep_their_habits_also_where_people_who_come_at_random_were_searched_last(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    written(path, document({"users": finding(40, cooldown_s=10.0)}))
    at_random = finding(3, question="rate", unit="requests/s", habits={"arrivals": "poisson"})
    after = written(path, document({"rate": at_random}))
    assert (after["max_concurrent_users"], after["max_requests_per_s"]) == (40, 3)
    assert after["provenance"]["habits"]["arrivals"] == "staggered"
    last = written(path, document({"history": finding(8, users_held=5, cooldown_s=1.0)}))
    assert (last["max_concurrent_users"], last["max_requests_per_s"], last["max_history_messages"]) == (None, 3, 8)
    assert {limit: habits["arrivals"] for limit, habits in last["provenance"]["habits_of"].items()} == {
        "max_history_messages": "staggered",
        "max_requests_per_s": "poisson",
    }


def test_users_of_an_older_file_stay_where_its_last_search_was_of_people_who_come_at_random(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    written(path, document({"users": finding(40)}))
    at_random = finding(3, question="rate", unit="requests/s", habits={"arrivals": "poisson"})
    older = written(path, document({"rate": at_random}))
    older["provenance"] |= {"habits": older["provenance"]["habits_of"]["max_requests_per_s"]}
    del older["provenance"]["habits_of"]
    path.write_text(json.dumps(older), encoding="utf-8")
    for _ in range(2):
        after = written(path, document({"history": finding(8, users_held=40)}))
        assert (after["max_concurrent_users"], after["max_requests_per_s"]) == (40, 3)
    other = written(path, document({"history": finding(8, users_held=40, cooldown_s=1.0)}))
    assert (other["max_concurrent_users"], other["max_requests_per_s"]) == (None, 3)


def test_limits_are_as_old_as_the_trials_that_they_rest_on(tmp_path: Path) -> None:
    old, new = (finding(5, tested_at=f"2026-11-{day}T12:00:00+00:00") for day in ("01", "29"))
    made = written(tmp_path / "limits.json", document({"users": new, "history": old}))
    assert made["tested_at"].startswith("2026-11-01")


def test_what_is_kept_is_of_the_same_server_where_several_serve_a_model_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    two = document({"users": finding(5)}, {"users": finding(7)}, names=("qwen", "qwen"), last="http://other/v1")
    model_limits.write_limits_file(path, two)
    later = document({"history": finding(8, users_held=7)}, names=("qwen",), last="http://other/v1")
    assert written(path, later)["max_concurrent_users"] == 7
