"""The files of a server's settings: YAML, Compose, a shell script, an environment file, a Kubernetes manifest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.context.serving.compose import compose
from pytest_llmbench.context.serving.containers import KEY_VARIABLES, container
from pytest_llmbench.context.serving.kubernetes import kubernetes
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import write_text

CONFIG, COMPOSE = "serving.yaml", "docker-compose.yml"
_WIDTH = 120
_NUMBER = re.compile(r"(?:[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|0o[0-7]+)$")
"""What YAML 1.2 takes for a number, which Docker and Kubernetes read; PyYAML would leave `1e5` without quotes."""


def write_all(config: OptimizedConfig, folder: Path, *, force: bool = False) -> list[Path]:
    """Write every file of the settings into a folder; their paths.

    The Kubernetes manifest is left out where files of this machine are served: a cluster does not have them.

    Raises:
        UsageError: one of them exists, without `force`; nothing is written then.
        NotReadyError: the disk refuses.
    """
    return write_files({folder / name: text for name, text in _texts(config, folder).items()}, force=force)


def write_files(texts: Mapping[Path, str], *, force: bool) -> list[Path]:
    """Write texts; their paths.

    Raises:
        UsageError: one of the files exists, without `force`; nothing is written then.
        NotReadyError: the disk refuses.
    """
    if there := [path for path in texts if path.exists()]:
        if not force:
            raise UsageError(f"{there[0]} exists; choose another folder or replace it", names=("serving.out", "force"))
        if folders := [path for path in there if path.is_dir()]:
            raise UsageError(f"{folders[0]} is a folder, and a file should be there", names=("serving.out",))
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def config_yaml(config: OptimizedConfig) -> str:
    """All settings with their reasons, as `OptimizedConfig.read` reads them."""
    return _yaml(config.model_dump(mode="json", exclude_none=True))


def compose_yaml(config: OptimizedConfig, folder: Path) -> str:
    """The Compose file that stands in a folder."""
    return _yaml(compose(config, folder))


def command_line(words: Sequence[str]) -> str:
    """A command as a shell takes it, a flag a line."""
    lines: list[str] = []
    for word in map(shlex.quote, words):
        if word.startswith("--"):
            lines.append(word)
        else:
            lines[-1:] = [f"{lines[-1]} {word}" if lines else word]
    return " \\\n  ".join(lines)


def _script(config: OptimizedConfig) -> str:
    key = KEY_VARIABLES.get(config.launch.engine)
    told = f"; takes its key from {key}, where that is set" if key else ""
    return f"#!/bin/sh\n# For {config.hardware}{told}.\nexec {command_line(config.command)}\n"


def _environment(config: OptimizedConfig) -> str:
    """What lets `pytest` and `llmbench` ask this server, without a key: that has no place in a file."""
    return "".join(f"{line}\n" for line in _variables(config))


def _variables(config: OptimizedConfig) -> Iterator[str]:
    launch = config.launch
    yield "# Ask this server: set -a; . ./serving.env; set +a; pytest -m context"
    yield f"LLMBENCH_SERVER=http://127.0.0.1:{launch.port}/v1"
    yield f"LLMBENCH_SERVER_MODEL={shlex.quote(launch.served_name or launch.model)}"
    if launch.lora:
        yield f"LLMBENCH_SERVER_ADAPTER={'lora:0' if launch.engine == 'llamacpp' else launch.lora[0].name}"
    names = ", ".join(["LLMBENCH_API_KEY (who asks)", *(f"{name} (the server)" for name in container(config).keys)])
    yield f"# Keys are read from the environment and are in no file: {names}"


def _manifest(config: OptimizedConfig) -> str:
    return "---\n".join(map(_yaml, kubernetes(config)))


def _texts(config: OptimizedConfig, folder: Path) -> dict[str, str]:
    """What each file of a folder holds."""
    texts = {
        CONFIG: config_yaml(config),
        COMPOSE: compose_yaml(config, folder),
        "serve.sh": _script(config),
        "serving.env": _environment(config),
    }
    return texts if container(config).mounts else {**texts, "kubernetes.yaml": _manifest(config)}


def _yaml(document: Any) -> str:
    """YAML without anchors: a part that stands twice is written twice, as people read it."""
    import yaml

    class _Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # as PyYAML calls it
            return True

    _Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
