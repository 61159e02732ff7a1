"""Below the faces a setting goes by its key; by which option it is given is added where the message is shown."""

from __future__ import annotations

import ast
import logging

from support.sources import modules

from pytest_llmbench.core.errors import ServerError, UsageError, named_in, naming, with_flags
from pytest_llmbench.core.setting_table import SETTINGS

FACES = {"plugin", "cli", "studio"}  # the studio starts the commands of both
FLAGS = {"server.url": "--server", "server.model": "--model", "resume": "--resume"}


def texts(tree: ast.Module) -> list[str]:
    """Whatever a module may say, and what it says of itself."""
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_no_module_below_the_faces_names_an_option_of_pytest() -> None:
    found = {
        name
        for name, tree in modules().items()
        if name.partition("/")[0] not in FACES and any("--llmbench-" in text for text in texts(tree))
    }
    assert found == set()


def test_settings_that_errors_name_are_there() -> None:
    written = {
        name.value
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "names" and isinstance(node.value, ast.Tuple)
        for name in node.value.elts
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and "." in name.value
    }
    assert written
    assert written <= set(SETTINGS)


def test_a_face_adds_its_own_options_and_none_that_it_has_not() -> None:
    error = ServerError("check server.url", names=("server.url", "model.base"), status=404)
    assert with_flags(str(error), error.names, FLAGS.get) == "check server.url (--server)"
    assert with_flags("all is well", (), FLAGS.get) == "all is well"
    said = error.saying("check server.url (--server)")
    assert (type(said), str(said), said.status) == (ServerError, "check server.url (--server)", 404)
    assert str(error) == "check server.url"


def test_a_warning_names_settings_itself_and_by_the_error_that_it_quotes() -> None:
    quoted = UsageError("resume it", names=("resume",))
    record = logging.LogRecord("pytest_llmbench", logging.WARNING, "", 0, "%s: %s", ("x", quoted), None)
    vars(record).update(naming("server.url"))
    assert with_flags(record.getMessage(), named_in(record), FLAGS.get) == "x: resume it (--server, --resume)"


def test_whatever_is_announced_goes_through_one_logger_of_one_name() -> None:
    written = [
        node
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "getLogger" in ast.unparse(node.value)
    ]
    ours = {ast.unparse(node) for node in written} - {"bitsandbytes = logging.getLogger('bitsandbytes')"}
    assert ours == {"_log = logging.getLogger('pytest_llmbench')"}
