"""How many actors a cluster gets, and how they are told that it is not there."""

from __future__ import annotations

import os
import socket
import sys
import types
from typing import Any

import pytest

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.settings import RaySettings
from pytest_llmbench.generation.ray.cluster import Cluster, cluster_address
from pytest_llmbench.generation.ray.resources import Division, Node, divided

_GPUS = [Node("a", 16, 4), Node("b", 16, 4), Node("head", 4, 0)]
_CPUS = [Node("a", 8, 0), Node("b", 5, 0), Node("head", 0, 0)]


@pytest.mark.parametrize(
    ("settings", "nodes", "on_gpus", "wanted"),
    [
        (RaySettings(), _GPUS, True, Division(8, 1, 1)),
        (RaySettings(), _GPUS, False, Division(9, 4, 0)),
        (RaySettings(gpus=2), _GPUS, True, Division(4, 1, 2)),
        (RaySettings(gpus=0.5, cpus=2), _GPUS, True, Division(16, 2, 0.5)),
        (RaySettings(), _CPUS, True, Division(2, 5, 0)),
        (RaySettings(actors=3), _CPUS, True, Division(3, 4, 0)),
        (RaySettings(actors=3), [Node("a", 2, 0)], True, Division(3, 0.6666, 0)),
        (RaySettings(cpus=6), _CPUS, True, Division(1, 6, 0)),
    ],
)
def test_a_cluster_is_divided_as_the_settings_say(
    settings: RaySettings, nodes: list[Node], wanted: Division, *, on_gpus: bool
) -> None:
    found = divided(settings, nodes, on_gpus=on_gpus)
    assert found == wanted
    assert found.fitting(nodes) >= found.actors


def test_what_no_machine_can_hold_fits_nowhere() -> None:
    assert Division(2, 64, 0).fitting(_CPUS) == 0
    assert Division(2, 1, 1).fitting(_CPUS) == 0


def test_auto_means_the_address_of_the_environment_or_a_cluster_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster_address(RaySettings(address="auto")) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert cluster_address(RaySettings(address="auto")) == "10.0.0.5:6379"
    assert cluster_address(RaySettings(address="local")) is None
    for own in ("local", ""):
        monkeypatch.setenv("RAY_ADDRESS", own)
        assert cluster_address(RaySettings(address="auto")) is None
    for url in ("ray://head:10001", "http://127.0.0.1:8265"):
        monkeypatch.setenv("RAY_ADDRESS", url)
        with pytest.raises(UsageError, match=f"RAY_ADDRESS is {url}, where clients ask and jobs are handed in"):
            cluster_address(RaySettings(address="auto"))


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotReadyError, match=r"pip install 'pytest-llmbench\[ray\]'"):
        Cluster.joined(RaySettings(address="auto"))


class _Ray:
    """A Ray that starts at once, or not at all, and knows the token that it was started with."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._private = types.SimpleNamespace(worker=types.SimpleNamespace())
        self._fault, self.token = fault, ""

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: Any) -> None:
        self.token = os.environ["RAY_AUTH_TOKEN"]
        if self._fault:
            raise self._fault

    def shutdown(self) -> None: ...


@pytest.mark.parametrize("given", ["the-users-own", None])
def test_the_token_of_the_environment_is_as_before_once_a_cluster_of_our_own_ends(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", given or "")
    if given is None:
        monkeypatch.delenv("RAY_AUTH_TOKEN")
    for ray in (_Ray(), _Ray(RuntimeError("no port"))):
        monkeypatch.setitem(sys.modules, "ray", ray)
        if ray._fault:
            with pytest.raises(NotReadyError, match="Ray did not start on this machine: no port"):
                Cluster.joined(RaySettings(address="local"))
        else:
            Cluster.joined(RaySettings(address="local")).close()
        assert ray.token == given if given else len(ray.token) == 64
        assert os.environ.get("RAY_AUTH_TOKEN") == given


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(NotReadyError, match=r"no Ray cluster can be reached at 127.0.0.1:9 \(.*refused"):
        Cluster.joined(RaySettings(address="127.0.0.1:9"))


def test_the_address_of_ray_client_is_refused() -> None:
    with pytest.raises(ValueError, match="ray:// does not carry answers as they are made"):
        RaySettings(address="ray://10.0.0.5:10001")


def test_what_is_no_cluster_is_told_before_ray_waits_for_it() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            NotReadyError, match=rf"no Ray cluster can be joined at {address} \(no answer within 0.1 s\)"
        ):
            Cluster.joined(RaySettings(address=address, start_timeout=0.1))
