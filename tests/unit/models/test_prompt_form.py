"""Prompts are written as the settings say, and an answer is what the model said, without what stands round it."""

from __future__ import annotations

import copy
import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.models.prompt_form import PromptError, PromptForm
from pytest_llmbench.models.reasoning import SplitAnswer, begins_with_thought

_TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_OPENED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML = _TURNS + _OPENED
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + ('<think>\n\n</think>\n\n' if m.role == 'assistant' "
    "else '') + m.content + '<|im_end|>\n' }}{% endfor %}"
    + _OPENED
    + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
OPENS = _TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
OPENS_WHEN_IT_LIKES = (
    _TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if '/no_think' not in messages[0].content %}{{ '<think>\n' }}{% endif %}{% endif %}"
)
OPENS_AND_CLOSES = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + ('<think>\n\n</think>\n\n' if m.role == 'assistant' "
    "else '') + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
CLOSES_AT_ONCE = (
    _TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)
THINKS_APART = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + ('<think>\n' + (m.reasoning_content or '') + "
    "'\n</think>\n\n' if m.role == 'assistant' else '') + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
FORGETS_THOUGHTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}"
    "{% endfor %}" + _OPENED
)
BETWEEN = "{% for m in messages %}{{ ('<|end|>' if not loop.first else '') + m.role + ': ' + m.content }}{% endfor %}"
DROPS_SYSTEM = "{% for m in messages if m.role != 'system' %}{{ m.content + '<|im_end|>' }}{% endfor %}"
PARTS_ONLY = "{% for m in messages %}{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}{% endfor %}"
IN_WORDS = "{% for m in messages %}{{ m.role + ': ' + m.content + ' [FIN]\n' }}{% endfor %}"
ENDLESS = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}" + CHATML
CHANNELS = (
    "{% for m in messages %}{{ '<|start|>' + m.role + ('<|channel|>final' if m.role == 'assistant' else '') + "
    "'<|message|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|channel|>", "<|message|>", "<|end|>"]
