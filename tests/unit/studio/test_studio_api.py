"""Jobs, estimates and results through the API; uploads and watchers at once. The trainer is a short program."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.saved_runs import EXAMPLE
from support.scripted_jobs import LIMITS, Scripted, scripted
from support.studio import ROWS, options, serving

from pytest_llmbench.runs.history import save
from pytest_llmbench.runs.storage import read_document
from pytest_llmbench.studio import services
from pytest_llmbench.studio.jobs import Jobs

STEPS = 40


class Answer(NamedTuple):
    status: int
    body: Any


class Told(NamedTuple):
    """A server-sent event."""

    id: str | None
    event: str
    data: Any


class Asker:
    """Who asks a studio over the network."""

    def __init__(self, address: str) -> None:
        self.address = address

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = urllib.request.Request(f"{self.address}{path}", data, given, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()))

    def upload(self, content: bytes = ROWS) -> str:
        answer = self.send("POST", "/api/datasets", content, content_type="application/jsonl")
        assert answer.status == 201, answer.body
        key: str = answer.body["id"]
        return key

    def watch(self, path: str, body: Any = None, last: str | None = None) -> Iterator[Told]:
        headers = {"last-event-id": last} if last else {}
        data = None if body is None else json.dumps(body).encode()
        given = {**headers, "content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}{path}", data, given)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as stream:  # noqa: S310
            fields: dict[str, str] = {}
            for line in stream:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield Told(fields.get("id"), fields["event"], json.loads(fields["data"]))
                    fields = {}
                else:
                    fields = {}

    def start(self, key: str, **chosen: Any) -> int:
        answer = self.send("POST", "/api/start-finetuning", {"dataset_id": key, "model_name": "smollm2-135m", **chosen})
        assert answer.status == 201, answer.body
        number: int = answer.body["id"]
        return number


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("api")
    run = read_document(EXAMPLE)
    save({**run, "results": run["results"][:12]}, folder, "accepted")
    jobs = functools.partial(Jobs, limits=LIMITS, kinds=scripted(Scripted(steps=STEPS, pause=0.02)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "Jobs", jobs)
        with serving(options(folder)) as address:
            yield Asker(address)


@pytest.fixture(scope="module")
def key(studio: Asker) -> str:
    return studio.upload()


def _steps(events: Sequence[Told]) -> list[int]:
    return [event.data["data"]["step"] for event in events if event.event == "step"]


def test_models_have_the_fields_of_the_reference_and_whether_they_fit(studio: Asker) -> None:
    found: Mapping[str, Any] = studio.send("GET", "/api/models/available").body
    by_id = {model["id"]: model for model in found["models"]}
    gpt2 = by_id["gpt2"]
    assert {name: gpt2[name] for name in ("name", "vram_required_gb", "quality_rating", "speed_rating")} == {
        "name": "GPT-2 (124M)",
        "vram_required_gb": 2.0,
        "quality_rating": 2,
        "speed_rating": 5,
    }
    assert (gpt2["batch_size"], gpt2["max_length"], gpt2["learning_rate"]) == (8, 512, 3e-4)
    assert gpt2["description"]
    assert gpt2["presets"]["classification"]["batch_size"] == 16
    assert {model["fit"]["verdict"] for model in found["models"]} <= {"fits", "tight", "does_not_fit", "unknown"}
    assert all(model["fit"]["why"] for model in found["models"])
    assert found["machine"]["memory_gb"] > 0


def test_a_training_shows_what_was_chosen_and_is_estimated_before(studio: Asker, key: str) -> None:
    job = studio.send("GET", f"/api/jobs/{studio.start(key, num_epochs=2, rank=4)}").body
    assert (job["settings"]["epochs"], job["settings"]["rank"]) == (2, 4)
    assert (job["settings"]["learning_rate"], job["settings"]["batch_size"]) == (1e-3, 16)  # the preset's
    before = studio.send(
        "GET", f"/api/estimate?model_name=smollm2-135m&dataset_id={key}&num_epochs=2&batch_size=1"
    ).body
    assert before["duration"]["steps"] == 4
    assert sum(before["memory"]["parts"].values()) == before["memory"]["total_bytes"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/api/start-finetuning", {"dataset_id": "0" * 32, "model_name": "gpt2"}, 404, "no dataset"),
        ("POST", "/api/start-finetuning", {"dataset_id": "KEY", "model_name": "gpt-2"}, 422, "not in the registry"),
        ("POST", "/api/start-finetuning", {"dataset_id": "KEY"}, 422, "body.model_name: field required"),
        ("POST", "/api/autotune", {"server": "http://192.168.1.9/v1"}, 422, "not on this machine"),
        ("POST", "/api/autotune", {"server": "http://["}, 422, "server"),
        ("POST", "/api/autotune", {"server": "localhost:8000"}, 422, "is no URL; write one like http://127.0.0.1:8000"),
        ("GET", "/api/estimate?model_name=gpt-2", None, 422, "not in the registry"),
        ("GET", "/api/estimate?model_name=gpt2&targets=q_proj", None, 422, "no linear layer is called 'q_proj'"),
        ("GET", "/api/estimate?model_name=gpt2&targets=,", None, 422, "targets: name layers"),
        ("GET", "/api/estimate?model_name=gpt2&ranks=3", None, 422, "ranks"),
        ("GET", "/api/jobs/99", None, 404, "no job 99"),
        ("POST", "/api/jobs/99/query", {"question": "a"}, 404, "no job 99"),
        ("GET", "/api/jobs/99/events", None, 404, "no job 99"),
        ("GET", "/api/runs/0009_x", None, 404, "there are 0001_accepted"),
        ("GET", "/api/runs/..%2f..%2fetc/report", None, 404, "Not Found"),
        ("PATCH", "/api/jobs", {}, 405, "Method Not Allowed"),
    ],
)
def test_errors_are_problems_in_the_words_of_the_command(
    studio: Asker, key: str, method: str, path: str, body: Mapping[str, str] | None, status: int, told: str
) -> None:
    given = body and {name: key if value == "KEY" else value for name, value in body.items()}
    answer = studio.send(method, path, given)
    assert answer.status == answer.body["status"] == status
    assert told in answer.body["detail"]
    assert answer.body["type"].startswith("urn:llmbench:problem:")


def test_two_uploads_and_four_watchers_at_once(studio: Asker, key: str) -> None:
    number = studio.start(key)
    heard: list[list[Told]] = [[] for _ in range(4)]
    uploaded: list[str] = []
    row = b'{"prompt": "ligne %d", "completion": "set_timer"}\n'
    big = b"".join(row % count for count in range(20_000))
    threads = [
        *(threading.Thread(target=lambda to=to: to.extend(studio.watch(f"/api/jobs/{number}/events"))) for to in heard),
        *(threading.Thread(target=lambda: uploaded.append(studio.upload(big))) for _ in range(2)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(uploaded)) == 2
    for events in heard:
        assert _steps(events) == list(range(1, STEPS + 1))
        assert [event.id for event in events[:-1]] == [str(place) for place in range(1, len(events))]
        assert (events[-1].event, events[-2].data["data"]["state"]) == ("end", "finished")


def test_a_watcher_that_comes_back_misses_nothing_and_hears_nothing_twice(studio: Asker, key: str) -> None:
    path = f"/api/jobs/{studio.start(key)}/events"
    first: list[Told] = []
    for event in studio.watch(path):
        first.append(event)
        if len(_steps(first)) == 5:
            break
    rest = list(studio.watch(path, last=first[-1].id))
    assert _steps([*first, *rest]) == list(range(1, STEPS + 1))
    assert list(studio.watch(path, last=rest[-2].id)) == [Told(None, "end", {})]


def test_a_cancelled_training_goes_on_when_it_is_resumed(studio: Asker, key: str) -> None:
    number = studio.start(key)
    for event in studio.watch(f"/api/jobs/{number}/events"):
        if event.event == "step":
            break
    assert studio.send("POST", f"/api/jobs/{number}/cancel").body["state"] == "cancelling"
    assert list(studio.watch(f"/api/jobs/{number}/events"))[-2].data["data"]["state"] == "cancelled"
    assert studio.send("POST", f"/api/jobs/{number}/cancel").body["code"] == "wrong_state"
    assert studio.send("POST", f"/api/jobs/{number}/query", {"question": "a"}).status == 409
    assert studio.send("POST", f"/api/jobs/{number}/resume").body["state"] == "queued"
    events = list(studio.watch(f"/api/jobs/{number}/events"))
    assert _steps(events) == list(range(1, STEPS + 1))
    assert studio.send("GET", f"/api/jobs/{number}/curve?points=10").body["steps"][-1]["step"] == STEPS
    assert studio.send("GET", f"/api/jobs/{number}/log").body["events"]


def test_runs_have_a_verdict_a_comparison_and_a_report_in_a_sandbox(studio: Asker) -> None:
    (run,) = studio.send("GET", "/api/runs").body["runs"]
    assert (run["id"], run["base_model"]) == ("0001_accepted", "smollm2-135m")
    found = studio.send("GET", f"/api/runs/{run['id']}").body
    assert (found["comparison"] or found["gate"])["verdicts"]
    alone = studio.send("GET", f"/api/comparisons?baseline={run['id']}&run={run['id']}").body
    assert alone["gate"]["outcome"] in {"pass", "inconclusive"}
    page_of = f"{studio.address}/api/runs/{run['id']}/report?language=fr"
    with urllib.request.urlopen(page_of, timeout=60) as page:  # noqa: S310
        assert page.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
        assert '<html lang="fr"' in page.read().decode()


def test_the_studio_itself_loads_no_model(tmp_path: Path) -> None:
    heavy = "{'torch', 'numpy', 'matplotlib', 'transformers'}"
    program = f"import sys, pytest_llmbench.studio.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
