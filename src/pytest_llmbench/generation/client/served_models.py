"""Which model and which extra request keys make a server answer as the base or as the adapter."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import logging
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, FINETUNED

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import ServerSettings

_log = logging.getLogger("pytest_llmbench")
_LATEST = ":latest"
_LORA = re.compile(r"lora:(?P<id>\d+)(?:=(?P<scale>.*))?")
_LASTING_KEYS = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""What tells one served model from another. `created` is left out: vLLM and llama.cpp give the time of the request."""


class Lora(NamedTuple):
    """An adapter that a llama.cpp server has loaded, and the scale that it gives it unless it is told otherwise."""

    path: str
    scale: float


@dataclasses.dataclass(frozen=True, slots=True)
class VariantTarget:
    """What a variant's requests carry besides the question: the model's name, and extra keys of the body."""

    model: str | None
    extra: Mapping[str, Any]

    @property
    def loras(self) -> list[int]:
        """The ids of the llama.cpp adapters that the body turns on or off.

        Raises:
            UsageError: `lora` is no list of ids and scales.
        """
        return list(_scales(self.extra.get("lora") or ()))


def targets(server: ServerSettings) -> dict[str, VariantTarget]:
    """The variants that the settings ask for; a model left open is None.

    llama.cpp picks adapters by request body and not by name. `lora:0` and `lora:0=0.5` are short for such a body, and
    the base then asks for scale 0, since the server applies what it has loaded unless it is told otherwise.

    Raises:
        UsageError: both variants would be asked the same, or the scale of an adapter is no number.
    """
    base_extra, adapter_extra = dict(server.base_body or {}), dict(server.adapter_body or {})
    adapter_model = server.adapter
    if server.adapter is not None and (lora := _LORA.fullmatch(server.adapter)):
        adapter_model = None
        adapter_extra.setdefault("lora", [{"id": int(lora["id"]), "scale": _scale(lora["scale"], server.adapter)}])
    if adapter_model is None and not adapter_extra:
        return {BASE: VariantTarget(server.model, base_extra)}
    tuned = VariantTarget(adapter_model or server.model, adapter_extra)
    if tuned.loras:
        base_extra.setdefault("lora", [{"id": number, "scale": 0.0} for number in tuned.loras])
        for extra in (base_extra, adapter_extra):  # llama.cpp may answer from a prompt that another adapter has read
            extra.setdefault("cache_prompt", False)  # https://github.com/ggml-org/llama.cpp/issues/26207
    base = VariantTarget(server.model, base_extra)
    if base == tuned:
        raise UsageError(
            "the server's base and adapter are the same request; change server.adapter", names=("server.adapter",)
        )
    return {BASE: base, FINETUNED: tuned}


