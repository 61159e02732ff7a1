from __future__ import annotations

import fnmatch
import http.client
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import psutil
import pytest

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.tuning.command_launcher import CommandLauncher, flags
from pytest_llmbench.context.tuning.session import prepared
from pytest_llmbench.context.tuning.space import SearchSpace, Value
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.setting_sections import Engine
from pytest_llmbench.core.settings import Settings

LAUNCH = LaunchSettings(engine="vllm", model="org/model", max_context=4096, slots=8)
SERVER = """
import http.server, os, subprocess, sys, time
loaded = time.monotonic() + float(os.environ.get("LOADS_FOR", 0))
child = subprocess.Popen(["sleep", "60"])  # as engines have worker processes
print("slots", sys.argv[2], "child", child.pid, flush=True)
class Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        locked = sys.argv[4:] and self.headers.get("Authorization") != "Bearer " + sys.argv[4]
        loading = self.path == "/health" and time.monotonic() < loaded
        self.send_response(401 if locked else 503 if loading else 200 if self.path == "/v1/models" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
open(sys.argv[3], "w").write(str(child.pid))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Models).serve_forever()
"""


def space_of(launcher: CommandLauncher, vary: dict[str, tuple[Value, ...]] | None = None) -> SearchSpace:
    return SearchSpace(LAUNCH, vary or {"slots": (4, 8)}, {}, {}, launcher.own_names)


@pytest.fixture
def program(tmp_path: Path) -> str:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return shlex.join([sys.executable, str(script)])


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_server_is_ready_inside_the_block_and_gone_after_it_with_its_children(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "subprocess.py").write_text("")  # a file of the user's is no module of ours
    monkeypatch.chdir(folder)
    launcher = CommandLauncher(f"{program} {{port}} {{slots}} {tmp_path}/child", 20, logs=tmp_path / "logs")
    with launcher.launch(space_of(launcher).baseline) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.url.endswith("/v1")
        assert server.why_gone() is None
        child = int((tmp_path / "child").read_text())
    assert gone(server.pid)
    assert gone(child)
    assert not list((tmp_path / "logs").iterdir())


def test_a_server_that_lists_its_models_while_it_loads_is_waited_for(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADS_FOR", "0.5")
    launcher = CommandLauncher(f"{program} {{port}} {{slots}} {tmp_path}/child", 20)
    with launcher.launch(space_of(launcher).baseline) as server:
        asked = http.client.HTTPConnection("127.0.0.1", urllib.parse.urlsplit(server.url).port)
        asked.request("GET", "/health")
        assert asked.getresponse().status == 404  # 503 while it loads
        asked.close()


def test_a_server_that_wants_a_key_is_sent_that_of_the_questions_and_told_at_once_where_it_refuses_it(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = f"{program} {{port}} {{slots}} {tmp_path}/child our-own-key"
    monkeypatch.setenv("LLMBENCH_API_KEY", "our-own-key")
    tuned = {"engine": "vllm", "command": template, "vary": {"slots": [4, 8]}}
    known, space = prepared(Settings.model_validate({"tune": tuned}))
    with known.launch(space.baseline) as server:
        assert server.why_gone() is None
    unknown = CommandLauncher(template, 60)
    begun = time.monotonic()
    with (
        pytest.raises(NotReadyError, match=r"refuses the key \(HTTP 401\); set .* LLMBENCH_API_KEY"),
        unknown.launch(space_of(unknown).baseline),
    ):
        pass
    assert time.monotonic() - begun < 30


def test_a_server_is_gone_when_whoever_started_it_is_killed(program: str, tmp_path: Path) -> None:
    template = f"{program} {{port}} {{slots}} {tmp_path}/child"
    parent = (
        "import sys, time; from test_command_launcher import *; launcher = CommandLauncher(sys.argv[1], 20)\n"
        "with launcher.launch(space_of(launcher).baseline) as server:\n"
        "    print(server.pid, flush=True); time.sleep(60)"
    )
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", parent, template], stdout=subprocess.PIPE, env=place) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert gone(pid)
    assert gone(int((tmp_path / "child").read_text()))


def test_a_server_that_does_not_start_is_told_with_its_last_words_and_what_it_said_is_kept(tmp_path: Path) -> None:
    script, logs = tmp_path / "broken.py", tmp_path / "logs"
    script.write_text(
        "import sys; print('one', 'two', '\\033[0;36mloading\\033[0m', sep='\\n'); sys.exit('out of memory')"
    )
    launcher = CommandLauncher(f"{shlex.join([sys.executable, str(script)])} {{port}} {{flags}}", 20, logs=logs)
    with (
        pytest.raises(
            NotReadyError, match="with code 1: two / loading / out of memory; all that it said is in"
        ) as told,
        launcher.launch(space_of(launcher).baseline),
    ):
        pass
    (kept,) = logs.iterdir()
    assert str(told.value).endswith(str(kept))
    assert kept.read_text().startswith("one")


def test_a_server_whose_last_exception_points_to_the_one_before_is_told_with_both(tmp_path: Path) -> None:
    said = """(EngineCore pid=7) ERROR 11-30 [core.py:1510] ValueError: No available memory
    raise ValueError(
ValueError: No available memory
RuntimeError: Engine core initialization failed. See root cause above.
resource_tracker.py:254: UserWarning: 1 leaked object
  warnings.warn("""
    (tmp_path / "said").write_text(said)
    launcher = CommandLauncher(f"sh -c 'cat {tmp_path}/said; exit 1' {{port}} {{flags}}", 20)
    both = r"with code 1: ValueError: No available memory / RuntimeError: Engine core .* See root cause above\.$"
    with pytest.raises(NotReadyError, match=both), launcher.launch(space_of(launcher).baseline):
        pass


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("kill -9 $$", "code -9: ImportError: No module named 'flashinfer' / loading"),
        ("exit 137", "code 137: ImportError: No module named 'flashinfer' / loading"),
        ("exit 3", "code 3: ImportError: No module named 'flashinfer'"),
        ("seq 200; exit 3", "code 3: 198 / 199 / 200"),
    ],
)
def test_an_exception_is_no_reason_of_a_server_that_was_killed_or_went_on_for_long(then: str, told: str) -> None:
    said = """echo "ImportError: No module named 'flashinfer'"; echo loading"""
    launcher = CommandLauncher(f"sh -c {shlex.quote(f'{said}; {then}')} {{port}} {{flags}}", 20)
    with pytest.raises(NotReadyError, match=f"{re.escape(told)}$"), launcher.launch(space_of(launcher).baseline):
        pass


