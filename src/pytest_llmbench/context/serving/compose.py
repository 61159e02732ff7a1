"""A server as a `docker-compose.yml`, valid by the schema of the Compose specification."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pytest_llmbench.context.serving.containers import CACHE, START_S, Container, container
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
"""What no service may be called by: a model that is tuned may be a path or an id of the hub."""


def compose(config: OptimizedConfig, folder: Path) -> dict[str, Any]:
    """The Compose file that stands in a folder; its port is published on this machine only.

    GPUs are reserved by `deploy.resources.reservations.devices`: the short `gpus:` is refused by older Compose and by
    the schema. Variables without a value are passed on where the caller has them: keys are never in the file.
    """
    return {"services": {re.sub(_NO_NAME, "-", config.model).strip("-."): _service(config, container(config), folder)}}


def _service(config: OptimizedConfig, box: Container, folder: Path) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": box.image,
        "command": list(map(_literal, box.command)),
        "environment": dict.fromkeys(box.keys),
        "ports": [f"127.0.0.1:{box.port}:{box.port}"],
        "volumes": [
            f"${{HF_HOME:-~/.cache/huggingface}}:{CACHE}",
            *(_mount(_from(folder, there), place) for place, there in box.mounts.items()),
        ],
        "healthcheck": {
            "test": ["CMD", *box.health],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{START_S}s",
        },
        "restart": "unless-stopped",
    }
    if config.launch.engine != "llamacpp":
        service["ipc"] = "host"  # PyTorch's processes share memory
    if box.gpus:
        gpu = {"driver": "nvidia", "count": box.gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [gpu]}}}
    return service


def _mount(there: str, place: str) -> dict[str, Any]:
    """A file or folder of this machine, in the long form: a colon in a name would split the short one."""
    return {"type": "bind", "source": _literal(there), "target": _literal(place), "read_only": True}


def _literal(text: str) -> str:
    """A text in which Compose fills in no variable."""
    return text.replace("$", "$$")


def _from(folder: Path, path: str) -> str:
    """A path as it is seen from the Compose file; a bare name would be a volume."""
    if Path(path).is_absolute():
        return path
    seen = Path(os.path.relpath(path, folder)).as_posix()
    return seen if seen.startswith(".") else f"./{seen}"
