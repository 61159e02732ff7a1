"""Every setting, its default and its limits, and the order in which files, environment and options decide it."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from pytest_llmbench.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.errors import UsageError

_Auto = Literal["auto"]
_Count = Annotated[int, Field(ge=1)]
_Text = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Section):
    """What is compared, and how it is loaded."""

    base: _Text = Field(default="smollm2-135m", description="registry alias, hub id, local folder or GGUF file")
    adapter: _Text | tuple[_Text, ...] = Field(
        default="auto", description="LoRA folder; auto takes the newest that fits; none asks the base only"
    )
    adapters_dir: Path = Field(default=Path("adapters"), description="folder in which auto looks")
    quantization: Literal["nf4", "int8", "none"] = Field(default="nf4", description="how the base's weights are stored")
    double_quant: bool = Field(default=True, description="quantize the scales of nf4 too")
    compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="what is computed in"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a GPU where there is one")
    device_map: _Text | dict[str, int | str] = Field(
        default="auto", description="how layers are laid over several GPUs"
    )
    revision: _Text | None = Field(default=None, description="branch, tag or commit of a hub model")
    trust_remote_code: bool = Field(default=False, description="run code that comes with the model")
    verify_adapter: bool = Field(default=True, description="refuse an adapter that was made for another base")

    @field_validator("adapter")
    @classmethod
    def _refuse_odd_lists(cls, adapter: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(adapter, str):
            return adapter
        if not adapter or len(set(adapter)) < len(adapter) or ("none" in adapter and len(adapter) > 1):
            raise ValueError("name each adapter once, and 'none' only alone")
        return adapter[0] if len(adapter) == 1 else adapter

    @property
    def adapters(self) -> tuple[str, ...]:
        """What `adapter` names, one or several."""
        return (self.adapter,) if isinstance(self.adapter, str) else self.adapter


class GenerationSettings(_Section):
    """How answers are made."""

    max_new_tokens: _Count = Field(default=128, description="the most tokens of an answer")
    temperature: float = Field(default=0.7, ge=0, description="0 is greedy")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus sampling")
    do_sample: bool = Field(default=True, description="false is greedy")
    seed: int = Field(default=42, ge=0, description="of the sampling noise, which belongs to the case")
    batch_size: _Auto | _Count = Field(default="auto", description="prompts answered at once")
    epochs: _Count = Field(default=1, description="how often every case is asked")
    timeout: float = Field(default=30.0, gt=0, description="seconds for an answer")
    threads: _Auto | _Count = Field(default="auto", description="CPU threads; auto measures for a second")
    long_prompt: Literal["error", "truncate"] = Field(
        default="error", description="when a prompt does not fit the context"
    )
    cache: bool = Field(default=True, description="reuse stored answers to unchanged questions")


class BenchmarkSettings(_Section):
    """What is asked."""

    prompts: tuple[Path, ...] = Field(
        default=(Path("prompts"),), min_length=1, description="suites and folders of suites"
    )
    vocabulary: Path = Field(default=Path("prompts/tools.yaml"), description="the tools and their terms")
    categories: tuple[_Text, ...] | None = Field(default=None, description="only these categories; null is all")
    limit: _Count | None = Field(default=None, description="only the first cases; null is all")


class MetricsSettings(_Section):
    """What is measured. Each metric can be switched off."""

    cosine_similarity: bool = Field(default=True, description="how near the two answers are in meaning")
    keywords: bool = Field(default=True, description="share of the case's keywords in the answer")
    relevance: bool = Field(default=True, description="terms of the vocabulary in the answer")
    tool_accuracy: bool = Field(default=True, description="whether the answer routes to the case's tool")
    latency_s: bool = Field(default=True, description="seconds for the answer")
    tokens_per_s: bool = Field(default=True, description="tokens of the answer over its seconds")
    case_sensitive: bool = Field(default=False, description="tell Volume from volume")
    accent_sensitive: bool = Field(default=False, description="tell été from ete")


with warnings.catch_warnings():
    # `output.json` is the key that people write; pydantic warns since it hides a method that it has deprecated itself
    warnings.filterwarnings("ignore", message='Field name "json"', category=UserWarning)

    class OutputSettings(_Section):
        """What is written, and where."""

        report_dir: Path = Field(default=Path("reports"), description="folder of reports and runs")
        json: bool = Field(default=True, description="write benchmark.json")  # type: ignore[assignment]
        png: bool = Field(
            default=True, description="write benchmark.png, and the figures of differences and of the trend"
        )
        text: bool = Field(default=True, description="write the text analysis")
        html: bool = Field(default=True, description="write benchmark.html")
        markdown: bool = Field(default=True, description="write benchmark.md, for a pull request's comment")
        language: Literal["en", "fr"] = Field(default="en", description="of reports")
        answer_chars: _Count = Field(
            default=500, description="answers are cut to this in the report, never in the journal"
        )


class LoggingSettings(_Section):
    """What is shown while it works."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="WARNING", description="least level shown"
    )
    progress: bool = Field(default=True, description="answers done, tokens/s, time left")
    show_gpu: bool = Field(default=True, description="memory of each GPU")
    show_timings: bool = Field(default=True, description="seconds of each answer")


