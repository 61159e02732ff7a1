"""A server as a Kubernetes manifest: a deployment, its service, and the claim that keeps what is downloaded."""

from __future__ import annotations

import re
from typing import Any

from pytest_llmbench.context.serving.containers import CACHE, START_S, Container, container
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.models.memory.weights import GIB

_PERIOD_S = 10
_LONGEST_NAME = 63
_SECRET = "llm-keys"  # noqa: S105  # the name of a secret


def kubernetes(config: OptimizedConfig) -> list[dict[str, Any]]:
    """The documents of the manifest. Keys come from the secret `llm-keys`, where the cluster has one.

    Files of this machine, an adapter or a GGUF, are not brought along: see `Container.mounts`.
    """
    box = container(config)
    name = f"llm-{re.sub('[^a-z0-9]+', '-', config.model.lower())}"[:_LONGEST_NAME].strip("-")
    labels = {"app": name}
    return [
        _claim(config, name),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},  # a second one would wait for the GPU of the first
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(config, box, name)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": box.port, "targetPort": "http"}]},
        },
    ]


def _claim(config: OptimizedConfig, name: str) -> dict[str, Any]:
    size = 2 * config.memory["weights"] // GIB + 1
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{size}Gi"}}},
    }


def _pod(config: OptimizedConfig, box: Container, name: str) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": _PERIOD_S}
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": name}}]
    mounts = [{"name": "models", "mountPath": CACHE}]
    if config.launch.engine != "llamacpp":  # PyTorch's processes share memory
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108  # the container's
    server = {
        "name": "server",
        "image": box.image,
        "args": box.command,
        "env": [_from_secret(name) for name in box.keys],
        "ports": [{"name": "http", "containerPort": box.port}],
        "startupProbe": {**probe, "failureThreshold": START_S // _PERIOD_S},
        "readinessProbe": probe,
        "livenessProbe": probe,
        "resources": _resources(config),
        "volumeMounts": mounts,
    }
    return {"containers": [server], "volumes": volumes}


def _from_secret(name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": _SECRET, "key": name, "optional": True}}}


def _resources(config: OptimizedConfig) -> dict[str, Any]:
    if config.gpus:
        return {"limits": {"nvidia.com/gpu": config.gpus}}
    needed = sum(size for part, size in config.memory.items() if part != "free")
    return {"requests": {"memory": f"{needed // GIB + 1}Gi"}}
