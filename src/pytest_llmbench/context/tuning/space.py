"""What is searched: the settings that are varied, the values of each, and the launch that a choice of them means."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.core.allowed import fault_text
from pytest_llmbench.core.documents import suggestion
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.setting_sections import Engine

Value = bool | int | float | str | None
"""Of a setting; None leaves it to the server."""

FIELDS: Mapping[str, tuple[str, ...]] = {"kv_type": ("kv_type_k", "kv_type_v")}
"""Names that stand for several settings at once."""

ENGINE_SETTINGS = frozenset((*LaunchSettings.model_fields, *FIELDS))
"""Names of settings of engines; any other that is searched is a command template's own."""

_NOT_SEARCHED = frozenset(("engine", "model", "max_context", "served_name", "host", "port"))
"""What a study is about, or where the server is: neither varied nor fixed."""

_WRITTEN: Mapping[str, Value] = {"slots": 256, "gpu_memory_share": 0.9}
"""What a place in a command for vLLM or SGLang has in the baseline: vLLM's defaults on GPUs below 70 GiB.

Not the least of what is searched, which nobody runs and anything beats. The tokens of a step differ fourfold by GPU.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One setting that is varied. Where its values are numbers they are in order, what is left to the server first."""

    name: str
    choices: tuple[Value, ...]

    @property
    def ordered(self) -> bool:
        """Whether its values are numbers, so that neighbours are alike."""
        return all(value is None or type(value) in (int, float) for value in self.choices)


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A choice of values, and what it comes to: the launch, and what only a command's template knows."""

    values: Mapping[str, Value]
    launch: LaunchSettings
    own: Mapping[str, Value]

    @property
    def key(self) -> str:
        """The same for choices that start the same server."""
        return f"{self.launch.model_dump_json()} {sorted(self.own.items())}"


class SearchSpace:
    """All that may be launched: `launch` with the parameters' values in it.

    Names in `own` that are no settings of the engine are a command template's; `fixed` ones have one value. The
    `baseline` is what the winner is compared with; its values are among the parameters' choices, the first that is
    varied where it has none.

    Raises:
        UsageError: a setting that does not exist, or a value that it cannot have.
    """

    def __init__(
        self,
        launch: LaunchSettings,
        vary: Mapping[str, Sequence[Value]],
        baseline: Mapping[str, Value],
        fixed: Mapping[str, Any] = {},
        own: frozenset[str] = frozenset(),
    ) -> None:
        self._own = own = own - ENGINE_SETTINGS
        for where, names in (("tune.vary", vary), ("tune.baseline", baseline), ("tune.fixed", fixed)):
            for name in names:
                self._refuse_unknown(name, where)
        if both := sorted(vary.keys() & fixed.keys()):
            raise UsageError(f"tune.fixed: {both[0]} is varied too; give it once", names=("tune.fixed", "tune.vary"))
        if both := sorted(baseline.keys() & fixed.keys()):
            raise UsageError(
                f"tune.fixed: {both[0]} is the same in each trial, so the baseline has no other; give it once",
                names=("tune.fixed", "tune.baseline"),
            )
        self._fixed_own = {name: value for name, value in fixed.items() if name in own}
        engines = {name: value for name, value in fixed.items() if name not in own}
        self._launch = _launched(launch, {**_for_one(baseline, vary, own), **engines}, "tune.fixed")
        self.parameters = tuple(_parameter(name, values, baseline) for name, values in vary.items())
        first = {name: values[0] for name, values in vary.items() if name not in baseline}
        self.baseline = self._checked_baseline({**first, **baseline})

    @property
    def size(self) -> int:
        """How many choices there are."""
        return math.prod(len(one.choices) for one in self.parameters)

    def candidate(self, values: Mapping[str, Value]) -> Candidate:
        """What a choice comes to. A micro-batch above the batch is the batch, as llama.cpp has it."""
        engines = {name: value for name, value in values.items() if name not in self._own}
        own = {**self._fixed_own, **{name: value for name, value in values.items() if name in self._own}}
        batch, micro = (engines.get(name, getattr(self._launch, name)) for name in ("batch_tokens", "micro_batch"))
        if isinstance(batch, int) and isinstance(micro, int) and micro > batch:
            engines["micro_batch"] = batch
        return Candidate(dict(values), _launched(self._launch, engines, "tune.vary"), own)

    def all(self) -> Iterator[Candidate]:
        """Every choice, in the order of the parameters' values."""
        names = [one.name for one in self.parameters]
        for values in itertools.product(*(one.choices for one in self.parameters)):
            yield self.candidate(dict(zip(names, values, strict=True)))

    def _checked_baseline(self, values: Mapping[str, Value]) -> Candidate:
        for parameter in self.parameters:
            for value in parameter.choices:
                if parameter.name not in self._own:
                    _launched(self._launch, {"micro_batch": None, parameter.name: value}, "tune.vary")
        return self.candidate({one.name: values[one.name] for one in self.parameters})

    def _refuse_unknown(self, name: str, where: str) -> None:
        known = (ENGINE_SETTINGS | self._own) - _NOT_SEARCHED
        if name in _NOT_SEARCHED:
            raise UsageError(f"{where}: {name} cannot be set here; it belongs to what is tuned", names=(where,))
        if name not in known:
            raise UsageError(
                f"{where}: there is no setting {name!r}; {suggestion(name, sorted(known))}", names=(where,)
            )