class GateSettings(_Section):
    """What a session is held against, and when it fails."""

    kind: Literal["off", "regression", "improvement"] = Field(default="off", description="what makes a session fail")
    baseline: _Text | None = Field(default=None, description="run that is compared with; null is each adapter's base")
    metrics: tuple[_Text, ...] = Field(
        default=("relevance", "keywords", "tool_accuracy"), min_length=1, description="metrics that gate"
    )
    margin: float = Field(default=0.0, ge=0, description="a change up to this does not count")
    margins: dict[str, float] = Field(default={}, description="margins of single metrics")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="chance of a false alarm, in the whole gate")
    categories: bool = Field(default=True, description="look for a regression in each category too")
    missing_baseline: Literal["fail", "warn"] = Field(default="fail", description="when the baseline is not there")
    inconclusive: Literal["auto", "pass", "fail"] = Field(
        default="auto", description="auto passes a regression gate and fails an improvement gate"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _read_off(cls, kind: object) -> object:
        return "off" if kind is False else kind  # YAML takes a bare `off` for a boolean

    @field_validator("margins")
    @classmethod
    def _refuse_negative(cls, margins: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= margin < math.inf for margin in margins.values()):
            raise ValueError("give numbers from 0, such as {relevance: 0.05}")
        return margins


class ServerSettings(_Section):
    """A live OpenAI-compatible server that is asked instead of a local model, when `url` is set."""

    url: _Text | None = Field(default=None, description="such as http://127.0.0.1:8000/v1; null asks a local model")
    model: _Text | None = Field(default=None, description="the server's name for the base")
    adapter: _Text | None = Field(default=None, description="the server's name for the fine-tune")
    adapter_body: dict[str, Any] | None = Field(default=None, description="merged into requests to the fine-tune")
    base_body: dict[str, Any] | None = Field(default=None, description="merged into requests to the base")
    concurrency: _Count = Field(default=8, description="requests under way at once")
    retries: int = Field(default=3, ge=0, description="after 429, 5xx or no connection; never after the first byte")
    headers: dict[str, str] = Field(default={}, repr=False, description="more headers of each request")
    stream: bool = Field(default=True, description="read answers as they are made")

    @field_validator("headers")
    @classmethod
    def _refuse_key(cls, headers: dict[str, str]) -> dict[str, str]:
        if any(name.strip().lower() == "authorization" for name in headers):
            raise ValueError("a key has no place in settings, which reports show; put it in LLMBENCH_API_KEY")
        return headers

    @field_serializer("headers")
    def _mask(self, headers: dict[str, str]) -> dict[str, str]:
        return dict.fromkeys(headers, "***")


class Settings(_Section):
    """Everything that can be set, by section. `model_dump(mode="json")` is safe to publish."""

    model: ModelSettings = ModelSettings()
    generation: GenerationSettings = GenerationSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    metrics: MetricsSettings = MetricsSettings()
    output: OutputSettings = OutputSettings()
    logging: LoggingSettings = LoggingSettings()
    server: ServerSettings = ServerSettings()
    gate: GateSettings = GateSettings()


OPTIONS: Mapping[str, str] = {
    "base": "model.base",
    "adapter": "model.adapter",
    "quantization": "model.quantization",
    "device": "model.device",
    "prompts": "benchmark.prompts",
    "batch-size": "generation.batch_size",
    "epochs": "generation.epochs",
    "seed": "generation.seed",
    "limit": "benchmark.limit",
    "server": "server.url",
    "server-model": "server.model",
    "server-adapter": "server.adapter",
    "report-dir": "output.report_dir",
    "gate": "gate.kind",
    "compare": "gate.baseline",
    "margin": "gate.margin",
    "alpha": "gate.alpha",
}
"""Option name to the setting it gives."""

RESERVED = frozenset({"LLMBENCH_API_KEY", "LLMBENCH_CACHE_DIR", "LLMBENCH_CONFIG", "LLMBENCH_SAVE"})
"""Variables of the environment that are no settings."""

_KEYS: Mapping[str, type[BaseModel]] = {
    f"{name}.{key}": section
    for name, field in Settings.model_fields.items()
    if isinstance(section := field.annotation, type) and issubclass(section, BaseModel)
    for key in section.model_fields
}
_VARIABLES: Mapping[str, str] = {
    **{f"LLMBENCH_{option.upper().replace('-', '_')}": key for option, key in OPTIONS.items()},
    **{f"LLMBENCH_{key.upper().replace('.', '__')}": key for key in _KEYS},
}


def load_settings(
    path: Path | None,
    overrides: Mapping[str, tuple[str, str]] = {},
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings: `overrides` over the environment's `LLMBENCH_*` over the file at `path` over the defaults.

    An override is an option's name or a dotted key with the text that was given and where, such as
    `{"epochs": ("3", "--llmbench-epochs")}`. Lists are given as `a,b` or as JSON, mappings as JSON, nothing as `none`.
    An empty variable of the environment counts as not set. Relative paths stay relative to the current directory.

    Raises:
        UsageError: unknown keys, wrong values or an unreadable file; one line for each fault: where, and what to do.
    """
    faults = Faults()
    settings = _from_file(read_yaml(path), faults) if path else Settings()
    given = {**_from_environment(environ, faults), **{OPTIONS.get(key, key): raw for key, raw in overrides.items()}}
    changes: dict[str, dict[str, Any]] = {}
    for dotted, (raw, origin) in given.items():
        if dotted not in _KEYS:
            faults.add(f"{origin}: unknown setting '{dotted}'; {suggestion(dotted, _KEYS)}")
            continue
        section, key = dotted.split(".")
        try:
            changes.setdefault(section, {})[key] = _from_text(dotted, raw)
        except ValueError as error:
            faults.add(f"{origin}: {_wrong(dotted, raw, error)}")
    faults.raise_any()
    sections = {name: getattr(settings, name).model_copy(update=update) for name, update in changes.items()}
    return settings.model_copy(update=sections)


def _from_environment(environ: Mapping[str, str], faults: Faults) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for variable, raw in sorted(environ.items()):
        if not variable.startswith("LLMBENCH_") or variable in RESERVED or not raw.strip():
            continue
        key = _VARIABLES.get(variable)
        if key is None:
            names = _VARIABLES if "__" in variable else [name for name in _VARIABLES if "__" not in name]
            faults.add(f"{variable}: unknown variable of the environment; {suggestion(variable, names)}")
        elif key in found:
            faults.add(f"{variable}: {key} is also given by {found[key][1]}; keep one of them")
        else:
            found[key] = raw, variable
    return found


def _from_text(dotted: str, raw: str) -> Any:
    """The value that a text from outside means. Raises ValueError when it means none."""
    kinds = {part.get("type") for part in _alternatives(_schema(dotted))}
    text = raw.strip()
    value: Any = text
    if "null" in kinds and text.lower() in ("none", "null"):
        value = None
    elif ("object" in kinds and text.startswith("{")) or ("array" in kinds and text.startswith("[")):
        value = json.loads(text)
    elif "array" in kinds and "string" not in kinds:
        value = [part.strip() for part in text.split(",") if part.strip()]
    key = dotted.partition(".")[2]
    return getattr(_KEYS[dotted].model_validate({key: value}), key)


def _from_file(document: Document, faults: Faults) -> Settings:
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        sections = ", ".join(Settings.model_fields)
        raise UsageError(f"{document.path}:1: a settings file is a mapping of the sections {sections}")
    data = {section: {} if values is None else values for section, values in data.items()}
    try:
        return Settings.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for line, message in sorted(set(_file_faults(document, data, error))):
            faults.at(document.path, line, message)
        return Settings()


def _file_faults(document: Document, data: Mapping[str, Any], error: ValidationError) -> Iterator[tuple[int, str]]:
    for item in error.errors(include_url=False):
        where = item["loc"]
        section, *keys = map(str, where[:2])
        if item["type"] == "extra_forbidden" and len(where) <= 2:  # noqa: PLR2004  # section and key
            message = _unknown(section, *keys)
        elif not keys:
            message = f"{section}: is a section; write its keys below it: {', '.join(_keys_of(section))}"
        else:
            message = _wrong(f"{section}.{keys[0]}", data[section][keys[0]], error)
        yield document.line(*where), message


def _unknown(section: str, key: str = "") -> str:
    name = key or section
    home = next((dotted for dotted in _KEYS if dotted.partition(".")[2] == name), None)
    known = suggestion(name, _keys_of(section) if key else Settings.model_fields)
    if home and "did you mean" not in known:
        known = f"it belongs in the section '{home.partition('.')[0]}'"
    return f"unknown key '{key}' in '{section}'; {known}" if key else f"unknown section '{section}'; {known}"


def _keys_of(section: str) -> list[str]:
    return [dotted.partition(".")[2] for dotted in _KEYS if dotted.startswith(f"{section}.")]


def _wrong(dotted: str, value: Any, error: ValueError) -> str:
    """What is wrong with a value: what its own check says, or what would have been right."""
    for item in error.errors() if isinstance(error, ValidationError) else ():
        if item["type"] == "value_error" and dotted.endswith(f".{item['loc'][-1]}"):
            return f"{dotted}: {item['ctx']['error']}"
    key = dotted.partition(".")[2]
    shown = f"{_printable(value):.60}" if _KEYS[dotted].model_fields[key].repr else "its value"
    return f"{dotted}: {shown} is not valid; give {' or '.join(map(_phrase, _alternatives(_schema(dotted))))}"


def _printable(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _schema(dotted: str) -> Mapping[str, Any]:
    section = _KEYS[dotted]
    schema: Mapping[str, Any] = section.model_json_schema()["properties"][dotted.partition(".")[2]]
    return schema


def _alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = schema.get("anyOf", [schema])
    return found


def _phrase(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in words: `a number above 0 and up to 1`."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "const" in schema:
        return f"{schema['const']}"
    words = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a path" if schema.get("format") == "path" else "a text",
        "array": "a list of at least one text" if schema.get("minItems") else "a list of texts",
        "object": "a mapping",
        "null": "null",
    }
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    bounds = [f"{word} {schema[name]:g}" for name, word in limits.items() if name in schema]
    return " ".join([words[schema["type"]], " and ".join(bounds)]).strip()
