"""What is missing or refuses is one message and an exit code; what was found before is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fake_chat_server import FakeChatServer, well
from support.limits_project import SEARCHED, URL, LimitsProject

FOUND = """\
import pytest_llmbench.autotune.targets as discovery

async def found(*_):
    return [discovery.FoundServer(*one) for one in {servers}]

discovery.find_servers, ServerDouble.asks = found, discovery.find_servers

def pytest_sessionfinish():
    discovery.find_servers = ServerDouble.asks
"""
ONE, OTHER = ("http://127.0.0.1:8080", "llama.cpp", ("small",)), ("http://127.0.0.1:8000", "vLLM", ("large",))
UNNAMED = ("-m", "autotune", "-k", "users")
STOPPED = """\
import asyncio, os, signal

class ServerDouble(ServerDouble):
    async def max_history(self):
        await super().max_history()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)
"""


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    serving = FakeChatServer(well())
    yield serving
    serving.close()


def assert_one_message(result: pytest.RunResult, message: str, exit_code: int) -> None:
    assert result.ret == exit_code
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_one_server_that_is_found_is_used_and_announced(limits: LimitsProject) -> None:
    limits.double(FOUND.format(servers=[ONE]))
    result = limits.run(*UNNAMED)
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(["llmbench: no server was named: testing http://127.0.0.1:8080 (llama.cpp, small)"])
    assert limits.document()["targets"][0]["url"] == ONE[0]


def test_no_server_is_told_with_what_was_looked_at(limits: LimitsProject) -> None:
    limits.double(FOUND.format(servers=[]))
    assert_one_message(
        limits.run(*UNNAMED), "*none answers on the usual local ports*11434 Ollama*--llmbench-server*", 3
    )


def test_several_servers_are_told_and_none_is_taken(limits: LimitsProject) -> None:
    limits.double(FOUND.format(servers=[ONE, OTHER]))
    message = "*several servers answer: http://127.0.0.1:8080 (llama.cpp, small); http://127.0.0.1:8000*"
    assert_one_message(limits.run(*UNNAMED), message, 2)
    assert limits.asked() == []


@pytest.mark.parametrize("strict", ["", "--strict-markers"])
def test_without_pytest_asyncio_it_is_told_what_to_install(limits: LimitsProject, strict: str) -> None:
    limits.write("pytest.ini", f"[pytest]\naddopts = {strict}\n")
    result = limits.run_alone(*SEARCHED, "-p", "no:asyncio", "-W", "error")
    result.assert_outcomes(skipped=3, deselected=1)
    result.stdout.fnmatch_lines(
        ["llmbench: 3 skipped without pytest-asyncio: pip install 'pytest-llmbench[[]autotune]'"]
    )
    assert "arning" not in result.stdout.str() + result.stderr.str()
    assert limits.asked() == []


def test_a_required_number_of_users_is_not_passed_over_without_pytest_asyncio(limits: LimitsProject) -> None:
    result = limits.run(*SEARCHED, "-p", "no:asyncio", "--llmbench-require-users", "5")
    assert_one_message(result, "*5 users are required*pytest-llmbench[[]autotune]*", 3)


def test_nobody_at_the_address_is_exit_code_3(limits: LimitsProject) -> None:
    (limits.path / "conftest.py").unlink()
    assert_one_message(limits.run("-m", "autotune", "--llmbench-server", URL), f"! {URL}: *start the server* !", 3)


def test_an_unknown_model_and_a_refused_key_are_exit_code_3(limits: LimitsProject, server: FakeChatServer) -> None:
    (limits.path / "conftest.py").unlink()
    asked = ("-m", "autotune", "--llmbench-server", server.url)
    server.listing = {"data": [{"id": "smol", "owned_by": "vllm"}]}
    assert_one_message(limits.run(*asked, "--llmbench-server-model", "large"), '*has no model *large*serves "smol"*', 3)
    server.status = 401
    assert_one_message(limits.run(*asked), f"*{server.url}*LLMBENCH_API_KEY*", 3)


def test_a_wrong_setting_is_exit_code_2(limits: LimitsProject) -> None:
    assert_one_message(limits.run(*SEARCHED, "--llmbench-latency", "soon"), "*--llmbench-latency: load.latency:*", 2)


def test_a_folder_that_cannot_be_written_is_told(limits: LimitsProject) -> None:
    limits.write("taken", "")
    result = limits.run(*SEARCHED, "--llmbench-report-dir", "taken")
    assert_one_message(result, "ERROR: cannot write taken/*", 3)


def test_limits_that_cannot_be_written_are_told_all_the_same(limits: LimitsProject) -> None:
    limits.write("taken", "")
    limits.settings(out="taken/limits.json")
    result = limits.run(*SEARCHED)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["11 users*"])
    result.stdout.fnmatch_lines(["ERROR: cannot write taken/limits.json*"])


def test_a_fault_in_mid_session_keeps_what_was_found(limits: LimitsProject) -> None:
    limits.double(
        """\
class ServerDouble(ServerDouble):
    async def max_history(self):
        raise ServerError("it went away; start it again")

from server_double import ServerError
"""
    )
    assert_one_message(limits.run(*SEARCHED), "*it went away; start it again*", 3)
    assert set(limits.document()["targets"][0]["findings"]) == {"users"}
    assert limits.limits()["max_concurrent_users"] == 11


def test_ctrl_c_keeps_what_was_found_and_says_how_to_go_on(limits: LimitsProject) -> None:
    limits.double(STOPPED)
    result = limits.run_alone("-p", "no:randomly", *SEARCHED)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["note: stopped in mid-search: history*go on with --llmbench-resume", "11 users*"])
    assert set(limits.document()["targets"][0]["findings"]) == {"users"}
    assert (limits.path / "asked.closed").exists()