def listed_models(body: Any) -> dict[str, Mapping[str, Any]]:
    """The entries of a `/v1/models` body by name, aliases too, with only the keys that last; none when unreadable."""
    entries = body.get("data") if isinstance(body, dict) else body  # some services give the list alone
    models: dict[str, Mapping[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            lasting = {key: entry[key] for key in _LASTING_KEYS if entry.get(key) is not None}
            models.update(dict.fromkeys((entry["id"], *(entry.get("aliases") or ())), lasting))
    return models


def with_models(
    wanted: Mapping[str, VariantTarget], listed: Mapping[str, Mapping[str, Any]], url: str, *, all_listed: bool
) -> dict[str, VariantTarget]:
    """The targets with their model names filled in, and checked against what the server lists.

    `all_listed` tells that the engine is known to list whatever it serves. Elsewhere the list says little:
    `transformers serve` lists what happens to lie in its cache, gateways only a part. A name that is missing there is
    asked for all the same, which is announced, and the server's own refusal decides.

    Raises:
        ServerError: a name that the server does not list, or no name where it lists several models or none.
    """
    adapters = {target.model for target in wanted.values()} if len(wanted) > 1 else set()
    default = None
    if any(target.model is None for target in wanted.values()):
        default = _only_model(listed, adapters, url)
    filled = {}
    for variant, target in wanted.items():
        name = default if target.model is None else served_name(target.model, listed)
        if listed and name is None:
            if all_listed:
                raise ServerError(f"{url}: has no model '{target.model}' for '{variant}'; it serves {_names(listed)}")
            _log.warning(
                N_("%s: does not list '%s', only %s; it is asked all the same"), url, target.model, _names(listed)
            )
        filled[variant] = dataclasses.replace(target, model=name or target.model)
    return filled


def served_name(name: str, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The listed name that is meant, None where none is.

    Ollama lists `name:latest`, SGLang is asked for `base:name` (`Engine.named`), and proxies list patterns.
    """
    tagged = name.removesuffix(_LATEST) if name.endswith(_LATEST) else name + _LATEST
    behind_base = next((one for one, entry in listed.items() if one == f"{entry.get('parent')}:{name}"), tagged)
    if found := next((one for one in (name, tagged, behind_base) if one in listed), None):
        return found
    return name if any("*" in pattern and fnmatch.fnmatchcase(name, pattern) for pattern in listed) else None


def base_of(name: str, listed: Mapping[str, Mapping[str, Any]]) -> str:
    """The name that answers as the base of a listed model; its own where it is no fine-tune, or no base is listed.

    vLLM's `parent` is what `--lora-modules` calls the base, which need not be a name that it is served by.
    """
    parent = listed.get(name, {}).get("parent")
    if not parent or parent in listed:
        return parent or name
    bases = _bases(listed)
    return bases.pop() if len(bases) == 1 else name


def loaded_loras(body: Any) -> dict[int, Lora] | None:
    """The adapters of a llama.cpp `/lora-adapters` body by id; None where it is no such body."""
    if not isinstance(body, list):
        return None
    entries = [item for item in body if isinstance(item, dict) and isinstance(item.get("id"), int)]
    return {item["id"]: Lora(str(item.get("path")), item.get("scale", 1.0)) for item in entries}


def with_loras(
    extra: Mapping[str, Any], loaded: Mapping[int, Lora], url: str, *, as_started: bool = False
) -> dict[str, Any]:
    """The extra keys of a body with a scale for every adapter that the server switches.

    A request that leaves one out gets what another left in the slot, an empty list is "as the server was started", and
    an unknown id switches all of them off without a word. What is not named gets 0.0, or with `as_started`, and beside
    an empty list, the scale that the server was started with. A `lora` that is None stays out.

    Raises:
        ServerError: the server has not loaded an adapter that is named.
        UsageError: `lora` is no list of ids and scales.
    """
    if "lora" in extra and extra["lora"] is None:
        return dict(extra)
    named = _scales(extra.get("lora", ()))
    if unknown := sorted(set(named) - set(loaded)):
        has = f"it has {sorted(loaded)}" if loaded else "it has none"
        raise ServerError(f"{url}: no LoRA adapter {unknown[0]} is loaded, {has}; start the server with --lora FILE")
    started = as_started if "lora" not in extra else not named
    full = {number: named.get(number, lora.scale if started else 0.0) for number, lora in loaded.items()}
    return {**extra, "lora": [{"id": number, "scale": scale} for number, scale in full.items()]} if full else {**extra}


def _scale(told: str | None, adapter: str) -> float:
    if told is None:
        return 1.0
    try:
        scale = float(told)
    except ValueError:
        wrong = "is no number"
    else:
        if math.isfinite(scale) and scale >= 0:
            return scale
        wrong = "must be a finite number, 0 or more"
    raise UsageError(
        f"server.adapter: {adapter}: the scale {told!r} {wrong}; write it as lora:0 or lora:0=0.5",
        names=("server.adapter",),
    )


def _scales(lora: Any) -> dict[int, float]:
    try:
        return {int(item["id"]): float(item.get("scale", 1.0)) for item in lora}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"lora in a request's body is {lora!r}; write a list such as [{{id: 0, scale: 1.0}}]"
        ) from error


def _only_model(listed: Mapping[str, Mapping[str, Any]], adapters: set[str | None], url: str) -> str:
    """The one model that is neither an adapter of another (vLLM names its `parent`) nor asked for as one."""
    candidates = _bases({name: entry for name, entry in listed.items() if name not in adapters})
    if len(candidates) != 1:
        serves = f"serves {_names(listed)}" if listed else "does not list its models"
        raise ServerError(f"{url}: {serves}; name the one to ask with server.model", names=("server.model",))
    return candidates.pop()


def _bases(listed: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {str(entry["id"]) for entry in listed.values() if not entry.get("parent")}


def _names(listed: Mapping[str, Mapping[str, Any]]) -> str:
    return json.dumps(sorted({str(entry["id"]) for entry in listed.values()}), ensure_ascii=False)[1:-1]
