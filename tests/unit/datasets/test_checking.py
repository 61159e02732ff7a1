"""What is wrong with a dataset that reads well is told: how bad, on which rows, and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.datasets.checking import DatasetCheck, RowFinding, template_findings
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.rows import NumberedRow
from pytest_llmbench.models.prompt_form import PromptForm

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
DROPPING = "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
ENDLESS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
OWN_SYSTEM = "{% if messages[0].role != 'system' %}<|system|>You are a helpful assistant.</s>{% endif %}" + CHATML
REWRITING = "{% for m in messages %}{{ messages | length }}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"


class CharacterTokenizer:
    """Renders a chat template as transformers does; a token is a character, or the end of a turn."""

    bos_token = None
    eos_token_id = None

    def __init__(self) -> None:
        self.added_tokens_decoder = {"</s>": "</s>"}

    def apply_chat_template(
        self, messages: list[Any], *, chat_template: str, add_generation_prompt: bool, **_: Any
    ) -> str:
        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        template = jinja2.Environment(autoescape=True).from_string(chat_template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt, raise_exception=refuse)

    def __call__(self, text: str, **_: Any) -> dict[str, list[str]]:
        return {"input_ids": re.findall("</s>|.", text, re.DOTALL)}

    def convert_ids_to_tokens(self, tokens: list[str]) -> list[str]:
        return tokens


def form(template: str, **more: Any) -> PromptForm:
    return PromptForm(CharacterTokenizer(), template, "base", **more)


WRITTEN_OTHERWISE = (
    "the base's chat template writes the prompt differently when an answer follows, so the loss cannot be kept to the "
    "answer; take another base or change its template"
)
ALL_ROLES = ("system", "user", "assistant")


@pytest.mark.parametrize(
    ("template", "roles", "severity", "message"),
    [
        (
            NO_SYSTEM,
            ALL_ROLES,
            "error",
            "the chat template refuses it: System role not supported; model.system_role: user",
        ),
        (DROPPING, ALL_ROLES, "error", "drops what the system says"),
        (ENDLESS, ALL_ROLES, "warning", "writes nothing after an answer"),
        (OWN_SYSTEM, ALL_ROLES[1:], "note", "writes its own: '<|system|>You are a helpful assistant.'"),
    ],
)
def test_a_template_that_does_not_fit_is_told(
    template: str, roles: tuple[str, ...], severity: str, message: str
) -> None:
    (finding,) = template_findings(form(template), roles)
    assert finding.severity == severity
    assert message in finding.message


@pytest.mark.parametrize("template", [CHATML, OWN_SYSTEM])
def test_a_template_that_fits_is_not(template: str) -> None:
    assert list(template_findings(form(template), ALL_ROLES)) == []
    assert list(template_findings(form(CHATML), ALL_ROLES[1:])) == []


def _findings(*rows: dict[str, Any], **options: Any) -> dict[str, RowFinding]:
    numbered = [NumberedRow(line, "prompt", row) for line, row in enumerate(rows, start=11)]
    with DatasetCheck(Path("d.jsonl"), **options) as checking:
        for row in numbered:
            checking.add([row])
        return {finding.check: finding for finding in checking.findings()}


def test_duplicates_contradictions_and_near_duplicates_are_told_apart() -> None:
    found = _findings(
        new_row("monte le son de la télé", "Oui."),
        new_row("Monte le SON de la télé !", "Oui."),
        new_row("monte le son de la télé.", "Non."),
        new_row("monte le son de ta télé", "Oui."),
        new_row("quel temps fait-il", "Beau."),
    )
    assert {check: (finding.severity, finding.count, finding.where) for check, finding in found.items()} == {
        "duplicates": ("warning", 1, ("d.jsonl:12: as line 11",)),
        "contradictions": ("warning", 1, ("d.jsonl:13: as line 11",)),
        "near-duplicates": ("note", 1, ("d.jsonl:14: as line 11",)),
    }


def test_a_row_that_repeats_any_earlier_one_of_its_question_is_a_duplicate() -> None:
    found = _findings(*(new_row("monte le son", answer) for answer in ("Oui.", "Non.", "Non.", "Oui.")))
    assert {check: (finding.count, finding.where) for check, finding in found.items()} == {
        "duplicates": (2, ("d.jsonl:13: as line 12", "d.jsonl:14: as line 11")),
        "contradictions": (1, ("d.jsonl:12: as line 11",)),
    }


def test_what_was_said_before_a_question_belongs_to_it() -> None:
    french, spanish = (new_row("hello", said, f"Translate to {said}") for said in ("French", "Spanish"))
    said = [{"role": "assistant", "content": answer} for answer in ("Un.", "Deux.")]
    asked = {"role": "user", "content": "encore"}
    talks = [{**new_row("", f"{n}"), "prompt": [asked, answer, asked]} for n, answer in enumerate(said)]
    assert _findings(french, spanish, *talks) == {}
    (again,) = _findings(french, spanish, french).values()
    assert (again.check, again.where) == ("duplicates", ("d.jsonl:13: as line 11",))


def test_a_clean_dataset_has_no_findings() -> None:
    assert _findings(new_row("monte le son", "Oui."), new_row("quel temps fait-il", "Beau."), limit=50) == {}


def test_long_rows_are_counted_with_the_models_own_tokenizer_or_estimated() -> None:
    rows = [new_row("monte le son", "Oui."), new_row("quel temps fait-il " + "x" * 100, "Beau.")]
    exact = _findings(*rows, form=form(CHATML), limit=60)["length"]
    assert (exact.severity, exact.count, exact.where) == ("error", 1, ("d.jsonl:12",))
    assert "about" in _findings(*rows, limit=20)["length"].message


def test_a_template_that_writes_a_prompt_otherwise_before_its_answer_is_told() -> None:
    found = _findings(new_row("a", "b"), form=form(REWRITING))
    assert (found["template"].severity, found["template"].where) == (
        "error",
        (f"d.jsonl:11: {WRITTEN_OTHERWISE}",),
    )


def test_answers_that_begin_with_white_space_are_named() -> None:
    found = _findings(new_row("a", "\n\nb"), new_row("c", "d"))
    assert (found["white space"].severity, found["white space"].where) == ("warning", ("d.jsonl:11",))


def test_answers_that_are_all_in_quotes_are_told() -> None:
    found = _findings(new_row("a", '"b"'), new_row("c", '"d"'))["quotes"]
    assert (found.severity, found.count, "from_parquet" in found.message) == ("warning", 2, True)
    assert "quotes" not in _findings(new_row("a", '"b"'), new_row("c", "d"))


def test_a_template_without_a_system_role_takes_rows_that_are_folded() -> None:
    rows = new_row("a", "b", "Sois bref."), new_row("c", "d", "Sois bref.")
    assert _findings(*rows, form=form(NO_SYSTEM))["template"].severity == "error"
    assert _findings(*rows, form=form(NO_SYSTEM, system_role="user")) == {}


def test_rows_that_the_template_refuses_are_told_with_their_lines() -> None:
    once = "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}" + CHATML
    long = new_row("et toi ?", "Oui.")
    long["prompt"] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, *long["prompt"]]
    found = _findings(new_row("a", "b"), long, form=form(once))
    assert (found["template"].severity, found["template"].where) == (
        "error",
        ("d.jsonl:12: the chat template refuses it: one turn",),
    )


def _case(system: str | None) -> Case:
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    return Case("c", "1", "monte le son", (*messages, {"role": "user", "content": "monte le son"}))


@pytest.mark.parametrize(
    ("trained", "asked", "told"),
    [("A", "A", False), (None, None, False), ("A", "B", True), (None, "B", True), ("A", None, True)],
)
def test_a_system_prompt_that_the_suites_do_not_use_is_told(trained: str | None, asked: str | None, told: bool) -> None:  # noqa: FBT001
    found = _findings(new_row("quel temps fait-il", "Beau.", trained), cases=[_case(asked)])
    assert ("system" in found) == told


def test_contamination_is_an_error_that_names_row_case_and_similarity() -> None:
    found = _findings(new_row("a b c", "x"), new_row("Monte le sons", "Oui."), cases=[_case(None)])["contamination"]
    assert (found.severity, found.count) == ("error", 1)
    assert found.where == ("d.jsonl:12: 'Monte le sons' is near c/1 'monte le son' (96%)",)
