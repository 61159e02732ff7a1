"""Which chat template each variant's prompts are written with.

A fine-tune answers well in the form that it was trained in, and its folder may bring that form. The base keeps its own;
a base that has none borrows the adapter's, so that both are asked alike.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.errors import AdapterError
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.records import BASE

_log = logging.getLogger("pytest_llmbench")

_PROBES: Sequence[Sequence[str]] = (("user",), ("system", "user"), ("user", "assistant", "user"))


@dataclasses.dataclass(frozen=True, slots=True)
class PromptForm:
    """How a variant's prompts are written. `template` is None for the tokenizer's own, or for none at all.

    `origin` is `base`, or the path of the adapter that the template comes from; None where there is no template.
    """

    template: str | None
    origin: str | None


def prompt_forms(tokenizer: Any, adapters: Mapping[str, Adapter]) -> dict[str, PromptForm]:
    """The form of each variant, the base first. What keeps base and fine-tune from being asked alike is announced.

    A template that writes the same as the base's counts as the base's.

    Raises:
        AdapterError: an adapter's template is not valid.
    """
    forms = {BASE: _form_of_base(tokenizer, adapters)}
    for variant, adapter in adapters.items():
        forms[variant] = _form_of(adapter, forms[BASE], tokenizer)
        if forms[variant] != forms[BASE]:
            _log.warning(
                "%s reads prompts through the chat template in %s, the base through %s: part of what differs between "
                "them may be the form of the prompt",
                variant,
                adapter.path,
                "its own" if tokenizer.chat_template else f"that of {forms[BASE].origin}",
            )
    return forms


def _form_of_base(tokenizer: Any, adapters: Mapping[str, Adapter]) -> PromptForm:
    if tokenizer.chat_template:
        return PromptForm(None, BASE)
    lender = next((adapter for adapter in adapters.values() if adapter.chat_template), None)
    if lender is None:
        return PromptForm(None, None)
    _log.warning("the base has no chat template: its prompts are written with the one in %s too", lender.path)
    return PromptForm(lender.chat_template, lender.path)


def _form_of(adapter: Adapter, base: PromptForm, tokenizer: Any) -> PromptForm:
    if adapter.chat_template is None:
        return base
    written = _written(tokenizer, adapter.chat_template, adapter.path)
    alike = base.template == adapter.chat_template or written == _written(tokenizer, base.template, str(base.origin))
    return base if alike else PromptForm(adapter.chat_template, adapter.path)


def _written(tokenizer: Any, template: str | None, origin: str) -> list[str]:
    """What the template makes of a few conversations; a refusal counts as what it says."""
    from jinja2 import TemplateError, TemplateSyntaxError

    found = []
    for roles, generates in itertools.product(_PROBES, (True, False)):
        messages = [{"role": role, "content": f"llmbench-{place}"} for place, role in enumerate(roles)]
        try:
            text = tokenizer.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=generates, tokenize=False
            )
        except TemplateSyntaxError as error:
            raise AdapterError(f"{origin}: not a valid chat template ({error}); mend it or remove it") from error
        except TemplateError as error:
            text = f"refused: {error}"
        found.append(str(text))
    return found
