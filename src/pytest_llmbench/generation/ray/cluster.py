"""Joining a Ray cluster, or starting one on this machine for as long as the session lasts."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.machine import usable_cores
from pytest_llmbench.generation.ray.resources import Node

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import RaySettings

_FOUND_BY_RAY = "auto"
"""As RAY_ADDRESS: the cluster that runs on this machine."""
_STORE_BYTES = 128 * 2**20
"""What a cluster of our own takes of shared memory: answers are small, and models are loaded from the disk."""
_CONNECT_S = 5.0
_KNOCK_S = 30.0
_PORT = 6379
_SAID_OF_VERSIONS = "Version mismatch"
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # else 15: beside other programs actors would wait, and load generators come late
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105  # names a variable
_KNOCK = """import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
except Exception as error:
    sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
"""
"""Asks in a process of its own whether a cluster is there: Ray itself waits for two minutes, and cannot be stopped."""


class Cluster:
    """The cluster that this process belongs to. `close` leaves it, and ends it where it was started for the session."""

    def __init__(
        self, ray: Any, *, own: bool, joined_before: bool, on_sigterm: Any = None, own_token: bool = False
    ) -> None:
        self.ray, self.own = ray, own
        self._joined_before, self._on_sigterm, self._own_token = joined_before, on_sigterm, own_token

    @classmethod
    def joined(cls, settings: RaySettings) -> Cluster:
        """Join the cluster that the settings name, unless the process is in one already.

        Raises:
            NotReadyError: Ray is not installed, no cluster answers, or it has another version.
            UsageError: as `cluster_address`.
        """
        ray = imported()
        if ray.is_initialized():
            return cls(ray, own=False, joined_before=True)
        logging.getLogger("ray").setLevel(logging.ERROR)
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001  # else deaths are printed to stdout, too
        on_sigterm = signal.getsignal(signal.SIGTERM)
        address = cluster_address(settings)
        own_token = address is None and _TOKEN not in os.environ
        if address is None:
            _start(ray)
        else:
            _knock(address, settings.start_timeout)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        return cls(ray, own=address is None, joined_before=False, on_sigterm=on_sigterm, own_token=own_token)

    def nodes(self) -> list[Node]:
        """The machines that are there now."""
        alive = [(one, one["Resources"]) for one in self.ray.nodes() if one["Alive"]]
        return [
            Node(one["NodeManagerAddress"], has.get("CPU", 0.0), has.get("GPU", 0.0), one["NodeID"])
            for one, has in alive
        ]

    def told(self) -> str:
        """What the machines have in all."""
        nodes = self.nodes()
        cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        return f"{len(nodes)} machines with {cpus:g} CPUs and {gpus:g} GPUs in all"

    def close(self) -> None:
        """Leave it. What SIGTERM does is as before: Ray puts a handler of its own there, and leaves it."""
        if not self._joined_before:
            self.ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._on_sigterm)
        if self._own_token:
            os.environ.pop(_TOKEN, None)


def cluster_address(settings: RaySettings) -> str | None:
    """Where the cluster is; None where this machine starts its own.

    Raises:
        UsageError: RAY_ADDRESS is that of Ray's client or of its jobs, which programs of the cluster do not join.
    """
    if settings.address != "auto":
        return None if settings.address == "local" else settings.address
    found = os.environ.get("RAY_ADDRESS")
    if found and "://" in found:
        raise UsageError(
            f"RAY_ADDRESS is {found}, where clients ask and jobs are handed in; run the session on a machine of the "
            "cluster, with the address that `ray start` showed, such as 10.0.0.5:6379",
            names=("ray.address",),
        )
    return None if found in {None, "", "local"} else found


def answered_elsewhere(settings: RaySettings) -> bool:
    """Whether other machines answer, whose models and adapters this one may not have."""
    return settings.address is not None and cluster_address(settings) is not None


def imported() -> Any:
    """Ray, its usage statistics off. Raises NotReadyError where it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        message = "Ray is not installed; pip install 'pytest-llmbench[ray]'"
        raise NotReadyError(message, names=("ray.address",)) from error
    return ray


def _start(ray: Any) -> None:
    """A cluster of this machine alone. Its processes are told of no Ctrl-C, and end with this one however it ends.

    Ray lets nobody in who does not know its token, and would write one into the home folder.
    """
    given = os.environ.get(_TOKEN)
    if given is None:
        os.environ[_TOKEN] = secrets.token_hex(32)
    try:
        ray.init(
            address="local",
            num_cpus=usable_cores(),
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        if given is None:
            del os.environ[_TOKEN]
        raise NotReadyError(f"Ray did not start on this machine: {error}", names=("ray.address",)) from error


def _knock(address: str, timeout_s: float) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        host, port = address, str(_PORT)
    told = "`ray status` on its head machine tells whether it runs, `ray start` tells the address"
    try:
        if address != _FOUND_BY_RAY:
            socket.create_connection((host, int(port)), timeout=min(_CONNECT_S, timeout_s)).close()
    except (OSError, OverflowError) as error:
        message = f"no Ray cluster can be reached at {address} ({error}); {told}"
        raise NotReadyError(message, names=("ray.address",)) from error
    fault = _asked_at(address, min(_KNOCK_S, timeout_s))
    if _SAID_OF_VERSIONS in fault:
        versions = fault.partition(_SAID_OF_VERSIONS)[2].lstrip(": ")
        message = f"the Ray cluster at {address} has other versions than this process: {versions}"
        raise NotReadyError(f"{message}; install the same Python and Ray on both", names=("ray.address",))
    if fault:
        message = f"no Ray cluster can be joined at {address} ({fault}); run the session on one of its machines"
        raise NotReadyError(f"{message}; {told}", names=("ray.address",))


def _asked_at(address: str, timeout_s: float) -> str:
    """What went wrong there; empty where nothing did."""
    command = [sys.executable, "-P", "-c", _KNOCK, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=Path.cwd())
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
