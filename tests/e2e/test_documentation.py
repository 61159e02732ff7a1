"""Every code block of the README and the documentation, run in order in a project that `llmbench init` made.

The commands are those of the page, word for word, but for a server's port and a base that would be downloaded. The
project is small, so that a page takes seconds: a tiny model and adapter in the place of the default ones, a few rows, a
server that answers soon. A block that no rule below runs or reads fails its page.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from markdown_it import MarkdownIt
from support.context_server import context_server
from support.fake_chat_server import FakeChatServer, well
from support.known_context import KnownContext
from support.tiny_models import save_adapter
from support.tiny_training import rows, save_tiny_model, write_rows
from support.warm_commands import warm_commands

from pytest_llmbench.cases.suites import Vocabulary, load_cases, load_vocabulary
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.registry import load_registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = (
    *("make ", "pip install ", "python -m venv ", "vllm/bin/pip ", "accelerate launch ", "llmbench tune "),
    *("llmbench studio", "curl ", "zcat "),
    *(f"pytest -m benchmark --llmbench-{option} " for option in ("engine", "chunk")),
)
"""What other tests run: CI itself, recipes, trainings in several processes, a tuning, the studio, engines, chunks."""
VERDICTS = ("--llmbench-require-users", "test_of_the_page.py --llmbench-server")
"""What may end with 1: that so small a server does not reach its mark is an answer too."""
BASE = "tiny"
LIGHT = {
    "CONTEXT__DEPTHS": "[0.5]",
    "CONTEXT__KINDS": '["one"]',
    "CONTEXT__LANGUAGES": "en",
    "CONTEXT__PROBES": "5",
    "BENCHMARK__LIMIT": "3",
    "GENERATION__BATCH_SIZE": "16",  # measuring what is best takes a second or two
    "GENERATION__MAX_NEW_TOKENS": "4",
    "GENERATION__THREADS": "1",
    "FINETUNE__BATCH_SIZE": "8",
    "FINETUNE__LEARNING_RATE": "0.02",
    "FINETUNE__MAX_LENGTH": "64",
    "FINETUNE__LOSS_FALL": "0.8",
    "FINETUNE__MEMORY_MARGIN": "1000",  # what PyTorch itself takes is more than so small a model
    "FINETUNE__STEPS": "48",
    "FINETUNE__TOOLS": "null",
    "LOAD__BUDGET": "60",
    "LOAD__COOLDOWN": "0",
    "LOAD__MAX_HISTORY": "2",
    "LOAD__MAX_TOKENS": "16",
    "LOAD__MAX_USERS": "2",
    "LOAD__PROCESSES": "1",
    "LOAD__TEMPERATURES": "[0.0, 0.7]",
    "METRICS__CALL_FORM": "mention",  # the tools of so few words are verbs
    "MODEL__DEVICE": "cpu",
    "MODEL__QUANTIZATION": "none",
    "OUTPUT__PNG": "false",
}


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    where: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What a reader would type, continued lines joined, without what is said of it."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line[2:].partition("  #")[0].strip() for line in joined if line.startswith("$ ")]


@dataclass(frozen=True)
class Project:
    """A project that `llmbench init` made, and the servers that a page speaks of: their URLs by the port it names.

    `commands` is the folder of those that start at once.
    """

    path: Path
    servers: Mapping[str, str]
    commands: Path

    def run(self, command: str, where: str) -> None:
        """Run a command as a reader would, and expect that it ends well."""
        for port, url in self.servers.items():
            command = command.replace(f"http://127.0.0.1:{port}", url)
        command = command.replace("--base qwen2.5:1.5b", f"--base {BASE}")
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.path,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        well = {0, 1} if any(verdict in command for verdict in VERDICTS) else {0}
        assert done.returncode in well, f"{where}: {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def write(self, name: str, text: str) -> None:
        """Write one file of the project."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_")}
        light = {f"LLMBENCH_{name}": value for name, value in LIGHT.items()}
        return {
            **inherited,
            **light,
            **{
                f"GIT_{who}_{what}": "reader@example.org"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
            "LLMBENCH_MODEL__BASE": BASE,
            "LLMBENCH_CACHE_DIR": str(self.path / "cache"),
            "PATH": f"{self.commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTEST_ADDOPTS": "-p no:hypothesispytest",  # a reader has none; it imports Hypothesis when a session ends
            "STAGING": f"{self.servers['8080']}/v1",
        }


async def unhurried(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """A proper answer after a moment: one that comes at once lets a search spend its requests on the warm-up."""
    await asyncio.sleep(0.05)
    return await well("monte son")(server, request)


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warm_commands(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path, commands: Path) -> Iterator[Project]:
    several = FakeChatServer(unhurried, models=("base", "finetuned", "my-lora", "qwen"))
    single = FakeChatServer(unhurried, models=("base",))
    made = Project(tmp_path / "project", {"8000": several.url, "8080": single.url}, commands)
    for folder in (made.path, tmp_path / "assistant"):  # a page begins a second project
        shutil.copytree(tiny_base, folder / BASE)  # by a name, for an adapter's record has no more of it
    made.run("llmbench init && git init --quiet", "init")
    save_adapter(made.path / BASE, made.path / "adapters/first", init_lora_weights=False)
    write_rows(made.path / "data/train.jsonl", rows(80))
    write_rows(made.path / "data/heldout.jsonl", rows(20))
    yield made
    several.close()
    single.close()


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT)
    return [
        Block(f"{name}:{(token.map or [0])[0] + 1}", token.info, token.content)
        for token in tokens
        if token.type == "fence"
    ]


def run_commands(block: Block, project: Project) -> None:
    """In one shell, so that a folder that is entered stays entered. What docs print is not run again for the README."""
    assert block.commands, f"{block.where}: a console block without a command"
    known = printed_in_docs() if block.where.startswith("README") else frozenset()
    wanted = [one for one in block.commands if not one.startswith(ELSEWHERE) and one not in known]
    if wanted:
        project.run("\n".join(wanted), block.where)


@functools.cache
def printed_in_docs() -> frozenset[str]:
    return frozenset(one for page in PAGES[1:] for block in blocks(page) for one in block.commands)


def run_python(block: Block, project: Project) -> None:
    """A test is run, a hook is called by the run that it changes, and anything else is a script."""
    if "def test_" in block.text:
        project.write("test_of_the_page.py", block.text)
        question = next((one for one in ("autotune", "context") if f"mark.{one}" in block.text), "benchmark")
        server = f"--llmbench-server {project.servers['8080']}/v1" if question != "benchmark" else ""
        project.run(f"pytest -m {question} test_of_the_page.py {server}", block.where)
    elif "def pytest_llmbench_" in block.text:
        project.write("conftest.py", block.text)
        trained = "finetune -k loss" if "trainer" in block.text else "benchmark"
        project.run(f"pytest -m {trained}", block.where)
    else:
        project.write("script_of_the_page.py", block.text)
        project.run("python script_of_the_page.py", block.where)


def read_yaml(block: Block, project: Project) -> None:
    content = yaml.safe_load(block.text)
    if "cases" in content:
        project.write("suite_of_the_page.yaml", block.text)
        vocabulary = load_vocabulary(project.path / "prompts/tools.yaml")
        assert load_cases([project.path / "suite_of_the_page.yaml"], vocabulary)
    elif "tools" in content:
        project.write("prompts/tools.yaml", block.text)
        assert load_vocabulary(project.path / "prompts/tools.yaml").tools
    elif "models" in content:
        project.write("models_of_the_page.yaml", block.text)
        assert load_registry(project.path / "models_of_the_page.yaml")
    elif not content.keys() & {"jobs", "stages"}:  # the recipes have a test of their own
        Settings.model_validate(content)


def read_jsonl(block: Block, project: Project) -> None:
    cases = map(json.loads, block.text.splitlines()[1:])
    suite = project.path / "suite_of_the_page.jsonl"
    suite.write_text(block.text, encoding="utf-8")
    assert load_cases([suite], Vocabulary({case["tool"]: () for case in cases}))


RULES: dict[str, Callable[[Block, Project], None]] = {
    "console": run_commands,
    "python": run_python,
    "yaml": read_yaml,
    "json": read_jsonl,
    "text": lambda _block, _project: None,  # what something prints
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs_as_printed(page: Path, project: Project) -> None:
    found = blocks(page)
    assert all(block.language in RULES for block in found), [block.where for block in found]
    with context_server(KnownContext(limit=2000), announced=2001) as long:
        if page.stem == "context":  # it reads whole prompts, where the others answer anything alike
            url = long.url.removesuffix("/v1")
            project = dataclasses.replace(project, servers=dict.fromkeys(project.servers, url))
        for block in found:
            RULES[block.language](block, project)
