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

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.adapters import Adapter, training_record
from pytest_llmbench.models.prompt_form import PromptError, PromptForm
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.tokenizers import read_tokenizer

if TYPE_CHECKING:
    from pytest_llmbench.models.loaded import LoadedModel


_log = logging.getLogger("pytest_llmbench")

_PROBES: Sequence[Sequence[str]] = (("user",), ("system", "user"), ("user", "assistant", "user"))
# for a base that only continues text: each message on a line of its own, the answer ended by end-of-text
_PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROBE = "Été 2026 :\n\n1. «Ouvre» Chrome…\n\tif x == 10:  # 1,234.5 €\n\n\nfin 🙂"


def _beginning(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that the tokenizer puts before every text."""
    whole, bare = (tokenizer("x", add_special_tokens=added)["input_ids"] for added in (True, False))
    return tuple(itertools.takewhile(lambda token: token != bare[0], whole))


def base_form(
    tokenizer: Any, arguments: Mapping[str, Any], system_role: Literal["system", "user"], rows: int | None = None
) -> PromptForm:
    """The form of a base with so many rows of embeddings: its own template, or plain lines where it has none.

    Arguments that the template does not read are announced: they would change nothing.

    Raises:
        ModelError: it has several templates, and none of them is the default.
    """
    if tokenizer.chat_template:
        template, for_tools = _templates(tokenizer.chat_template)
        form = PromptForm(tokenizer, template, BASE, arguments, system_role, rows, tool_template=for_tools)
    else:
        form = PromptForm(tokenizer, _PLAIN, None, arguments, system_role, rows, _beginning(tokenizer))
    _tell_of_unread_arguments(form)
    return form


def _templates(told: str | Mapping[str, str]) -> tuple[str, str | None]:
    """The template of a tokenizer, and its own one for prompts with tools, as transformers would choose them."""
    if isinstance(told, str):
        return told, None
    if "default" not in told:
        raise ModelError(
            f"the base's tokenizer has several chat templates ({', '.join(sorted(told))}) and none is called default; "
            "save the one that is meant as its chat_template.jinja"
        )
    return told["default"], told.get("tool_use")


def prompt_forms(loaded: LoadedModel) -> dict[str, PromptForm]:
    """The form of each variant of a loaded model, as `variant_forms` has them. Raises what it raises."""
    rows = int(loaded.model.get_input_embeddings().weight.shape[0])
    base = base_form(loaded.tokenizer, loaded.template_arguments, loaded.system_role, rows)
    return variant_forms(base, loaded.adapters, rows)


def variant_forms(base: PromptForm, adapters: Mapping[str, Adapter], rows: int) -> dict[str, PromptForm]:
    """The form of each variant, the base first. What keeps base and fine-tune from being asked alike is announced.

    A template that writes the same as the base's counts as the base's, and so does a tokenizer with the same rules.
    `rows` are the tokens that the base has embeddings for.

    Raises:
        AdapterError: an adapter's template is not valid, or its tokenizer is not for this base.
    """
    forms = {BASE: base}
    for variant, adapter in adapters.items():
        forms[variant] = _form_of(adapter, base, rows)
        if forms[variant] != base:
            _log.warning(_unlike(forms[variant], base), variant, adapter.path)
    return forms


def _unlike(form: PromptForm, base: PromptForm) -> str:
    """What is announced of a form that is not the base's: `%s` are the variant and its folder."""
    if form.tokenizer is not base.tokenizer:
        return N_(
            "%s reads prompts through the tokenizer in %s, the base through its own: part of what differs between them "
            "may be the form of the prompt"
        )
    if base.origin:
        return N_(
            "%s reads prompts through the chat template in %s, the base through its own: part of what differs between "
            "them may be the form of the prompt"
        )
    return N_(
        "%s reads prompts through the chat template in %s, the base through plain lines, having no template: part of "
        "what differs between them may be the form of the prompt"
    )


def _form_of(adapter: Adapter, base: PromptForm, rows: int) -> PromptForm:
    _tell_of_other_training(adapter, base)
    tokenizer = _adapter_tokenizer(adapter, base.tokenizer, rows) or base.tokenizer
    given = None if adapter.chat_template == base.whole_template else adapter.chat_template
    template = given or base.template
    begins = () if base.origin or given else _beginning(tokenizer)
    own = dataclasses.replace(
        base,
        tokenizer=tokenizer,
        template=template,
        origin=adapter.path,
        begins=begins,
        tool_template=base.tool_template if template == base.template else None,
    )
    writes_alike = begins == base.begins and own.tool_template == base.tool_template and _written(own) == _written(base)
    as_base = template == base.template or writes_alike
    if tokenizer is base.tokenizer and as_base:
        return base
    if template != base.template:
        _tell_of_unread_arguments(own)
    return own


def _tell_of_unread_arguments(form: PromptForm) -> None:
    read = form.template + (form.tool_template or "")
    unread = [name for name in form.arguments if not re.search(rf"\b{re.escape(name)}\b", read)]
    if unread:
        _log.warning(
            N_("model.template_arguments: the chat template of %s does not read %s, which changes nothing there"),
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
                N_("%s was trained with model.%s %s and is asked with %s: set it as in training"),
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


def _adapter_tokenizer(adapter: Adapter, base: Any, rows: int) -> Any | None:
    """The tokenizer in the adapter's folder; None where there is none, or one that reads and writes as the base's.

    Args:
        adapter: whose folder is looked at.
        base: the base's tokenizer.
        rows: of the base's embedding.

    Raises:
        AdapterError: it cannot be read, or its tokens are more than the base has embeddings for.
    """
    folder = Path(adapter.path)
    if not any((folder / name).is_file() for name in _FILES):
        return None
    try:
        with quiet_libraries():
            own = read_tokenizer(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError) as error:
        raise AdapterError(
            f"{adapter.path}: its tokenizer cannot be read ({error}); save it again, or remove the tokenizer's files "
            "where it is the base's own"
        ) from error
    if _reads_as(base, own):
        return None
    known = base.get_vocab()
    if outside := {token: place for token, place in own.get_vocab().items() if place >= rows and token not in known}:
        first = min(outside, key=lambda token: outside[token])
        raise AdapterError(
            f"{adapter.path}: its tokenizer has {len(own)} tokens, and the base has embeddings for {rows}: "
            f"{first!r} (id {outside[first]}) has none; give the base that was enlarged for it "
            f"(resize_token_embeddings({len(own)}), save_pretrained) as model.base, or train without new tokens"
        )
    return own


def _reads_as(base: Any, own: Any) -> bool:
    """Whether ids mean the same text to both, and both end it with the same token, where the adapter's names one."""
    if own.eos_token_id not in (None, base.eos_token_id) or own.bos_token_id not in (None, base.bos_token_id):
        return False
    if own.get_vocab() != base.get_vocab():
        return False
    return bool(own(_PROBE)["input_ids"] == base(_PROBE)["input_ids"])
