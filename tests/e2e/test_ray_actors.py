"""Answers from the actors of a real Ray cluster of this machine: the same as without, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, calibrated_servers
from support.scripted_engines import ScriptedEngine, open_scripted, recollect_scripted, recollect_unlike, scripted_case

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import AdapterError, NotReadyError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import RaySettings, Settings, load_settings
from pytest_llmbench.generation.completion_store import CompletionJournal
from pytest_llmbench.generation.planner import Planner
from pytest_llmbench.generation.ray.backend import RayBackend
from pytest_llmbench.generation.ray.cluster import Cluster
from pytest_llmbench.generation.ray.recalling import Recall
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.ray_workers import RayMachines
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster of two machines, both of them this one, for all tests: it takes ten seconds to start."""
    from ray.cluster_utils import Cluster as Machines

    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))  # where actors find `support`
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)  # or Ray writes one into the home folder
        patch.setenv("RAY_worker_niceness", "0")
        on_sigterm = signal.getsignal(signal.SIGTERM)
        small = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        machines = Machines(initialize_head=True, head_node_args=small)
        machines.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield machines
        machines.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own for the machines that it started


@pytest.fixture(scope="module")
def cluster(machines: Any) -> Iterator[Cluster]:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    cluster = Cluster.joined(RaySettings(address=machines.address))
    yield cluster
    cluster.close()
    assert signal.getsignal(signal.SIGTERM) is on_sigterm


def settings(**given: str) -> Settings:
    texts = {
        "ray.address": "local",
        "generation.batch_size": "4",
        **{key.replace("__", "."): given[key] for key in given},
    }
    return load_settings(None, {key: (text, "the test") for key, text in texts.items()}, {})


class Silent:
    def planned(self, answers: int) -> None:
        pass

    def answered(self, completion: Completion) -> None:
        pass


def answers(backend: RayBackend | ScriptedEngine, cases: list[Case], folder: Path) -> dict[tuple[str, str], Completion]:
    planner = Planner(
        backend,
        cases,
        CompletionJournal(folder),
        None,
        question=lambda case: {"case": case.name},
        embed=True,
        progress=Silent(),
    )
    return {(case.id, name): done for case in cases for name, done in planner.answers(case).items()}


def test_three_actors_of_which_one_is_killed_answer_like_one_process(cluster: Cluster, tmp_path: Path) -> None:
    orders = {17: f"sleep=0.01 die={tmp_path / 'killed'}", 40: "large"}
    cases = [scripted_case(number, f"say {orders.get(number, 'sleep=0.01')}") for number in range(60)]
    backend = RayBackend.opened(settings(ray__actors="3"), cases, open_scripted)
    told = answers(backend, cases, tmp_path / "ray")
    about = backend.describe()["ray"]
    backend.close()
    assert (tmp_path / "killed").exists()
    assert told == answers(open_scripted(settings()), cases, tmp_path / "alone")
    assert {key: about[key] for key in ("actors", "nodes", "deaths", "batches_asked_again", "answers_given_up")} == {
        "actors": 3,
        "nodes": 2,
        "deaths": 1,
        "batches_asked_again": 1,
        "answers_given_up": 0,
    }


def test_no_engine_is_opened_where_a_machine_knows_the_pair_and_every_answer_is_stored(cluster: Cluster) -> None:
    cases, asked = [scripted_case(0, "say")], list[Any]()

    def holds(kept: Any) -> bool:
        asked.append(kept["about"]["cases"])
        return len(asked) == 1

    def made(kept: Any) -> Any:
        asked.append(kept["about"]["cases"])
        return stored

    stored, recall = open_scripted(settings()), Recall(recollect_scripted, holds, made)
    missing = settings(model__adapter="missing")
    assert RayBackend.opened(missing, cases, open_scripted, recall=recall) is stored
    with pytest.raises(AdapterError, match="no such folder"):
        RayBackend.opened(missing, cases, open_scripted, recall=recall)
    assert asked == [0, 1, 0]  # what adapters learnt of the cases is looked up where nothing is missing


def test_engines_are_opened_where_machines_remember_another_adapter_each(cluster: Cluster) -> None:
    recall = Recall(recollect_unlike, lambda _kept: True, lambda _kept: open_scripted(settings()))
    with pytest.raises(AdapterError, match="no such folder"):
        RayBackend.opened(settings(model__adapter="missing"), (), open_scripted, recall=recall)


def test_a_case_that_kills_every_actor_is_told_and_takes_no_other_with_it(cluster: Cluster, tmp_path: Path) -> None:
    cases = [scripted_case(number, "say die" if number == 5 else "say") for number in range(8)]
    backend = RayBackend.opened(settings(ray__actors="2", ray__attempts="2"), cases, open_scripted)
    told = [
        *backend.complete(cases, "base"),
        *backend.complete_together([(case, "finetuned") for case in cases if "die" not in case.prompt]),
    ]
    backend.close()
    assert len(told) == 15
    failed = [one for one in told if one.finish == "error"]
    assert [one.case for one in failed] == ["suite/0005"]
    assert str(failed[0].error).startswith("2 actors died while they were asked this, the last of them: ")


def test_what_an_actor_cannot_open_is_told_with_its_machine(cluster: Cluster) -> None:
    with pytest.raises(AdapterError, match=r"adapters/missing: no such folder \(on the machine .*\)"):
        RayBackend.opened(settings(ray__actors="1", model__adapter="missing"), (), open_scripted)


def test_an_actor_that_no_machine_can_hold_is_told_with_what_there_is(cluster: Cluster) -> None:
    with pytest.raises(NotReadyError, match=r"each takes 64 CPUs and 0 GPUs, .* has 2 machines with 3 CPUs"):
        RayBackend.opened(settings(ray__cpus="64", ray__start_timeout="0.5"), (), open_scripted)


def test_load_comes_from_actors_and_is_judged_like_that_of_one_process(cluster: Cluster) -> None:
    async def trial(server: CalibratedServer, machines: RayMachines) -> tuple[Trial, Trial]:
        habits, slo = Habits(cooldown_s=0.02, arrivals="burst"), SLO(0.9, 2.0)
        any_client = TrialLimits(error_rate=0.0, warm_up_s=0.0, max_loop_lag_s=9.0, max_client_cpu=9.0)
        talk = Conversations([Conversation((f"bonjour {number}", "et", "merci")) for number in range(5)])
        async with LoadTest(ChatServer.at(server.url), talk, habits, slo, any_client, machines=machines) as load:
            return await load.trial(4, 30), await load.trial(4, 30)

    machines = RayMachines.joined(RaySettings())
    with calibrated_servers() as serve:
        server = serve(Calibration(slots=64, full_speed=64))
        found = asyncio.run(trial(server, machines))
    for one in found:
        assert one.verdict in {"held", "undecided"}, one.reason  # never invalid
        assert [request.finish for request in one.requests] == ["stop"] * 30
        assert one.processes == 2
        assert {request.user for request in one.requests} == {0, 1, 2, 3}
        starts = [request.started_s for request in one.requests]
        assert starts == sorted(starts)
        assert one.clocks
        assert one.clocks.machines == 2
        assert one.clocks.skew_s <= one.clocks.error_s + 0.01  # both are this machine, which has one clock
    assert sum(one.sent for one in found) == len(server.served)
    machines.close()
