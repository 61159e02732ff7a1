"""`llmbench init`: the files that it gives a project to edit, in the project's language."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import replacing
from pytest_llmbench.core.starter import CONFIG, SUITES, VOCABULARY_FILE, starter_folder

_DEMO_LANGUAGE = "fr"
"""The language of the demo adapter and of the starter files that are in no folder of a language."""

_SKELETON = "skeleton"
_PROMPTS, _DATA, _ADAPTERS = Path("prompts"), Path("data"), Path("adapters")
_VOCABULARY = _PROMPTS / VOCABULARY_FILE
_DATA_FILES = ("templates.yaml", "train.jsonl", "heldout.jsonl", "example.csv", "chunks.jsonl")
_SUITES = {".yaml", ".yml", ".json", ".jsonl", ".csv"}
_NAMED = re.compile(rb"""^language:[ \t]*["']?([A-Za-z][A-Za-z_-]+)""", re.MULTILINE)
_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.IGNORECASE)
_REPORTS = ("en", "fr")
_COMMENTS = 32  # the column of the settings file that comments stand in

_ADAPTERS_README = """\
Adapters of this project, one folder each, such as `llmbench finetune data/example.csv --output adapters/mine` writes.
`model.adapter: auto` compares the newest that fits the base. Without this folder it
would be the packaged demo's.
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The project to start in.")] = Path(),
    *,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Of suites, data and reports: en or fr; of another, a skeleton to fill in."),
    ] = None,
    with_demo: Annotated[bool, typer.Option("--with-demo", help="Copy the French demo adapter too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
) -> None:
    """Give a project the starter files that it lacks.

    Suites, settings, data and tests, to edit; none that is there is overwritten without --force. Without --language a
    project keeps its own, and a new one gets the French demo.
    """
    chosen = _project_language(folder, language, force=force)
    files = _project_files(chosen, with_demo=with_demo)
    own_suites = not force and _has_own_suites(folder, files)
    _tell(_add_files(files, folder, force=force), files)
    if own_suites:
        typer.echo(f"added no example suite to {folder / 'prompts'}: it has suites of its own")
    typer.echo("\nnext:")
    steps = list(_steps(folder, chosen))
    width = max(len(command) for command, _ in steps) + 4
    for command, purpose in steps:
        typer.echo(f"  {command:<{width}}{purpose}".rstrip())


def _tell(added: _Added, files: Mapping[Path, bytes]) -> None:
    for path in added.written:
        typer.echo(f"wrote {path}")
    for path in added.left:
        typer.echo(f"left {path} as it is: it is yours; --force replaces it")
    if not added.written and not added.left:
        typer.echo(f"nothing to add: the {len(added.same)} starter files are here")
    elif added.same:
        typer.echo(f"{len(added.same)} of {len(files)} files were here already, unchanged")


def _steps(folder: Path, language: _StarterLanguage | None) -> Iterator[tuple[str, str]]:
    if folder.resolve() != Path.cwd():
        yield f"cd {folder}", ""
    if language and language.is_skeleton:
        yield "prompts/my_cases.yaml and tools.yaml", f"write what your users ask, in '{language.code}'"
    yield "llmbench check", "is everything there?"
    if language and language.is_skeleton:
        yield "llmbench finetune ROWS --output adapters/mine", "learn rows of yours"
    elif language and language.folder:
        yield "llmbench finetune data/example.csv --output adapters/mine --steps 10", "learn the rows of the example"
    yield "pytest -m benchmark", "compare the base with its adapter"


@dataclasses.dataclass(frozen=True, slots=True)
class _StarterLanguage:
    """What a project starts with: `code` is written into its files, `folder` has them, below `prompts` and `data`."""

    code: str
    folder: str

    @property
    def is_skeleton(self) -> bool:
        """Whether there are no examples in this language, only files to fill in."""
        return self.folder == _SKELETON


@dataclasses.dataclass(frozen=True, slots=True)
class _Added:
    """What was written; what was there and is the user's (`left`), or is as it comes (`same`)."""

    written: tuple[Path, ...]
    left: tuple[Path, ...]
    same: tuple[Path, ...]


def _starter_language(told: str) -> _StarterLanguage:
    """The language of a code (`en`, `pt-BR`) or a name (`English`); a skeleton where there are no examples in it.

    Raises:
        UsageError: it is no code of a language.
    """
    code = told.strip().replace("_", "-")
    if found := _with_examples(code):
        return found
    if not _CODE.fullmatch(code):
        raise UsageError(
            f"--language {told!r:.40} is no code of a language; there are examples in {', '.join(_examples())}, and "
            "any other code (de, pt-BR) gives a skeleton to fill in"
        )
    return _StarterLanguage(code, _SKELETON)


def _project_language(target: Path, told: str | None, *, force: bool) -> _StarterLanguage | None:
    """The language that `told` means, else that of the vocabulary which `target` has; None for the demo's.

    Raises:
        UsageError: it is no code of a language, or, without `force`, another one than the vocabulary's: both would mix.
    """
    own = _own_language(target)
    if told is None:
        return own if own and own.folder else None
    chosen = _starter_language(told)
    if own and own.code.casefold() != chosen.code.casefold() and not force:
        raise UsageError(
            f"--language {told}: {target / _VOCABULARY} is in '{own.code}', and the project would be in both; "
            "leave --language out to add what is missing, or --force to replace the starter files"
        )
    return chosen