def test_an_exception_of_before_a_server_was_ready_is_no_reason_why_it_ended_later(
    tmp_path: Path, program: str
) -> None:
    script = f"echo 'ImportError: no flashinfer'; {program} $1 4 {tmp_path}/child & served=$!; wait $served; exit 1"
    launcher = CommandLauncher(f"sh -c {shlex.quote(script)} sh {{port}} {{flags}}", 20)
    with launcher.launch(space_of(launcher).baseline) as server:
        psutil.Process(server.pid).children()[0].kill()
        for _ in range(100):
            if why := server.why_gone():
                break
            time.sleep(0.05)
    assert why is not None
    assert why.startswith("it ended with code 1: ImportError: no flashinfer / slots 4 child")


def test_a_server_that_is_never_ready_is_given_up() -> None:
    launcher = CommandLauncher("sh -c 'echo loading; sleep 60' {port} {flags}", 0.5)
    with (
        pytest.raises(NotReadyError, match=r"not ready after 0\.5 s; raise tune\.start_timeout, .*: loading"),
        launcher.launch(space_of(launcher).baseline),
    ):
        pass


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp"])
def test_all_settings_go_to_an_engine_without_a_template(engine: Engine) -> None:
    launch = LAUNCH.model_copy(update={"engine": engine})
    launcher = CommandLauncher.of_engine(launch, 1)
    command = launcher.filled(SearchSpace(launch, {"slots": (4, 8)}, {}).baseline, 1234)
    assert command.count("--port") == command.count("--host") == 1
    assert command[command.index("--port") + 1] == "1234"
    assert command[-len(flags(launch)) :] == flags(launch.model_copy(update={"slots": 4}))
    assert launch.model in command


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_baseline_tells_the_engine_nothing_that_it_chooses_itself(engine: Engine) -> None:
    tuned = {"engine": engine, "command": "sh {port} {flags}"}
    _, space = prepared(Settings.model_validate({"tune": tuned, "model": {"device": "cuda"}}))
    told = flags(space.baseline.launch)
    assert [word for word in told if word.startswith("--")] == {
        "vllm": ["--max-model-len"],
        "sglang": ["--context-length", "--enable-metrics"],
    }[engine]
    slots = next(one for one in space.parameters if one.name == "slots")
    assert slots.choices == (None, 16, 32, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("told", "driver", "flags_of"),
    [
        ("cpu", "nvidia0", 1),
        ("cuda", "", 0),
        ("auto", "", 1),
        ("auto", "nvidia0", 0),
        ("auto", "kfd", 0),
        ("auto", "nvidia-smi", 0),
        ("auto", "darwin", 0),
    ],
)
def test_servers_compute_on_the_device_of_the_settings_or_on_a_gpu_unless_surely_none_is_there(
    told: str, driver: str, flags_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # tune's own extras bring neither it nor PyTorch
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "platform", "darwin" if driver == "darwin" else "linux")
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: driver == name or None if name == "nvidia-smi" else which(name))
    monkeypatch.setattr(
        Path, "glob", lambda _, pattern: iter([Path(driver)] if fnmatch.fnmatch(driver, pattern) else [])
    )
    tuned = {"engine": "sglang", "command": "sh {port} {flags}"}
    _, space = prepared(Settings.model_validate({"tune": tuned, "model": {"device": told}}))
    assert flags(space.baseline.launch).count("--device") == flags_of


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
def test_an_adapter_that_a_command_would_not_serve_is_refused(engine: Engine) -> None:
    given: dict[str, dict[str, object]] = {
        "tune": {"engine": engine, "command": "sh {port} {flags}"},
        "model": {"adapter": "adapters/mine", "device": "cpu"},
    }
    with pytest.raises(UsageError, match=r"adapters/mine would not be served: give it as tune\.fixed: \{lora: \["):
        prepared(Settings.model_validate(given))
    given["tune"]["fixed"] = {"lora": [{"name": "mine", "path": "adapters/mine"}]}
    assert "adapters/mine" in " ".join(flags(prepared(Settings.model_validate(given))[1].baseline.launch))