def usual_parameters(engine: Engine, cores: int, written: frozenset[str] = frozenset()) -> dict[str, tuple[Value, ...]]:
    """What is varied unless it is said otherwise; `cores` are the machine's.

    What a command has `written` a place for cannot be left to the server, but for the KV cache's type: `auto` says so.
    """
    if engine == "llamacpp":
        return {
            "slots": (1, 2, 4, 8, 16, 32),
            "unified_kv": (False, True),
            "kv_type": ("f16", "q8_0"),
            "batch_tokens": (512, 2048),
            "micro_batch": (128, 512),
            "threads": tuple(2**power for power in range(cores.bit_length())),
        }
    values: dict[str, tuple[Value, ...]] = {
        "slots": (16, 32, 64, 128, 256, 512),
        "batch_tokens": (2048, 4096, 8192, 16384),
        "gpu_memory_share": (0.8, 0.85, 0.95),
        "kv_type": ("fp8",),
    }
    return {name: some if name in written - {"kv_type"} else (None, *some) for name, some in values.items()}


def usual_baseline(engine: Engine, cores: int, written: frozenset[str] = frozenset()) -> dict[str, Value]:
    """What the engine takes where nobody says anything.

    llama.cpp: 4 slots over one pool, as `llama-server` has it, and a thread a core. vLLM and SGLang are told nothing:
    vLLM's sequences at once are 256 or 1024 by the GPU, SGLang computes its own from the memory. What a command has
    `written` a place for needs a value all the same: `_WRITTEN`, None where there is none that would be right.
    """
    if engine == "llamacpp":
        return {
            "slots": 4,
            "unified_kv": True,
            "kv_type": "f16",
            "batch_tokens": 2048,
            "micro_batch": 512,
            "threads": cores,
        }
    names = ("slots", "batch_tokens", "gpu_memory_share", "kv_type")
    return {name: _WRITTEN.get(name) if name in written else None for name in names}


def _for_one(
    baseline: Mapping[str, Value], vary: Mapping[str, Sequence[Value]], own: frozenset[str]
) -> dict[str, Value]:
    """The baseline's values of what is not varied."""
    return {name: value for name, value in baseline.items() if name not in vary and name not in own}


def _parameter(name: str, values: Sequence[Value], baseline: Mapping[str, Value]) -> Parameter:
    """The parameter, with the baseline's value among its choices."""
    given = (*values, baseline[name]) if name in baseline else tuple(values)
    if not given:
        raise UsageError(f"tune.vary: {name} has no values; give some, such as 2,4,8", names=("tune.vary",))
    choices = tuple(dict.fromkeys(given))
    found = Parameter(name, choices)
    return Parameter(name, tuple(sorted(choices, key=_place))) if found.ordered else found


def _place(value: Value) -> float:
    return -math.inf if value is None else float(value)


def _launched(launch: LaunchSettings, values: Mapping[str, Any], where: str) -> LaunchSettings:
    fields = {field: value for name, value in values.items() for field in FIELDS.get(name, (name,))}
    try:
        return LaunchSettings.model_validate({**launch.model_dump(), **fields})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise UsageError(f"{where}: {fault_text(LaunchSettings, fault)}", names=(where,)) from error