def _own_language(target: Path) -> _StarterLanguage | None:
    """What the vocabulary says, which need not be right in all else."""
    named = _NAMED.search(_read(target / _VOCABULARY) or b"")
    if named is None:
        return None
    code = named[1].decode()
    return _with_examples(code) or _StarterLanguage(code, _SKELETON)


def _with_examples(code: str) -> _StarterLanguage | None:
    from pytest_llmbench.core.languages import find_language

    found = find_language(code)
    if found is None or found.code not in _examples():
        return None
    return _StarterLanguage(found.code, "" if found.code == _DEMO_LANGUAGE else found.code)


def _project_files(language: _StarterLanguage | None, *, with_demo: bool) -> dict[Path, bytes]:
    """What each file of a new project holds, by its path in the project; of the demo where no language is chosen.

    Raises:
        NotReadyError: this installation lacks a file.
    """
    files = {CONFIG: _config(language)}
    folder = language.folder if language else ""
    for path in _matching(str(_PROMPTS / folder / "*.yaml")):
        files[_PROMPTS / path.name] = _in_language(path.read_bytes(), language)
    if not (language and language.is_skeleton):
        files |= {_DATA / name: _content(_DATA / folder / name) for name in _DATA_FILES}
    files |= {Path(name): _content(Path(name)) for name in SUITES}
    if with_demo:
        files |= {path.relative_to(starter_folder()): path.read_bytes() for path in _matching("adapters/**/*")}
    elif folder:
        files[_ADAPTERS / "README.md"] = _ADAPTERS_README.encode()
    return files


def _add_files(files: Mapping[Path, bytes], target: Path, *, force: bool = False) -> _Added:
    """Write the files that `target` lacks, and with `force` also those that differ.

    Examples are no part of a project that has its own: no suite is added to a folder of other suites, and nothing to a
    folder of adapters.

    Raises:
        NotReadyError: the disk refuses.
        UsageError: where a file or folder should be is something else.
    """
    wanted = {target / name: content for name, content in files.items() if force or not _has_own(target, name, files)}
    there = {path: _read(path) for path in wanted}
    same = tuple(path for path, content in there.items() if content == wanted[path])
    left = tuple(path for path, content in there.items() if content not in (None, wanted[path]) and not force)
    written = tuple(path for path in wanted if path not in same and path not in left)
    for path in written:
        with replacing(path) as temporary:
            temporary.write_bytes(wanted[path])
    return _Added(written, left, same)


def _has_own_suites(target: Path, files: Mapping[Path, bytes]) -> bool:
    """Whether the project's folder of suites holds some, and none of the files'."""
    folder = target / _PROMPTS
    if not folder.is_dir():
        return False
    suites = {path.name for path in folder.iterdir() if path.suffix.lower() in _SUITES and path.name != VOCABULARY_FILE}
    return bool(suites) and suites.isdisjoint(name.name for name in files if name.parent == _PROMPTS)


def _has_own(target: Path, name: Path, files: Mapping[Path, bytes]) -> bool:
    if name == _ADAPTERS / "README.md":
        return (target / _ADAPTERS).is_dir() and not (target / name).exists()
    return name.parent == _PROMPTS and name.name != VOCABULARY_FILE and _has_own_suites(target, files)


def _read(path: Path) -> bytes | None:
    """What is there; None where nothing is."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: a file should be here, but it cannot be read: {error.strerror}") from error


def _config(language: _StarterLanguage | None) -> bytes:
    text = _content(CONFIG).decode()
    if language is None:
        return text.encode()
    text = _with_setting(text, "output", "language", language.code if language.code in _REPORTS else "en")
    if language.is_skeleton:
        text = _with_setting(text, "finetune", "dataset", "data/mine_train.jsonl")
        text = _with_setting(text, "finetune", "heldout", "data/mine_test.jsonl")
        text = _with_setting(text, "finetune", "tools", "null")
    return text.encode()


def _with_setting(text: str, section: str, key: str, value: str) -> str:
    """The settings file with another value, its comments where they were."""
    head, start, rest = text.partition(f"\n{section}:\n")
    body = re.split(r"^(?=\S)", rest, maxsplit=1, flags=re.MULTILINE)[0]
    old = re.search(rf"^(  {key}: +)\S.*?\s*(?= #|$)", body, flags=re.MULTILINE)
    if old is None:
        raise NotReadyError(f"{CONFIG} of this installation has no '{section}.{key}'; install pytest-llmbench again")
    changed = (old[1] + value).ljust(min(len(old[0]), _COMMENTS))
    return head + start + body[: old.start()] + changed + body[old.end() :] + rest[len(body) :]


def _in_language(content: bytes, language: _StarterLanguage | None) -> bytes:
    if language is None or not language.is_skeleton:
        return content
    return re.sub(rb"^language: .*$", f"language: {language.code}".encode(), content, flags=re.MULTILINE)


def _content(name: Path) -> bytes:
    return next(_matching(str(name))).read_bytes()


def _examples() -> list[str]:
    folders = {path.name for path in (starter_folder() / _PROMPTS).iterdir() if path.is_dir()}
    return sorted({_DEMO_LANGUAGE, *folders} - {_SKELETON})


def _matching(pattern: str) -> Iterator[Path]:
    folder = starter_folder()
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not found:
        raise NotReadyError(f"this installation has no {pattern} in {folder}; install pytest-llmbench again")
    yield from found
