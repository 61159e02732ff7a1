"""Rows that a language model writes: what it is asked, and how strictly its answers are read."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_QUESTION = 300
LONGEST_ANSWER = 1500
"""Characters of a question and an answer; longer ones are refused."""

_KEYS = {"question", "reponse"}
_FENCE = re.compile(r"\A```[ \t]*(?:json)?(?=\W)(.*)```\Z", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\d{2,}")

_SYSTEM = (
    "Tu écris des données d'entraînement en français. Tu réponds uniquement par un tableau JSON valide, sans texte "
    'autour, dont chaque élément est un objet {"question": "...", "reponse": "..."}.'
)
_FROM_CHUNK = (
    "Voici un extrait{about} :\n\n{text}\n\nÉcris {count} questions différentes qu'un utilisateur poserait, "
    "chacune avec sa réponse. Chaque question {names}. Chaque réponse se lit dans l'extrait : n'invente rien."
)
_FROM_TOOL = (
    "Un assistant vocal a l'outil « {tool} », dont parlent ces mots : {terms}. Écris {count} demandes différentes "
    "qu'un utilisateur dirait pour que cet outil serve, la plupart sans nommer l'outil, et pour chacune, en une "
    "phrase, ce que l'assistant répond en le faisant."
)
_FROM_ROW = (
    "Une question et sa réponse :\n\nQuestion : {question}\nRéponse : {answer}\n\nÉcris {count} autres façons de poser "
    "cette question, chacune avec la même réponse, recopiée mot pour mot."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """One request to the model for `count` rows. `ground` is what numbers in the answers must stand in, if anything.

    `answer` is the only right answer, where there is one; `ending` follows each answer.
    """

    instructions: str
    count: int
    ground: str | None = None
    answer: str | None = None
    ending: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the model is given."""
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": self.instructions}]


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What was read from one answer: questions with their answers, and why others were refused."""

    pairs: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]


def about_chunk(title: str | None, text: str, count: int) -> Assignment:
    """Questions about a chunk, answered from it alone."""
    about = f" sur « {title} »" if title else ""
    names = f"nomme « {title} »" if title else "dit de quoi elle parle"
    instructions = _FROM_CHUNK.format(about=about, names=names, text=text, count=count)
    return Assignment(instructions, count, ground=f"{title} {text}")


def about_tool(tool: str, terms: Sequence[str], count: int) -> Assignment:
    """Requests that call a tool of the vocabulary."""
    return Assignment(_FROM_TOOL.format(tool=tool, terms=", ".join(terms), count=count), count, ending=f" [{tool}]")


def like_row(question: str, answer: str, count: int) -> Assignment:
    """Other ways to ask what a row asks."""
    return Assignment(_FROM_ROW.format(question=question, answer=answer, count=count), count, answer=answer)


def again(assignment: Assignment, series: int) -> Assignment:
    """The same once more, for other rows than those of the series before."""
    more = f"\n\nSérie {series} : écris-en d'autres que les plus évidentes."
    return dataclasses.replace(assignment, instructions=assignment.instructions + more)


def read_answer(text: str, assignment: Assignment) -> Written:
    """The questions and answers that the model wrote; anything that is not exactly what was asked for is refused.

    One code fence around the whole of it is taken off: many models cannot write JSON without.
    """
    fenced = _FENCE.match(text.strip())
    try:
        items = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return Written((), ("no JSON list",) * assignment.count)
    if not isinstance(items, list):
        return Written((), ("no JSON list",) * assignment.count)
    pairs: list[tuple[str, str]] = []
    refused: list[str] = []
    for item in items:
        if fault := _fault(item, assignment) or ("repeated" if _pair(item, assignment) in pairs else None):
            refused.append(fault)
        else:
            pairs.append(_pair(item, assignment))
    return Written(tuple(pairs), tuple(refused))


def _pair(item: Mapping[str, Any], assignment: Assignment) -> tuple[str, str]:
    return item["question"].strip(), item["reponse"].strip() + assignment.ending


def _fault(item: Any, assignment: Assignment) -> str | None:
    if not isinstance(item, dict) or item.keys() != _KEYS:
        return "other keys than question and reponse"
    question, answer = item["question"], item["reponse"]
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
        return "empty"
    if len(question) > LONGEST_QUESTION or len(answer) > LONGEST_ANSWER:
        return "too long"
    if assignment.answer is not None and answer.strip() != assignment.answer.strip():
        return "another answer than the row's"
    if assignment.ground is not None and not set(_NUMBER.findall(answer)) <= set(_NUMBER.findall(assignment.ground)):
        return "a number that the source does not hold"
    return None
