"""A grid of temperatures: what the answers score at each, and whether another one is really better."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from support.fake_chat_server import DONE, Behaviour, FakeChatServer, chunk, refusing, started

from pytest_llmbench.autotune.document import TemperatureGrid
from pytest_llmbench.autotune.temperature_grid import temperature_grid
from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.core.settings import MetricsSettings, Settings, load_settings
from pytest_llmbench.metrics import MetricRegistry, default_metrics
from pytest_llmbench.reports.serving.answers import temperature_answer
from pytest_llmbench.reports.serving.words import serving_words

VOCABULARY = Vocabulary({"volume_up": ("son", "volume")})
METRICS = default_metrics(MetricsSettings(), VOCABULARY)
CASES = [
    Case("voix", f"c{number}", f"monte le son {number}", ({"role": "user", "content": f"monte le son {number}"},),
         keywords=("volume",), tool="volume_up", epoch=epoch)
    for number in range(12)
    for epoch in range(2)
]  # fmt: skip


async def sober(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """Answers well when it is asked coolly, and rambles when hot."""
    hot = json.loads(await request.text())["temperature"] > 0.5
    response = await started(request)
    await response.write(chunk("la la la" if hot else "je monte le volume du son") + chunk(finish="stop") + DONE)
    return response


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    fake = FakeChatServer(sober)
    yield fake
    fake.close()


def settings_for(url: str, **more: str) -> Settings:
    given = {"server": url, "load.temperatures": "1.0, 0, 0.3", **more}
    return load_settings(None, {key: (value, "--test") for key, value in given.items()}, {})


def test_a_cooler_temperature_that_answers_better_is_recommended(server: FakeChatServer) -> None:
    seen: list[tuple[float, int, int]] = []
    settings = settings_for(server.url, **{"generation.temperature": "1.0"})
    grid = asyncio.run(temperature_grid(settings, CASES, METRICS, lambda *told: seen.append(told)))
    assert [point["temperature"] for point in grid["points"]] == [0.0, 0.3, 1.0]
    assert grid["metrics"] == ("keywords", "relevance", "tool_accuracy")
    assert grid["best"] in (0.0, 0.3)
    assert not grid["ignored"]
    assert grid["points"][0]["scores"]["keywords"].json_ready() == {"mean": 1.0, "low": None, "high": None, "count": 12}
    assert grid["points"][0]["against"]["keywords"]["outcome"] == "better"
    assert grid["points"][2]["against"] == {}
    assert seen[-1] == (1.0, 24, 24)


def test_every_request_carries_its_temperature_and_each_epoch_another_seed(server: FakeChatServer) -> None:
    settings = settings_for(server.url, **{"generation.temperature": "0.3"})
    asyncio.run(temperature_grid(settings, CASES[:2], METRICS))
    assert [body["temperature"] for body in server.bodies] == [0.0, 0.0, 0.3, 0.3, 1.0, 1.0]
    assert server.bodies[2]["seed"] != server.bodies[3]["seed"]


def test_nothing_shown_to_be_better_keeps_the_temperature_in_use(server: FakeChatServer) -> None:
    settings = settings_for(server.url, **{"generation.temperature": "0.3"})
    grid = asyncio.run(temperature_grid(settings, CASES, METRICS))
    assert grid["best"] == grid["in_use"] == 0.3
    assert "no temperature is shown to be better" in grid["reason"]
    assert grid["points"][2]["against"]["relevance"]["outcome"] == "worse"


@pytest.mark.parametrize(
    ("sampling", "temperatures", "in_use"),
    [
        ({"generation.temperature": "0.2"}, [0.0, 0.2, 0.3, 1.0], 0.2),
        ({"generation.temperature": "1.0", "generation.do_sample": "false"}, [0.0, 0.3, 1.0], 0.0),
    ],
)
def test_the_temperature_in_use_is_that_of_all_other_requests_and_is_asked_too(
    server: FakeChatServer, sampling: dict[str, str], temperatures: list[float], in_use: float
) -> None:
    grid = asyncio.run(temperature_grid(settings_for(server.url, **sampling), CASES, METRICS))
    assert [point.temperature for point in grid.points] == temperatures
    assert grid.in_use == in_use
    assert next(point for point in grid.points if point.temperature == in_use).against == {}


async def deaf(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """Answers the same whatever temperature and seed it is asked with."""
    asked = json.loads(await request.text())["messages"][-1]["content"]
    response = await started(request)
    await response.write(chunk(f"je monte le volume, comme demandé : {asked}") + chunk(finish="stop") + DONE)
    return response


def test_a_server_that_ignores_temperature_has_no_best_one(server: FakeChatServer) -> None:
    server.behaviours = [deaf]
    grid = asyncio.run(temperature_grid(settings_for(server.url), CASES, METRICS))
    assert (grid["best"], grid["ignored"]) == (None, True)
    assert "Temperature: every answer is the same" in temperature_answer(grid, serving_words("en"))
    assert "chaque réponse est la même" in temperature_answer(grid, serving_words("fr"))


def test_a_server_that_answers_no_case_is_an_error_and_gives_no_grid(server: FakeChatServer) -> None:
    server.behaviours = [refusing(400, "too hot")]
    settings = settings_for(server.url, **{"server.retries": "0"})
    with pytest.raises(ServerError, match="too hot"):
        asyncio.run(temperature_grid(settings, CASES, METRICS))


def test_without_a_metric_of_quality_there_is_nothing_to_choose_by(server: FakeChatServer) -> None:
    off = MetricsSettings(keywords=False, relevance=False, tool_accuracy=False)
    with pytest.raises(UsageError, match="switch on a metric"):
        asyncio.run(temperature_grid(settings_for(server.url), CASES, default_metrics(off, VOCABULARY)))


@pytest.mark.parametrize("temperature", [0.2, None])
def test_requests_with_a_temperature_of_their_own_give_no_grid(
    server: FakeChatServer, temperature: float | None
) -> None:
    settings = settings_for(server.url)
    body = settings.server.model_copy(update={"base_body": {"temperature": temperature}})
    with pytest.raises(UsageError, match=r"server\.base_body sets temperature"):
        asyncio.run(temperature_grid(settings.model_copy(update={"server": body}), CASES, METRICS))
    assert server.bodies == []


def test_a_cancelled_grid_asks_nothing_more(server: FakeChatServer) -> None:
    async def cancel_after_a_few() -> None:
        few = asyncio.Event()
        loop = asyncio.get_running_loop()

        def told(_temperature: float, done: int, _wanted: int) -> None:
            if done == 2:
                loop.call_soon_threadsafe(few.set)

        grid = asyncio.create_task(temperature_grid(settings_for(server.url), CASES, METRICS, told))
        await few.wait()
        grid.cancel()
        with pytest.raises(asyncio.CancelledError):
            await grid

    asyncio.run(cancel_after_a_few())
    assert len(server.bodies) <= len(CASES)


def test_a_stopped_grid_goes_on_with_the_answers_it_had_and_a_finished_one_leaves_none(
    server: FakeChatServer, tmp_path: Path
) -> None:
    settings = settings_for(server.url, **{"generation.temperature": "0.3", "server.concurrency": "1"})

    def stopped(temperature: float, done: int, _wanted: int) -> None:
        if (temperature, done) == (0.3, 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(temperature_grid(settings, CASES, METRICS, stopped, folder=tmp_path))
    known = len(server.bodies)
    assert known < 2 * len(CASES)
    grid = asyncio.run(temperature_grid(settings, CASES, METRICS, folder=tmp_path))
    assert [point.answers for point in grid.points] == [len(CASES)] * 3
    assert len(server.bodies) - known == 3 * len(CASES) - (len(CASES) + 5)
    begun = len(server.bodies)
    asyncio.run(temperature_grid(settings, CASES, METRICS, folder=tmp_path))
    assert len(server.bodies) - begun == 3 * len(CASES)


THOUGHT = b'data: {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}\n\n'


def thinking(*ending: bytes) -> Behaviour:
    """Think, and go on for longer than anybody waits where there is no `ending`."""

    async def behave(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request)
        await response.write(THOUGHT + b"".join(ending))
        if not ending:
            await asyncio.sleep(5)
        return response

    return behave


async def silent(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return await started(request)


def lost_where_hot(lost: Behaviour, easy: str) -> Behaviour:
    """Answers well, but not the odd cases when it is hot: those are `lost`, and the others get `easy`."""

    async def behave(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        hot = body["temperature"] > 0.5
        if hot and int(body["messages"][-1]["content"].split()[-1]) % 2:
            return await lost(server, request)
        response = await started(request)
        await response.write(chunk(easy if hot else "je monte le volume du son") + chunk(finish="stop") + DONE)
        return response

    return behave


def grid_of(behaviour: Behaviour, metrics: MetricRegistry, timeout_s: float = 30) -> TemperatureGrid:
    fake = FakeChatServer(behaviour)
    given = {"generation.temperature": "0.3", "load.temperatures": "0.3, 1.0", "generation.timeout": str(timeout_s)}
    try:
        settings = settings_for(fake.url, **given, **{"server.retries": "0", "server.concurrency": "32"})
        return asyncio.run(temperature_grid(settings, CASES, metrics))
    finally:
        fake.close()


@pytest.mark.parametrize(
    ("lost", "timeout_s"),
    [(thinking(chunk(finish="length") + DONE), 30), (thinking(), 3), (silent, 3), (refusing(400, "too hot"), 30)],
    ids=["endless thinking", "thinking until the time-out", "time-out", "error"],
)
def test_a_lost_answer_is_the_worst_and_not_left_out(lost: Behaviour, timeout_s: float) -> None:
    """A temperature at which the hard cases are lost would be compared on the easy cases alone."""
    registry = default_metrics(MetricsSettings(reference=("repetition",)), VOCABULARY)
    hot = grid_of(lost_where_hot(lost, "je monte le volume du son"), registry, timeout_s)["points"][-1]
    known = {name: (mean["mean"], mean["count"]) for name, mean in hot["scores"].items()}
    assert (known["keywords"], known["repetition"]) == ((0.5, 12), (0.5, 12))
    assert all(0 <= score["low"] <= score["high"] <= 1 for score in hot["scores"].values() if score["low"] is not None)
    assert hot["against"]["keywords"]["outcome"] == "worse"


def test_the_worst_score_is_that_of_the_scale_and_a_case_lost_everywhere_has_none() -> None:
    """Of a metric without bounds 0 or 1 may be the best."""
    registry = MetricRegistry()
    registry.add("edits", lambda _case, answer: float(len(answer.text)), higher_is_better=False)
    registry.add("debt", lambda _case, answer: -float(len(answer.text)))
    behaviour = lost_where_hot(thinking(chunk(finish="length") + DONE), "je")
    cool, hot = grid_of(behaviour, registry)["points"]
    whole = len("je monte le volume du son")
    assert cool["scores"]["edits"]["mean"] == whole
    assert hot["scores"]["edits"]["mean"] == pytest.approx((whole + 2) / 2)
    assert hot["scores"]["debt"]["mean"] == pytest.approx(-(whole + 2) / 2)

    async def mute_of_seven(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.text())["messages"][-1]["content"]
        return await (thinking(chunk(finish="length") + DONE) if asked.endswith(" 7") else sober)(server, request)

    assert [point["scores"]["edits"]["count"] for point in grid_of(mute_of_seven, registry)["points"]] == [11, 11]
