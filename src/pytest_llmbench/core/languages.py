"""What the product itself says in a language: one YAML file each, which a project can replace or add to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.starter import starter_folder

FOLDER = Path("configs/languages")
"""Where language files are, in a project and among the starter files; `fr.yaml` is French."""

PHRASING_KEYS = ("definition", "section", "openers", "closers", "fields", "noise")
KEYS = ("language", "names", "common", "answers", *PHRASING_KEYS, "writing", "retrieval", "smoke")

_OTHERS = Path(__file__).with_name("other_languages.yaml")
_SAID_IN = ("language", "lang", "langue")
_REGION = re.compile(r"[-_]")
_WORD = re.compile(r"\w+'?\w*")
_RECOGNISED = 0.06  # share of a text that is frequent words; in running text it is about 0.3
_CLEARLY = 2  # times the share of the next language


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """A language file; any key but `language` may be missing in it, and is missed where it is needed."""

    code: str
    document: Document

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.document.path

    def __getitem__(self, key: str) -> Any:
        """What the file has under a key. Raises UsageError when it has nothing there."""
        if key not in self.document.data:
            raise UsageError(f"{self.path}: '{key}' is missing, which is needed here; see {example_file()}")
        return self.document.data[key]

    def text(self, key: str, places: Iterable[str] = ()) -> str:
        """A text in which each of the places stands as `{place}`.

        Raises:
            UsageError: there is none, or a place is missing in it.
        """
        value = self[key]
        for fault in text_faults(value, places):
            raise UsageError(located(self.path, self.document.line(key), f"{key}: {fault}"))
        return str(value)


def text_faults(value: object, places: Iterable[str]) -> list[str]:
    """What is wrong with a text that the places should stand in."""
    if not isinstance(value, str) or not value.strip():
        return [f"a text, not {value!r:.40}; put it in quotes"]
    return [f"the text has no {{{place}}}" for place in places if f"{{{place}}}" not in value]


def example_file() -> Path:
    """The language file to copy and translate."""
    return starter_folder() / FOLDER / "en.yaml"


def read_language(path: Path) -> Language:
    """Read a language file.

    Raises:
        UsageError: the file is unreadable, or has a key that no language file has.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise UsageError(located(path, 1, f"a language file has keys such as {', '.join(KEYS)}; see {example_file()}"))
    faults = Faults()
    for key in document.data:
        if key not in KEYS:
            faults.at(path, document.line(key), f"unknown key '{key}'; {suggestion(str(key), KEYS)}")
    for key in ("names", "common"):
        listed = document.data.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
            faults.at(
                path, document.line(key), f"{key}: a list of words, each in quotes where YAML takes it for no text"
            )
    faults.raise_any()
    return Language(str(document.data.get("language", path.stem)), document)


def languages() -> dict[str, Language]:
    """All language files by their codes: the project's and, where it has none of that name, the packaged ones.

    Raises:
        UsageError: a file is wrong.
    """
    folders = (starter_folder() / FOLDER, FOLDER)
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    return {code: dataclasses.replace(read_language(path), code=code) for code, path in sorted(files.items())}


def find_language(told: str, known: Mapping[str, Language] | None = None) -> Language | None:
    """The language of a code (`fr`, `fr-CA`) or of a name that its file gives (`French`); None without a file."""
    known = languages() if known is None else known
    told = told.strip().casefold()
    for name in (told, _REGION.split(told)[0]):
        for code, language in known.items():
            if name == code.casefold() or name in map(str.casefold, language.document.data.get("names", ())):
                return language
    return None


def told_language(record: object) -> str | None:
    """The language that a row or chunk itself names, under `language`, `lang` or `langue`."""
    if not isinstance(record, Mapping):
        return None
    return next((said for key in _SAID_IN if isinstance(said := record.get(key), str) and said.strip()), None)


def recognised(texts: Iterable[str], known: Mapping[str, Language] | None = None) -> str | None:
    """The code of the language that the texts are in, by its frequent words; None when it is not clear."""
    known = languages() if known is None else known
    words = [word for text in texts for word in _words(text)]
    common = read_yaml(_OTHERS).data | {code: one.document.data.get("common", ()) for code, one in known.items()}
    shares = {code: _share(words, frequent) for code, frequent in common.items()}
    first, second = sorted(shares, key=shares.__getitem__, reverse=True)[:2]
    is_clear = shares[first] >= _RECOGNISED and shares[first] > _CLEARLY * shares[second]
    return first if is_clear and first in known else None


def no_sentences(told: str, known: Iterable[str]) -> str:
    """The end of a message: there is no file of that language, and how to give one."""
    return (
        f"there are sentences in {', '.join(known)}, none in '{told}'; copy {example_file()} to "
        f"{FOLDER / 'CODE.yaml'} and translate it"
    )


def _words(text: str) -> Iterable[str]:
    """Words in lower case; of an elided one ("l'eau") what is before the apostrophe too."""
    for word in _WORD.findall(text.casefold().replace("’", "'")):
        yield word
        before, apostrophe, after = word.partition("'")
        if apostrophe and after:
            yield before + apostrophe


def _share(words: list[str], common: Iterable[str]) -> float:
    frequent = {word.casefold() for word in common}
    return sum(word in frequent for word in words) / len(words) if words else 0.0