QUESTION = [{"role": "user", "content": "monte le son"}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Bytes and a few words, in the manner of GPT-2: line breaks join with what follows them."""
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["Je monte le volume.\n\n\n\nassistant\n\n"] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIAL[0], pad_token=SPECIAL[0])
    fast.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return fast


def form(tokenizer: Any, template: str, **more: Any) -> PromptForm:
    return PromptForm(tokenizer, template, "base", **more)


def tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def row(answer: str) -> dict[str, Any]:
    return {"prompt": QUESTION, "completion": [{"role": "assistant", "content": answer}]}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (CHATML, "Je monte."),
        (THINKING, "<think>\n\n</think>\n\nJe monte."),
        (THINKING, "<think>\nil veut du son\n</think>\n\nJe monte."),
        (OPENS, "il veut du son\n</think>\n\nJe monte."),
        (_TURNS, "<|im_start|>assistant\nJe monte."),
        (CHANNELS, "<|channel|>final<|message|>Je monte."),
        (
            CHANNELS,
            "<|channel|>analysis<|message|>il veut du son<|end|><|start|>assistant<|channel|>final<|message|>Je monte.",
        ),
        (IN_WORDS, "assistant: Je monte. [FIN]\nuser"),
    ],
)
def test_the_answer_is_what_was_said_without_what_stands_round_it(tokenizer: Any, template: str, said: str) -> None:
    split = form(tokenizer, template).answer(tokens(tokenizer, said))
    assert split.answer == "Je monte."
    assert split.reasoning == ("il veut du son" if "il veut" in said else None)


def test_an_answer_that_ended_within_its_thinking_is_none(tokenizer: Any) -> None:
    assert form(tokenizer, THINKING).answer(tokens(tokenizer, "<think>il")) == SplitAnswer("", "il", closed=False)
    assert form(tokenizer, OPENS).answer(tokens(tokenizer, "il veut")) == SplitAnswer("", "il veut", closed=False)


@pytest.mark.parametrize(
    ("template", "learnt"),
    [
        (CHATML, "Oui."),
        (THINKING, "Oui."),
        (OPENS_AND_CLOSES, "Oui."),
        (CLOSES_AT_ONCE, "Oui."),
        (THINKS_APART, "Oui."),
        (IN_WORDS, "Oui."),
        (CHANNELS, "Oui."),
        (FORGETS_THOUGHTS, "Oui."),
    ],
)
def test_what_is_learnt_is_what_is_read(tokenizer: Any, template: str, learnt: str) -> None:
    written = form(tokenizer, template)
    whole, prompt = written.example(row(learnt))
    assert prompt == written.prompt(QUESTION)
    answer = whole[len(prompt) :]
    ends = [place for place, token in enumerate(answer) if token in written.end_tokens]
    assert ends or any(written.ended(answer[: place + 1]) for place in range(len(answer)))
    assert written.answer(answer[: ends[0]] if ends else answer) == SplitAnswer(learnt)


def test_what_is_thought_goes_to_a_template_where_it_reads_thoughts(tokenizer: Any) -> None:
    whole, prompt = form(tokenizer, THINKS_APART).example(row("<think>\nhm\n</think>\n\nOui."))
    assert tokenizer.decode(whole[len(prompt) :]) == "hm\n</think>\n\nOui.<|im_end|>\n"
    drops = form(tokenizer, CHATML + "{# reasoning_content #}")  # a thought that it would leave out stays in the text
    whole, prompt = drops.example(row("<think>son</think>Oui."))  # a word of the question
    assert tokenizer.decode(whole[len(prompt) :]) == "<think>son</think>Oui.<|im_end|>\n"


CHANNEL_OF_ITS_OWN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content %}{{ '<|channel>thought\n' + m.reasoning_content + '\n<channel|>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}" + _OPENED
)
RECIPIENTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role }}"
    "{% if m.reasoning_content %}{{ ' to=self<|message|>' + m.reasoning_content + '<|eom|><|start|>assistant' }}"
    "{% endif %}{{ ' to=user<|message|>' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
PARTS_THOUGHTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% set thought = m.reasoning_content or (m.content.split('</think>')[0].split('<think>')[-1].strip('\n') "
    "if '</think>' in m.content else '') %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' + m.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    + _OPENED
    + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "answer", "learnt"),
    [
        (
            PARTS_THOUGHTS,
            "<think>\nhm\n</think>\n<answer>42</answer>",
            "<think>\nhm\n</think>\n\n<answer>42</answer>",
        ),
        (PARTS_THOUGHTS, "<think>\nhm\n</think>\n\n    return x\n", "<think>\nhm\n</think>\n\n    return x\n"),
        (
            PARTS_THOUGHTS,
            "<reasoning>a</reasoning><answer>b</answer>",
            "<think>\n\n</think>\n\n<reasoning>a</reasoning><answer>b</answer>",
        ),
        (
            CHANNEL_OF_ITS_OWN,
            "<think>\nhm\n</think>\n<answer>42</answer>",
            "<|channel>thought\nhm\n<channel|><answer>42</answer>",
        ),
        (CHANNEL_OF_ITS_OWN, "<think>hm</think>\n\n  x\n", "<|channel>thought\nhm\n<channel|>  x\n"),
        (
            CHANNEL_OF_ITS_OWN,
            "<reasoning>a</reasoning><answer>b</answer>",
            "<reasoning>a</reasoning><answer>b</answer>",
        ),
        (RECIPIENTS, "<think>hm</think>Oui.", " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>Oui."),
    ],
)
def test_an_answer_that_thinks_keeps_its_form(tokenizer: Any, template: str, answer: str, learnt: str) -> None:
    whole, prompt = form(tokenizer, template).example(row(answer))
    assert tokenizer.decode(whole[len(prompt) :]).removesuffix("\n").removesuffix("<|im_end|>") == learnt


def test_tags_of_a_rows_own_are_learnt_where_prompts_close_an_empty_block(tokenizer: Any) -> None:
    quiet = form(tokenizer, PARTS_THOUGHTS, arguments={"enable_thinking": False})
    whole, prompt = quiet.example(row("<reasoning>a</reasoning>\n<answer>b</answer>"))
    assert tokenizer.decode(whole[len(prompt) :]) == "<reasoning>a</reasoning>\n<answer>b</answer><|im_end|>\n"
    for refused in ("<think>hm</think>Oui.", "hm</think>Oui."):
        with pytest.raises(PromptError, match="which these prompts leave no room for"):
            form(tokenizer, CLOSES_AT_ONCE).example(row(refused))


def test_a_block_is_open_where_this_very_prompt_leaves_one_open(tokenizer: Any) -> None:
    likes = form(tokenizer, OPENS_WHEN_IT_LIKES)
    asked = {word: likes.prompt([{"role": "user", "content": word}]) for word in ("monte", "monte /no_think")}
    said, thought = tokens(tokenizer, "Oui."), tokens(tokenizer, "hm</think>Oui.")
    assert likes.answer(said, asked["monte /no_think"]) == SplitAnswer("Oui.")
    assert likes.thought_tokens(said, asked["monte /no_think"]) == 0
    assert likes.answer(said, asked["monte"]) == SplitAnswer("", "Oui.", closed=False)
    assert likes.thought_tokens(said, asked["monte"]) is None
    assert likes.answer(thought, asked["monte"]) == SplitAnswer("Oui.", "hm")


@pytest.mark.parametrize(
    ("template", "answer", "told"),
    [
        (FORGETS_THOUGHTS, "<think>hm</think>Oui.", "leaves out what is thought before the answer"),
        ("{{ messages[-1].content | upper }}", "Oui.", "'Oui.' would be learnt as "),
        (CHATML, "Oui.<|im_end|>Non.", r"holds '<\|im_end\|>', which ends an answer"),
        (CHATML, "Oui. <|endoftext|> Non.", r"holds '<\|endoftext\|>', which ends an answer"),
        (IN_WORDS, "Oui. [FIN] Non.", r"holds '\[FIN\]', which ends an answer"),
        (
            CLOSES_AT_ONCE,
            "<think>hm</think>Oui.",
            "which these prompts leave no room for: switch thinking on",
        ),
        (OPENS, "Oui.", "its prompts end in '<think>', which it does not write before this answer"),
    ],
)
def test_a_row_that_would_be_learnt_as_another_is_refused(
    tokenizer: Any, template: str, answer: str, told: str
) -> None:
    with pytest.raises(PromptError, match=told):
        form(tokenizer, template).example(
            {"prompt": [{"role": "user", "content": ""}], "completion": row(answer)["completion"]}
        )


@pytest.mark.parametrize(
    ("template", "messages", "told"),
    [
        (DROPS_SYSTEM, [{"role": "system", "content": "Tu es bref."}, *QUESTION], "the system says; model.system_role"),
        (
            "{{ messages[-1].content }}",
            [*QUESTION, {"role": "assistant", "content": "Oui."}, *QUESTION],
            "what the assistant says",
        ),
        (PARTS_ONLY, QUESTION, "the user says; it is not made for messages of plain text"),
    ],
)
def test_a_template_that_leaves_out_what_is_said_is_told(
    tokenizer: Any, template: str, messages: Any, told: str
) -> None:
    with pytest.raises(PromptError, match=told):
        form(tokenizer, template).prompt(messages)


def test_words_that_a_template_drops_are_missed_only_where_they_were_said(tokenizer: Any) -> None:
    assert form(tokenizer, DROPS_SYSTEM).prompt(QUESTION)
    folded = form(tokenizer, DROPS_SYSTEM, system_role="user")
    assert "Tu es bref." in tokenizer.decode(folded.prompt([{"role": "system", "content": "Tu es bref."}, *QUESTION]))


def test_an_end_that_is_written_between_turns_only_ends_an_answer(tokenizer: Any) -> None:
    between = form(tokenizer, BETWEEN)
    assert between.end_tokens == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end|>")}
    assert not between.writes_an_end


def test_an_end_in_many_tokens_is_seen(tokenizer: Any) -> None:
    long_end = "{% for m in messages %}{{ m.content + ' ' + 'ZQ' * 30 }}{% endfor %}"
    assert form(tokenizer, long_end).ended(tokens(tokenizer, "Oui. " + "ZQ" * 30))


def test_an_end_that_a_row_writes_itself_is_learnt_and_left_out_of_what_is_read(tokenizer: Any) -> None:
    written = form(tokenizer, CHATML)
    whole, prompt = written.example(row("Oui.<|im_end|>"))
    answer = whole[len(prompt) :]
    first = next(place for place, token in enumerate(answer) if token in written.end_tokens)
    assert written.answer(answer[:first]) == SplitAnswer("Oui.")


def test_what_the_template_writes_after_an_answer_ends_it(tokenizer: Any) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert form(tokenizer, CHATML).end_tokens == {tokenizer.eos_token_id, end}
    in_words = form(tokenizer, IN_WORDS)
    assert in_words.end_tokens == {tokenizer.eos_token_id}
    assert not in_words.ended(tokens(tokenizer, "Je monte. [FI"))
    assert in_words.ended(tokens(tokenizer, "Je monte. [FIN]"))
    assert [form(tokenizer, one).writes_an_end for one in (CHATML, IN_WORDS, ENDLESS)] == [True, True, False]


def test_a_prompts_end_is_never_joined_with_the_answers_beginning(tokenizer: Any) -> None:
    written = form(tokenizer, CHATML)
    whole, prompt = written.example(row("\n\nJe monte."))
    assert whole[: len(prompt)] == prompt == written.prompt(QUESTION)
    assert whole != tokens(
        tokenizer, written.write([*QUESTION, *row("\n\nJe monte.")["completion"]], answer_follows=False)
    )
    assert written.answer(whole[len(prompt) : -2]).answer == "Je monte."


def test_arguments_go_into_the_template_asked_and_trained_alike(tokenizer: Any) -> None:
    quiet = form(tokenizer, THINKING, arguments={"enable_thinking": False})
    assert quiet.write(QUESTION, answer_follows=True).endswith("</think>\n\n")
    whole, prompt = quiet.example(row("Oui."))
    assert quiet.answer(whole[len(prompt) : -2]) == SplitAnswer("Oui.")


def test_thinking_is_counted_until_it_closes(tokenizer: Any) -> None:
    thinks = form(tokenizer, THINKING)
    thought, answer = tokens(tokenizer, "<think>il veut</think>"), tokens(tokenizer, "Oui.")
    assert [thinks.thought_tokens(thought[:end]) for end in range(1, len(thought))] == [None] * (len(thought) - 1)
    assert thinks.thought_tokens([*thought, *answer]) == len(thought)
    assert thinks.thought_tokens(answer) == 0


SYSTEM = [{"role": "system", "content": "Tu es bref."}, *QUESTION]


def test_a_refused_system_role_says_the_way_out_which_works(tokenizer: Any) -> None:
    refusing = form(tokenizer, NO_SYSTEM)
    with pytest.raises(PromptError, match=r"no system turn here; model\.system_role: user"):
        refusing.prompt(SYSTEM)
    folded = dataclasses.replace(refusing, system_role="user").write(SYSTEM, answer_follows=True)
    assert folded.startswith("<|im_start|>user\nTu es bref.\n\nmonte le son<|im_end|>")


@pytest.mark.parametrize(
    "template",
    ["{{ messages[7].content }}", "{{ messages[0].content + 1 }}", "{{ 1 / 0 }}", "{{ absent.part }}", "{% for %}"],
)
def test_whatever_fails_while_a_prompt_is_written_is_an_error_of_that_prompt(tokenizer: Any, template: str) -> None:
    with pytest.raises(PromptError, match="the chat template refuses it"):
        form(tokenizer, template).prompt(QUESTION)


def test_a_text_that_no_tokenizer_can_read_is_an_error_of_that_prompt(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="the tokenizer cannot read its text"):
        form(tokenizer, CHATML).prompt([{"role": "user", "content": "\ud800"}])


def test_a_token_that_the_base_has_no_embedding_for_is_an_error_of_that_prompt(tokenizer: Any) -> None:
    narrow = form(tokenizer, CHATML, rows=len(tokenizer) - 1)
    assert narrow.prompt(QUESTION)
    with pytest.raises(PromptError, match="it holds '</think>', which is token"):
        narrow.prompt([{"role": "user", "content": "que veut dire </think> ?"}])
    with pytest.raises(PromptError, match="the base has embeddings for"):
        narrow.example(row("</think>"))


@given(said=st.text(max_size=40), thought=st.text("ab \n", max_size=10))
def test_no_special_token_and_no_mark_stays_in_an_answer(tokenizer: Any, said: str, thought: str) -> None:
    assume(not begins_with_thought(said))  # Hypothesis tries texts of the source, its marks among them
    split = form(tokenizer, THINKING).answer(tokens(tokenizer, f"<think>{thought}</think>{said}<|im_end|>"))
    kept: Sequence[str] = [mark for mark in (*SPECIAL, "<think>") if mark in split.answer and mark not in said]
    assert kept == []
    assert split.closed


WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}" + CHATML
)
TOOLS = [as_openai({"name": "louder", "parameters": {"type": "object", "properties": {"by": {"type": "integer"}}}})]
CALL = '<tool_call>{"name": "louder", "arguments": {"by": 2}}</tool_call>'
CALLED = ({"name": "louder", "arguments": {"by": 2}},)


def test_tools_are_written_where_the_template_knows_them(tokenizer: Any) -> None:
    knows, drops = form(tokenizer, WITH_TOOLS), form(tokenizer, CHATML)
    assert '"name": "louder"' in tokenizer.decode(knows.prompt(QUESTION, TOOLS))
    assert knows.prompt(QUESTION) == drops.prompt(QUESTION, TOOLS) == drops.prompt(QUESTION)
    assert not knows.leaves_out(QUESTION, TOOLS)
    assert drops.leaves_out(QUESTION, TOOLS)
    refuses = form(tokenizer, "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML)
    assert not refuses.leaves_out(QUESTION, TOOLS)  # its prompt is an error that says so
    with pytest.raises(PromptError, match="no tools"):
        refuses.prompt(QUESTION, TOOLS)


@pytest.mark.parametrize("said", [CALL, f"<think>loud</think>\n\n{CALL}<|im_end|>", f"Gladly.\n{CALL}"])
def test_calls_are_read_without_what_was_thought(tokenizer: Any, said: str) -> None:
    assert form(tokenizer, WITH_TOOLS).calls(tokens(tokenizer, said), None, TOOLS) == CALLED
    thought = f"<think>{CALL}</think>\n\nNo."
    assert form(tokenizer, WITH_TOOLS).calls(tokens(tokenizer, thought), None, TOOLS) == ()


def test_a_tokenizers_own_response_template_reads_its_calls(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.response_template = {
        "version": 1,
        "start_anchor": "assistant",
        "fields": {
            "content": {"content": "text"},
            "tool_calls": {
                "open_pattern": r"@@(?P<name>\w+)",
                "close": "@@",
                "content": "kv-lines",
                "content_args": {"line_sep": ";", "kv_sep": "="},
                "repeats": True,
                "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
            },
        },
    }
    prompt = tokens(own, "<|im_start|>assistant\n")
    assert form(own, WITH_TOOLS).calls(tokens(own, "Oui. @@louder by=2@@"), prompt, TOOLS) == CALLED
    assert form(own, WITH_TOOLS).calls(tokens(own, CALL), prompt, TOOLS) == CALLED  # a form of another model's
    assert form(own, WITH_TOOLS).calls(tokens(own, "Oui."), prompt, TOOLS) == ()


def test_a_template_that_writes_the_date_has_another_key_on_another_day(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = "{{ strftime_now('%d %b %Y') }}" + CHATML
    today = form(tokenizer, dated)
    assert today.key == form(tokenizer, dated).key
    assert today.write(QUESTION, answer_follows=True)[:4] in today.key["written_on"]
    assert "written_on" not in form(tokenizer, CHATML).key

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Tomorrow:
            return cls(2035, 1, 2, tzinfo=tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    assert form(tokenizer, dated).key != today.key
