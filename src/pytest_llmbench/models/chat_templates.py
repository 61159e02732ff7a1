"""Which form each variant's prompts are written in.

A fine-tune answers well in the form that it was trained in, and its folder may bring that form: a chat template, a
tokenizer, or both. The base keeps its own, so that its answers do not depend on what stands beside it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.adapter_tokenizer import adapter_tokenizer
from pytest_llmbench.models.adapters import Adapter, training_record
from pytest_llmbench.models.prompt_form import PromptError, PromptForm

if TYPE_CHECKING:
    from pytest_llmbench.models.loaded import LoadedModel

_log = logging.getLogger("pytest_llmbench")

_PROBES: Sequence[Sequence[str]] = (("user",), ("system", "user"), ("user", "assistant", "user"))
# for a base that only continues text: each message on a line of its own, the answer ended by end-of-text
_PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def _beginning(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that the tokenizer puts before every text."""
    whole, bare = (tokenizer("x", add_special_tokens=added)["input_ids"] for added in (True, False))
    return tuple(itertools.takewhile(lambda token: token != bare[0], whole))


def base_form(
    tokenizer: Any, arguments: Mapping[str, Any], system_role: Literal["system", "user"], rows: int | None = None
) -> PromptForm:
    """The form of a base with so many rows of embeddings: its own template, or plain lines where it has none.

    Arguments that the template does not read are announced: they would change nothing.
    """
    if tokenizer.chat_template:
        form = PromptForm(tokenizer, tokenizer.get_chat_template(), BASE, arguments, system_role, rows)
    else:
        form = PromptForm(tokenizer, _PLAIN, None, arguments, system_role, rows, _beginning(tokenizer))
    _tell_of_unread_arguments(form)
    return form


def prompt_forms(loaded: LoadedModel) -> dict[str, PromptForm]:
    """The form of each variant, the base first. What keeps base and fine-tune from being asked alike is announced.

    A template that writes the same as the base's counts as the base's, and so does a tokenizer with the same rules.

    Raises:
        AdapterError: an adapter's template is not valid, or its tokenizer is not for this base.
    """
    rows = int(loaded.model.get_input_embeddings().weight.shape[0])
    base = base_form(loaded.tokenizer, loaded.template_arguments, loaded.system_role, rows)
    forms = {BASE: base}
    for variant, adapter in loaded.adapters.items():
        forms[variant] = _form_of(adapter, base, rows)
        if forms[variant] != base:
            _log.warning(
                "%s reads prompts through the %s in %s, the base through %s: part of what differs between them may be "
                "the form of the prompt",
                variant,
                "chat template" if forms[variant].tokenizer is base.tokenizer else "tokenizer",
                adapter.path,
                "its own" if base.origin else "plain lines, having no template",
            )
    return forms


def _form_of(adapter: Adapter, base: PromptForm, rows: int) -> PromptForm:
    _tell_of_other_training(adapter, base)
    tokenizer = adapter_tokenizer(adapter, base.tokenizer, rows) or base.tokenizer
    given = None if adapter.chat_template == base.whole_template else adapter.chat_template
    template = given or base.template
    begins = () if base.origin or given else _beginning(tokenizer)
    own = dataclasses.replace(base, tokenizer=tokenizer, template=template, origin=adapter.path, begins=begins)
    as_base = template == base.template or (begins == base.begins and _written(own) == _written(base))
    if tokenizer is base.tokenizer and as_base:
        return base
    if template != base.template:
        _tell_of_unread_arguments(own)
    return own


def _tell_of_unread_arguments(form: PromptForm) -> None:
    unread = [name for name in form.arguments if not re.search(rf"\b{re.escape(name)}\b", form.template)]
    if unread:
        _log.warning(
            "model.template_arguments: the chat template of %s does not read %s, which changes nothing there",
            "the base" if form.origin in {BASE, None} else form.origin,
            ", ".join(unread),
        )


def _tell_of_other_training(adapter: Adapter, asked: PromptForm) -> None:
    """Announce an adapter whose rows were written with other arguments than its prompts will be."""
    record = training_record(Path(adapter.path))
    now = {"template_arguments": dict(asked.arguments), "system_role": asked.system_role}
    for key, value in now.items():
        if key in record and record[key] != value:
            _log.warning(
                "%s was trained with model.%s %s and is asked with %s: set it as in training",
                adapter.path,
                key,
                json.dumps(record[key]),
                json.dumps(value),
            )


def _written(form: PromptForm) -> list[str]:
    """What the template makes of a few conversations; a refusal counts as what it says."""
    from jinja2 import TemplateSyntaxError

    found = []
    for roles, follows in itertools.product(_PROBES, (True, False)):
        messages = [{"role": role, "content": f"llmbench-{place}"} for place, role in enumerate(roles)]
        try:
            text = form.write(messages, answer_follows=follows)
        except PromptError as error:
            if isinstance(error.__cause__, TemplateSyntaxError):
                raise AdapterError(
                    f"{form.origin}: not a valid chat template ({error.__cause__}); mend it or remove it"
                ) from error
            text = f"refused: {error}"
        found.append(text)
    return found