def test_a_place_in_a_template_has_the_first_value_where_the_engine_would_be_left_its_own() -> None:
    tuned = {"engine": "vllm", "command": "sh {port} {slots} {kv_type}", "vary": {"slots": [64, 128]}}
    _, space = prepared(Settings.model_validate({"tune": {**tuned, "fixed": {"kv_type": "fp8"}}}))
    assert space.baseline.values == {"slots": 64}
    tuned["vary"] = {"slots": [128, 64]}  # the first that the user wrote, not the least
    _, space = prepared(Settings.model_validate({"tune": tuned}))
    assert space.baseline.values == {"slots": 128}


@pytest.mark.parametrize(("engine", "fp8"), [("vllm", "fp8"), ("sglang", "fp8_e4m3")])
def test_a_place_in_a_template_has_a_usual_value_in_the_baseline_where_the_user_varies_nothing(
    engine: Engine, fp8: str
) -> None:
    tuned = {"engine": engine, "command": "sh {port} {slots} {gpu_memory_share} {kv_type} {flags}"}
    launcher, space = prepared(Settings.model_validate({"tune": tuned}))
    assert isinstance(launcher, CommandLauncher)
    assert launcher.filled(space.baseline, 7)[2:5] == ["256", "0.9", "auto"]
    smaller = space.candidate({**space.baseline.values, "slots": 16, "kv_type": "fp8"})
    assert launcher.filled(smaller, 7)[2:5] == ["16", "0.9", fp8]
    assert [one.choices[0] for one in space.parameters] == [16, None, 0.8, None]


def test_a_place_in_a_template_that_is_not_varied_has_its_usual_value() -> None:
    tuned = {"engine": "vllm", "command": "sh {port} {slots} {policy}", "vary": {"policy": ["fcfs", "priority"]}}
    launcher, space = prepared(Settings.model_validate({"tune": tuned}))
    assert isinstance(launcher, CommandLauncher)
    assert launcher.filled(space.baseline, 7) == ["sh", "7", "256", "fcfs"]


def test_a_place_in_a_template_without_a_usual_value_is_asked_for() -> None:
    tuned: dict[str, object] = {"engine": "vllm", "command": "sh {port} {batch_tokens} {flags}"}
    with pytest.raises(UsageError, match=r"\{batch_tokens\} has no value in some trial; give it one in tune\.baseline"):
        prepared(Settings.model_validate({"tune": tuned}))
    _, space = prepared(Settings.model_validate({"tune": {**tuned, "baseline": {"batch_tokens": 8192}}}))
    assert space.baseline.values["batch_tokens"] == 8192


def test_fine_tunes_are_served_beside_the_base_in_each_trial() -> None:
    fixed = {"lora": [{"name": "routing", "path": "adapters/routing"}], "gpu_memory_share": 0.9}
    space = SearchSpace(LAUNCH, {"tensor_parallel": (1, 2), "kv_type": (None, "fp8")}, {}, fixed)
    words = " ".join(flags(space.candidate({"tensor_parallel": 2, "kv_type": "fp8"}).launch))
    assert "--lora-modules routing=adapters/routing" in words
    assert "--tensor-parallel-size 2" in words
    assert "--kv-cache-dtype fp8" in words
    assert "--kv-cache-dtype" not in flags(space.baseline.launch)


