"""Runs `studio/reading.py` on a file, and ends it where it takes more memory or time than it may."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import psutil
from pydantic import BaseModel

from pytest_llmbench.core.errors import NotReadyError, UsageError, error_of
from pytest_llmbench.core.setting_sections import StudioSettings

Read = TypeVar("Read", bound=BaseModel)

_LOOK_S = 0.1
_SHOWN = 400  # characters of what a process said that ended by itself


class ReaderProcess:
    """Files are read one after the other and two at a time at most: more would only wait for the processor."""

    def __init__(self, studio: StudioSettings) -> None:
        self._studio = studio
        self._turns = asyncio.Semaphore(2)

    async def read(self, made: type[Read], shown: str, words: list[str]) -> Read:
        """What `reading.main` makes of the words, whose second one is a path; messages say `shown` in its place.

        Raises:
            UsageError: what it says of the file, or that reading it takes too much.
            NotReadyError: the process cannot be started, or ended by itself.
        """
        async with self._turns:
            output, errors, code = await self._run(words, shown)
        if code:
            raise NotReadyError(
                f"{shown}: the process that reads it ended with code {code}: {errors[-_SHOWN:].strip()}"
            )
        document = json.loads(output)
        if isinstance(told := document.get("error"), dict):
            message = str(told["message"]).replace(words[1], shown)
            raise error_of(told["code"], message, tuple(told["names"]))
        return made.model_validate(document)

    async def _run(self, words: list[str], shown: str) -> tuple[str, str, int]:
        command = [sys.executable, "-P", "-m", "pytest_llmbench.studio.reading", *words]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise NotReadyError(f"{shown}: no process can be started to read it: {error.strerror}") from error
        said = asyncio.ensure_future(process.communicate())
        try:
            await self._watch(said, process.pid, shown)
            output, errors = await said
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await said
        return output.decode(), errors.decode(errors="replace"), process.returncode or 0

    async def _watch(self, said: asyncio.Future[tuple[bytes, bytes]], pid: int, shown: str) -> None:
        deadline = asyncio.get_running_loop().time() + self._studio.read_s
        while not (await asyncio.wait([said], timeout=_LOOK_S))[0]:
            if _resident(pid) > self._studio.read_mb * 2**20:
                raise UsageError(
                    f"{shown}: reading it takes more than {self._studio.read_mb} MiB of memory; write it as JSON "
                    "Lines with a row a line (jq -c '.[]')",
                    names=("studio.read_mb",),
                )
            if asyncio.get_running_loop().time() > deadline:
                raise UsageError(
                    f"{shown}: reading it takes more than {self._studio.read_s:g} s; split it",
                    names=("studio.read_s",),
                )


def _resident(pid: int) -> int:
    """Bytes, of a process that may have ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def words_for_contents(path: Path, rows: int) -> list[str]:
    """What `reading.main` is told to read a dataset."""
    return ["contents", str(path), str(rows)]


def words_for_check(path: Path, suites: Sequence[Path], vocabulary: Path) -> list[str]:
    """What `reading.main` is told to check a dataset."""
    return ["check", str(path), str(vocabulary), *map(str, suites)]