def test_names_of_the_template_alone_can_be_varied_and_other_braces_stay() -> None:
    launcher = CommandLauncher("""run {image} -p {port}:8000 --json '{"a": 1}' --policy {policy} {context}""", 1)
    own = SearchSpace(LAUNCH, {"policy": ("fcfs", "lpm")}, {}, {"image": "engine:1"}, launcher.own_names)
    command = launcher.filled(own.candidate({"policy": "lpm"}), 7)
    assert command == ["run", "engine:1", "-p", "7:8000", "--json", '{"a": 1}', "--policy", "lpm", "4096"]


@pytest.mark.parametrize(
    ("template", "vary", "told"),
    [
        ("vllm serve {model} {flags}", {}, r"tune\.command: has no \{port\}"),
        ("", {}, r"tune\.command: is empty"),
        ("sh 'x {port}", {}, r"tune\.command: No closing quotation"),
        ("sh {port} {slots}", {"batch_tokens": (1, 2)}, r"batch_tokens is varied and not in the command"),
        ("sh {port} {batch_tokens}", {"batch_tokens": (None, 2)}, r"\{batch_tokens\} has no value in some trial"),
        ("sh {port} {slots} {polcy}", {"slots": (1, 2)}, r"\{polcy\} is no setting, nor varied or fixed"),
    ],
)
def test_a_template_that_cannot_work_is_refused_before_anything_starts(
    template: str, vary: dict[str, tuple[Value, ...]], told: str
) -> None:
    def check() -> None:
        launcher = CommandLauncher(template, 1)
        launcher.check(space_of(launcher, vary))

    with pytest.raises(UsageError, match=told):
        check()


@pytest.mark.parametrize(
    ("tuned", "told"),
    [
        (
            {"command": "sh {port} {slots}", "fixed": {"gpu_memory_share": 0.9}},
            r"gpu_memory_share is set and not in the command; write \{gpu_memory_share\}, or \{flags\} for all",
        ),
        ({"command": "sh {port} {slots}", "baseline": {"batch_tokens": 2048}}, r"batch_tokens is set and not in the"),
        (
            {"command": "sh {port} {flags}", "fixed": {"threads": 4}},
            r"threads is set and not in the command; write \{threads\}; vllm has no option of that name",
        ),
        ({"command": "sh {port} {flags}", "fixed": {"max_lora_rank": 8}}, r"max_lora_rank is set and not in the"),
        ({"fixed": {"max_lora_rank": 16}}, r"in the command; it has no effect without tune\.fixed lora; give one$"),
        (
            {"engine": "llamacpp", "command": "sh {port} {flags}", "fixed": {"max_lora_rank": 16}},
            r"write \{max_lora_rank\}; llamacpp has no option of that name$",
        ),
    ],
)
def test_a_value_that_never_reaches_the_command_is_refused(tuned: dict[str, object], told: str) -> None:
    wanted = Settings.model_validate({"tune": {"engine": "vllm", "vary": {"slots": [2, 4]}, **tuned}})
    with pytest.raises(UsageError, match=told):
        prepared(wanted)


def test_values_that_reach_the_server_by_their_place_or_its_flags_are_taken() -> None:
    tuned = {"engine": "vllm", "command": "sh {port} {threads} {kv_type} {flags}", "vary": {"slots": [2, 4]}}
    fixed = {"threads": 4, "kv_type": "fp8", "tensor_parallel": 2, "device": "cuda"}
    _, space = prepared(Settings.model_validate({"tune": {**tuned, "fixed": fixed, "baseline": {"slots": 4}}}))
    assert space.baseline.launch.threads == 4


def test_a_program_that_is_not_there_is_no_launcher() -> None:
    launcher = CommandLauncher("no-such-server --port {port} {flags}", 1)
    with pytest.raises(NotReadyError, match="nothing here can start a server: there is no program 'no-such-server'"):
        launcher.check(space_of(launcher))


def test_an_engine_that_a_python_lacks_is_told_before_anything_starts() -> None:
    launcher = CommandLauncher(f"{shlex.quote(sys.executable)} -m no_such_engine.serve --port {{port}} {{flags}}", 1)
    with pytest.raises(NotReadyError, match="has no package 'no_such_engine'; install it there, or give another"):
        launcher.check(space_of(launcher))
