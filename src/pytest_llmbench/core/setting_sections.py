"""Every setting by section (`gate.margin`, `server.url`): default, limits, what it is for, and its option."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_serializer, field_validator

from pytest_llmbench.core.starter import PROMPTS, VOCABULARY

CALL_FORMS = ("auto", "tool_calls", "json", "bracket", "mention")
"""What may name an answer's tool, `metrics.call_form`; a regular expression with one group may do so too."""

Engine = Literal["vllm", "llamacpp", "sglang"]
"""The programs that servers are configured for."""
KvType = Literal["f16", "bf16", "fp8", "q8_0", "q4_0"]
"""How a server stores a key or value. llama.cpp has all but fp8, vLLM f16, bf16 and fp8, SGLang bf16 and fp8."""

_Auto = Literal["auto"]
_Count = Annotated[int, Field(ge=1)]
_Text = Annotated[str, Field(min_length=1)]


def _named(path: object) -> object:
    """A path as it was given. Raises ValueError for an empty text, which would mean the current folder."""
    if isinstance(path, str) and not path.strip():
        raise ValueError(
            'the path is empty, as an unset variable of a shell is; name a file or folder, "." for this one'
        )
    return path


_Path = Annotated[Path, BeforeValidator(_named)]
_SECRET = re.compile(r"(?:^|_)(?:api_?key|secret|password|authorization|(?:access|auth|bearer)_token)$", re.IGNORECASE)
ReferenceMetric = Literal[
    "bleu",
    "chrf",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "semantic_similarity",
    "exact_match",
    "repetition",
    "runaway_dialogue",
]


_NOT_THE_TEMPLATES = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tools",
        "truncation",
    }
)
"""What transformers takes beside a template's own arguments."""


def refuse_keys(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A server's arguments, as they are. Raises ValueError where one is a key: they are written into files."""
    for word in arguments:
        flag = re.split(r"[=\s]", word.strip(), maxsplit=1)[0]
        if _SECRET.search(flag.replace("-", "_")) or flag.startswith("--hf-token"):
            raise ValueError(f"{flag}: a key has no place in settings; servers read it from a variable")
    return arguments


def _shown(option: str | None = None, metavar: str | None = None) -> dict[str, JsonValue]:
    """How faces take a setting: pytest's option for it, without the prefix, and what stands for its value in help."""
    return {"option": option, "metavar": metavar}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Section):
    """What is compared, and how it is loaded."""

    base: _Text = Field(
        default="smollm2-135m",
        description="base model: registry alias, hub id, local folder or GGUF file",
        json_schema_extra=_shown("base", "SPEC"),
    )
    adapter: _Text | tuple[_Text, ...] = Field(
        default="auto",
        description="LoRA folder, or several; auto: the newest that fits the base; none: the base alone",
        json_schema_extra=_shown("adapter", "PATH|auto|none"),
    )
    adapters_dir: _Path = Field(default=Path("adapters"), description="folder in which auto looks for adapters")
    engine: Literal["transformers", "llamacpp", "vllm"] = Field(
        default="transformers",
        description="what runs the model here: transformers, llamacpp (a GGUF file) or vllm",
        json_schema_extra=_shown("engine"),
    )
    quantization: Literal["nf4", "int8", "none"] = Field(
        default="nf4",
        description="how the base is loaded: nf4 (4 bits), int8 or none; with llamacpp the file says it",
        json_schema_extra=_shown("quantization"),
    )
    double_quant: bool = Field(default=True, description="quantize the scales of nf4 too: 0.4 bits a parameter less")
    compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="bfloat16, float16 or float32; an unquantized model on the CPU uses float32"
    )
    hold: Literal["auto", "packed", "dequantized"] = Field(
        default="auto",
        description="nf4 weights in memory: packed, or dequantized once, which is faster; auto: dequantized where a "
        "quarter of the machine's memory (of a GPU's, three quarters) holds them",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where it runs; auto: a GPU where there is one", json_schema_extra=_shown("device")
    )
    device_map: _Text | dict[str, int | str] = Field(
        default="auto", description="how layers are laid over several GPUs; also a mapping of module to device"
    )
    revision: _Text | None = Field(default=None, description="branch, tag or commit of a hub model")
    trust_remote_code: bool = Field(
        default=False, description="run Python code that comes with the model; only for models you trust"
    )
    verify_adapter: bool = Field(default=True, description="refuse an adapter that was made for another base")
    template_arguments: dict[_Text, Any] = Field(
        default_factory=dict,
        description="for the chat template, such as {enable_thinking: false}; asked and trained with alike",
        json_schema_extra=_shown(metavar="JSON"),
    )
    system_role: Literal["system", "user"] = Field(
        default="system",
        description="whose turn a system prompt is; user: it opens the first user turn, for templates without a "
        "system role",
    )

    @field_validator("adapter")
    @classmethod
    def _refuse_odd_lists(cls, adapter: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(adapter, str):
            return adapter
        if not adapter or len(set(adapter)) < len(adapter) or ("none" in adapter and len(adapter) > 1):
            raise ValueError("name each adapter once, and 'none' only alone")
        return adapter[0] if len(adapter) == 1 else adapter

    @field_validator("template_arguments")
    @classmethod
    def _refuse_what_is_not_the_templates(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_NOT_THE_TEMPLATES & arguments.keys()):
            raise ValueError(f"{taken[0]} is set by llmbench itself; give arguments of the chat template only")
        return arguments

    def of_base(self, spec: str) -> Self:
        """The same for the base of `spec`: the revision and the trust in remote code are of the settings' own base."""
        if spec == self.base:
            return self
        return self.model_copy(update={"base": spec, "revision": None, "trust_remote_code": False})

    @property
    def adapters(self) -> tuple[str, ...]:
        """What `adapter` names, one or several."""
        return (self.adapter,) if isinstance(self.adapter, str) else self.adapter


class GenerationSettings(_Section):
    """How answers are made."""

    max_new_tokens: _Count = Field(default=128, description="the most tokens of an answer")
    max_reasoning_tokens: int = Field(
        default=0, ge=0, description="so many more for what a model thinks before its answer"
    )
    temperature: float = Field(default=0.7, ge=0, description="of sampling; 0 is greedy")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus sampling: above 0, up to 1")
    do_sample: bool = Field(default=True, description="false is greedy")
    seed: int = Field(
        default=42,
        ge=0,
        description="seed of the sampling noise, which belongs to case, epoch and step, not to the batch",
        json_schema_extra=_shown("seed"),
    )
    batch_size: _Auto | _Count = Field(
        default="auto", description="prompts answered at once: auto or a number", json_schema_extra=_shown("batch-size")
    )
    epochs: _Count = Field(default=1, description="how often every case is asked", json_schema_extra=_shown("epochs"))
    timeout: float = Field(
        default=30.0, gt=0, description="seconds for an answer", json_schema_extra=_shown(metavar="S")
    )
    threads: _Auto | _Count = Field(default="auto", description="CPU threads: auto (measured for a second) or a number")
    long_prompt: Literal["error", "truncate"] = Field(
        default="error", description="a prompt that does not fit: error, or truncate (and mark the answer)"
    )
    cache: bool = Field(default=True, description="reuse stored answers to unchanged questions")


class BenchmarkSettings(_Section):
    """What is asked."""

    prompts: tuple[_Path, ...] = Field(
        default=(PROMPTS,),
        min_length=1,
        description="suites (.yaml, .json), .jsonl and .csv files, and folders of these",
        json_schema_extra=_shown("prompts", "PATH"),
    )
    vocabulary: _Path = Field(default=VOCABULARY, description="the tools and their terms")
    categories: tuple[_Text, ...] | None = Field(
        default=None, description="only these categories, such as [tool_routing]; null: all"
    )
    limit: _Count | None = Field(
        default=None, description="only the first so many cases; null: all", json_schema_extra=_shown("limit")
    )
    chunk: Literal["auto", "off"] | _Count = Field(
        default="auto",
        description="cases that are one item together, each a subtest: a number, off (each case is an item), or auto "
        "(1,000 where there are more than 2,000 cases)",
        json_schema_extra=_shown("chunk", "auto|off|N"),
    )
    strict: bool = Field(
        default=False,
        description="refuse an adapter that was trained on what the cases ask, instead of announcing it",
        json_schema_extra=_shown("strict"),
    )


class MetricsSettings(_Section):
    """What is measured. Each metric can be switched off."""

    cosine_similarity: bool = Field(default=True, description="how near the two answers are in meaning")
    keywords: bool = Field(default=True, description="keywords of the case that the answer has")
    relevance: bool = Field(default=True, description="terms of the vocabulary that the answer has")
    tool_accuracy: bool = Field(default=True, description="whether the answer routes to the case's tool")
    call_form: _Text = Field(
        default="auto",
        description="what names a tool in an answer: auto, tool_calls, json, bracket, mention, or a regular expression",
    )
    call_accuracy: bool = Field(
        default=True, description="whether the answer makes the tool calls that the case expects (`calls`)"
    )
    latency_s: bool = Field(default=True, description="seconds for the answer")
    tokens_per_s: bool = Field(default=True, description="tokens of the answer over its seconds")
    reference: tuple[ReferenceMetric, ...] = Field(
        default=(),
        description="more metrics: bleu, chrf, rouge_1, rouge_2, rouge_l, semantic_similarity, exact_match "
        "(against a case's reference), repetition, runaway_dialogue; docs/evaluate.md says what "
        "they mean",
    )
    case_sensitive: bool = Field(default=False, description="true tells Volume from volume")
    accent_sensitive: bool = Field(default=False, description="true tells café from cafe")

    @field_validator("call_form")
    @classmethod
    def _refuse_no_form(cls, form: str) -> str:
        if form in CALL_FORMS:
            return form
        told = f"choose from {', '.join(CALL_FORMS)}, or give a regular expression with one group, which holds the tool"
        try:
            groups = re.compile(form).groups
        except re.error as error:
            raise ValueError(f"{form!r} is not a regular expression ({error}); {told}") from error
        if groups != 1:
            raise ValueError(f"{form!r} has {groups} groups; {told}")
        return form


with warnings.catch_warnings():
    # `output.json` is the key that people write; pydantic warns since it hides a method that it has deprecated itself
    warnings.filterwarnings("ignore", message='Field name "json"', category=UserWarning)

    class OutputSettings(_Section):
        """What is written, and where."""

        report_dir: _Path = Field(
            default=Path("reports"),
            description="folder of reports and runs",
            json_schema_extra=_shown("report-dir", "DIR"),
        )
        json: bool = Field(default=True, description="write benchmark.json, autotune.json")  # type: ignore[assignment]
        png: bool = Field(
            default=True,
            description="write benchmark.png, the figures of differences and of the trend, and autotune.png",
        )
        text: bool = Field(default=True, description="write the text analysis")
        html: bool = Field(default=True, description="write benchmark.html and autotune.html, one file each to share")
        markdown: bool = Field(default=True, description="write benchmark.md, for a pull request's comment")
        language: Literal["en", "fr"] = Field(default="en", description="language of the reports: en or fr")
        answer_chars: _Count = Field(
            default=500, description="answers are cut to this in the report; the journal keeps all of them"
        )


class LoggingSettings(_Section):
    """What is shown while it works."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="WARNING", description="least level of messages shown: DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    progress: bool = Field(default=True, description="answers done, tokens/s, time left")
    show_gpu: bool = Field(default=True, description="memory of each GPU")
    show_timings: bool = Field(
        default=True,
        description="seconds of each answer: the latest in the progress line, and under that of `llmbench query`",
    )


LIMITS_MARGIN, FACTS_MARGIN = "context", "facts"
"""What `gate.margins` calls the relative change of a context's limit, and the change of the share of facts found."""


class GateSettings(_Section):
    """What a session is held against, and when it fails (exit code 1)."""

    kind: Literal["off", "regression", "improvement"] = Field(
        default="off",
        description="what makes the session fail: regression, worse than the baseline; improvement, not "
        "better than its base; exit code 1",
        json_schema_extra=_shown("gate"),
    )
    baseline: _Text | None = Field(
        default=None,
        description="run to compare with: number, name, path or git ref; null: each adapter with its base",
        json_schema_extra=_shown("compare", "RUN"),
    )
    metrics: tuple[_Text, ...] = Field(
        default=("relevance", "keywords", "tool_accuracy", "call_accuracy"),
        min_length=1,
        description="metrics that gate",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        description="a change up to this does not count, in the metric's own unit",
        json_schema_extra=_shown("margin"),
    )
    margins: dict[str, float] = Field(default={}, description="margins of single metrics, such as {relevance: 0.05}")
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="chance of a false alarm, in the whole gate",
        json_schema_extra=_shown("alpha"),
    )
    categories: bool = Field(default=True, description="look for a regression in each category too")
    missing_baseline: Literal["fail", "warn"] = Field(
        default="fail", description="fail or warn when the baseline is not there"
    )
    inconclusive: Literal["auto", "pass", "fail"] = Field(
        default="auto", description="pass or fail; auto passes a regression gate and fails an improvement gate"
    )
    unscored: Literal["worst", "drop"] = Field(
        default="worst",
        description="worst or drop: what an answer counts that one side lost to an error, a time-out or its thinking",
    )
    confirm: bool = Field(
        default=False,
        description="ask both sides again, with fresh seeds, before the session fails",
        json_schema_extra=_shown("confirm"),
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

    def margins_of(self, metrics: Iterable[str]) -> dict[str, float]:
        """The margin of each metric: its own, else the common one."""
        return {metric: self.margins.get(metric, self.margin) for metric in metrics}


class ServerSettings(_Section):
    """A live OpenAI-compatible server that is asked instead of a local model, when `url` is set.

    Its key is read from the environment variable LLMBENCH_API_KEY only.
    """

    url: _Text | None = Field(
        default=None,
        description="OpenAI-compatible server that is asked, such as http://127.0.0.1:8000/v1",
        json_schema_extra=_shown("server", "URL"),
    )
    model: _Text | None = Field(
        default=None, description="the server's name for the base", json_schema_extra=_shown("server-model", "NAME")
    )
    adapter: _Text | None = Field(
        default=None,
        description="the server's name for the fine-tune; lora:0 picks adapter 0 of a llama.cpp server",
        json_schema_extra=_shown("server-adapter", "NAME"),
    )
    adapter_body: dict[str, Any] | None = Field(
        default=None, description="merged into requests to the fine-tune, such as {lora: [{id: 0, scale: 1.0}]}"
    )
    base_body: dict[str, Any] | None = Field(default=None, description="merged into requests to the base")
    concurrency: _Count = Field(default=8, description="requests under way at once")
    retries: int = Field(default=3, ge=0, description="after 429, 5xx or no connection; never after the first byte")
    headers: dict[str, str] = Field(default={}, repr=False, description="more headers of each request")
    stream: bool = Field(
        default=True, description="read answers as they are made; needed for the time to the first token"
    )
    tool_choice: Literal["auto", "required", "none"] | _Text | None = Field(
        default=None, description="for cases with tools: auto, required, none, or a tool's name; null leaves it out"
    )

    @field_validator("adapter_body", "base_body")
    @classmethod
    def _refuse_secret(cls, body: dict[str, Any] | None) -> dict[str, Any] | None:
        if name := _secret_in(body or {}):
            raise ValueError(f"{name} would be shown by reports; put a key in LLMBENCH_API_KEY or server.headers")
        return body

    @field_validator("headers")
    @classmethod
    def _refuse_key(cls, headers: dict[str, str]) -> dict[str, str]:
        if any(name.strip().lower() == "authorization" for name in headers):
            raise ValueError("a key has no place in settings, which reports show; put it in LLMBENCH_API_KEY")
        return headers

    @field_serializer("headers")
    def _mask(self, headers: dict[str, str]) -> dict[str, str]:
        return dict.fromkeys(headers, "***")


def _secret_in(body: Mapping[str, Any]) -> str | None:
    """The first key of a body, or inside it, that holds a secret."""
    for name, value in body.items():
        if _SECRET.search(name.replace("-", "_")):
            return name
        if isinstance(value, dict) and (found := _secret_in(value)):
            return found
    return None


class TargetSettings(_Section):
    """One of several servers or models that a report compares."""

    url: _Text = Field(description="such as http://127.0.0.1:8000/v1")
    model: _Text | None = Field(default=None, description="the server's name for it; null is the only one served")


class LoadSettings(_Section):
    """How simulated people use a live server, what they are promised, and what a search for the limits may cost.

    `pytest -m autotune` and `llmbench autotune`, on the server of the section above.
    """

    arrivals: Literal["staggered", "burst"] = Field(
        default="staggered", description="people spread over a cycle of theirs; burst: all at once"
    )
    messages: _Count = Field(
        default=3, description="messages of a conversation, after which the same person begins another"
    )
    history: int = Field(default=4, ge=0, description="earlier messages sent along, answers included")
    cooldown: float = Field(
        default=10.0,
        ge=0,
        description="seconds between an answer and the next message",
        json_schema_extra=_shown(metavar="S"),
    )
    jitter: float = Field(default=0.2, ge=0, le=1, description="a cooldown varies by up to this share")
    conversations: _Path | None = Field(
        default=None,
        description='.jsonl of chats, {"messages": [...]} a line; null: the suites\' prompts',
        json_schema_extra=_shown(metavar="FILE"),
    )
    latency: float = Field(
        default=3.0,
        gt=0,
        description="seconds that an answer may take under load",
        json_schema_extra=_shown("latency", "S"),
    )
    quantile: Literal["strict"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95,
        description="share of answers that must come within the latency; strict: all of them",
        json_schema_extra=_shown("quantile", "X|strict"),
    )
    measured: Literal["total", "first_token"] = Field(
        default="total", description="what the latency is of: total, the whole answer, or first_token"
    )
    max_users: _Count = Field(default=50, description="the most users tried", json_schema_extra=_shown("max-users"))
    max_rate: float = Field(
        default=50.0, gt=0, description="the most requests a second tried", json_schema_extra=_shown(metavar="N")
    )
    max_history: int = Field(default=16, ge=2, description="the longest history tried, in messages")
    max_tokens: Annotated[int, Field(ge=16)] = Field(default=512, description="the longest answers tried")
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(0.0, 0.3, 0.7, 1.0),
        min_length=2,
        description="temperatures scored, besides the one in use",
    )
    users: _Count | None = Field(
        default=None, description="users held while history and answer length are searched; null: what the server holds"
    )
    budget: Annotated[int, Field(ge=30)] = Field(default=2000, description="requests that one search may send")
    time_limit: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which a search begins no further trial; null for no limit",
        json_schema_extra=_shown(metavar="S"),
    )
    confidence: float = Field(default=0.98, gt=0.5, lt=1, description="sureness at which a search stops early")
    processes: _Auto | Literal["ray"] | _Count = Field(
        default="auto",
        description="processes of the load generator: a number, auto (more when one is the bottleneck), or ray: one on "
        "each machine of a cluster, or ray.actors",
    )
    scrape: bool = Field(default=True, description="read the server's /metrics and the GPUs during trials")
    require_users: _Count | None = Field(
        default=None, description="fail unless so many users are surely held", json_schema_extra=_shown("require-users")
    )
    out: _Path = Field(
        default=Path("configs/model_limits.json"),
        description="file of the limits found",
        json_schema_extra=_shown(metavar="FILE"),
    )
    targets: tuple[TargetSettings, ...] = Field(
        default=(),
        description="several servers or models in one report: [{url: http://127.0.0.1:8000/v1, model: a}, ...]",
    )


_Scalar = bool | int | float | str | None


class TuneSettings(_Section):
    """Which launch settings hold most users: the search of `llmbench tune`. Promise and users are those of `load`."""

    command: _Text | None = Field(
        default=None,
        description="what starts a server: {port}, {model}, {context}, {flags} (all settings as the engine's options) "
        "or a setting's name stand in it; null: the embedded llama.cpp, or the engine's own program",
        json_schema_extra=_shown(metavar="TEMPLATE"),
    )
    engine: Engine = Field(default="llamacpp", description="whose settings are searched: llamacpp, vllm or sglang")
    context: Annotated[int, Field(ge=64)] = Field(
        default=2048, description="tokens that each request may hold, prompt and answer, whatever the settings"
    )
    study: _Text = Field(default="tune", description="name of the study, whose trials are kept in the report folder")
    trials: Annotated[int, Field(ge=2)] = Field(default=24, description="servers that are started and measured")
    vary: dict[_Text, tuple[_Scalar, ...]] = Field(
        default_factory=dict,
        description="settings that are searched, with their values, such as {slots: [2, 4, 8]}; {}: the engine's usual",
        json_schema_extra=_shown(metavar="JSON"),
    )
    fixed: dict[_Text, JsonValue] = Field(
        default_factory=dict,
        description="settings that are the same in each trial, such as {device: cpu}",
        json_schema_extra=_shown(metavar="JSON"),
    )
    baseline: dict[_Text, _Scalar] = Field(
        default_factory=dict,
        description="settings that the winner is compared with, over the engine's own defaults",
        json_schema_extra=_shown(metavar="JSON"),
    )
    budget: Annotated[int, Field(ge=30)] = Field(default=600, description="requests of one trial's search for users")
    trial_time: float = Field(
        default=120.0,
        gt=0,
        description="seconds after which one trial's search asks no further level",
        json_schema_extra=_shown(metavar="S"),
    )
    time_limit: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which no further trial begins; null for no limit",
        json_schema_extra=_shown(metavar="S"),
    )
    rounds: Annotated[int, Field(ge=2)] = Field(
        default=4, description="times that winner and baseline are measured again, in turns"
    )
    start_timeout: float = Field(
        default=300.0,
        gt=0,
        description="seconds that a server may take to start",
        json_schema_extra=_shown(metavar="S"),
    )

    @field_validator("study")
    @classmethod
    def _refuse_no_file_name(cls, study: str) -> str:
        if not re.fullmatch(r"[^\W_][\w.-]*", study):
            raise ValueError(
                f"{study!r} cannot name a study, whose file is called by it: write letters, digits, - . and _ only, "
                "beginning with one of the first two, such as nightly-8k"
            )
        return study


class ContextSettings(_Section):
    """How long prompts are tried on a live server, and what is asked about the facts that are hidden in them.

    `pytest -m context` and `llmbench context`, with the promise of the section above (`load.latency`, `load.quantile`,
    `load.measured`).
    """

    model: _Text | None = Field(
        default=None,
        description="family member that the server runs, such as medium: its longest context and tokenizer are known",
        json_schema_extra=_shown("model", "NAME"),
    )
    lengths: _Auto | tuple[_Count, ...] = Field(
        default="auto",
        description="prompt lengths in tokens, rising; auto: doubled from 256 up to what the server accepts",
        json_schema_extra=_shown("lengths", "N,N"),
    )
    max_context: _Count | None = Field(
        default=None,
        description="longest prompt that is to be answered (what is accepted is tried an answer's length further); "
        "null: twice what the server announces, at most 131072 where it is silent",
        json_schema_extra=_shown("max-context"),
    )
    depths: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.0, 0.25, 0.5, 0.75, 1.0),
        min_length=1,
        description="where the facts stand: 0 is the prompt's beginning, 1 its end",
    )
    kinds: tuple[Literal["one", "several", "distractors"], ...] = Field(
        default=("one", "several", "distractors"),
        min_length=1,
        description="what is asked for: one fact, several, or one among look-alike distractors",
    )
    languages: Literal["both", "en", "fr"] = Field(
        default="both", description="language of the prompts: en or fr, or both"
    )
    repeats: _Count = Field(default=1, description="questions of each kind, language and depth at every length")
    answer_tokens: _Count = Field(default=48, description="the most tokens of an answer")
    probes: Annotated[int, Field(ge=5)] = Field(
        default=60, description="prompts that the search for the longest one in time may send"
    )
    precision: float = Field(
        default=0.02, gt=0, lt=1, description="half of that length's interval, as a share of it, at which it stops"
    )
    margin: float = Field(default=0.1, ge=0, lt=1, description="fall of the share of facts found that counts for none")
    timeout: float = Field(default=600.0, gt=0, description="seconds for one answer")
    time_limit: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which no further prompt is sent; null for no limit",
        json_schema_extra=_shown(metavar="S"),
    )
    tokenizer: _Text | None = Field(
        default=None,
        description="model whose tokenizer counts, for a server that does not: alias, folder, hub id or GGUF file",
    )
    require: _Count | None = Field(
        default=None,
        description="fail unless prompts of so many tokens are accepted, in time and answered right",
        json_schema_extra=_shown("require-context"),
    )

    @field_validator("lengths", mode="before")
    @classmethod
    def _split(cls, lengths: object) -> object:
        if isinstance(lengths, int):
            return (lengths,)
        if isinstance(lengths, str) and lengths != "auto":
            parts = [part.strip() for part in lengths.split(",")]
            return tuple(int(part) if part.isdecimal() else part for part in parts)
        return tuple(lengths) if isinstance(lengths, list) else lengths  # a file's is validated strictly

    @field_validator("lengths")
    @classmethod
    def _refuse_unsorted(cls, lengths: _Auto | tuple[int, ...]) -> _Auto | tuple[int, ...]:
        if isinstance(lengths, str):
            return lengths
        if not lengths or list(lengths) != sorted(set(lengths)):
            raise ValueError("give rising lengths, each once, such as 512,1024,2048")
        return lengths

    @field_validator("depths", "kinds")
    @classmethod
    def _refuse_twice(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("give each once")
        return values

    @property
    def asked_languages(self) -> tuple[str, ...]:
        """The languages that prompts are written in."""
        return ("en", "fr") if self.languages == "both" else (self.languages,)


class ServingSettings(_Section):
    """How a server is launched: `llmbench config generate` and `pytest_llmbench.config` compute its settings.

    They start from the model, the context that is wanted and the memory that is there. `model.device` says where it
    runs.
    """

    engine: Engine = Field(default="vllm", description="the server's program: vllm, llamacpp or sglang")
    max_context: _Count | None = Field(
        default=None,
        description="tokens that a request may hold, prompt and answer; null: what the model was trained on",
    )
    slots: _Count | None = Field(
        default=None, description="requests answered at once, each at the whole context; null: as many as memory holds"
    )
    kv_type: KvType | None = Field(
        default=None,
        description="how keys and values are stored: f16, bf16, fp8, and q8_0, q4_0 of llamacpp; null: 16 bits",
    )
    memory: float | None = Field(
        default=None,
        gt=0,
        description="GB of each GPU, or of the CPU; null: what this machine has",
        json_schema_extra=_shown(metavar="GB"),
    )
    gpus: _Count = Field(default=1, description="GPUs that share one model")
    memory_margin: float = Field(default=0.1, ge=0, lt=1, description="share of the memory that stays free")
    batch_tokens: _Count | None = Field(
        default=None, description="tokens that one step computes at most; null: 8192 on a GPU, 2048 on the CPU"
    )
    threads: _Count | None = Field(default=None, description="CPU threads of llama.cpp; null: the processor's cores")
    lora: dict[_Text, _Text] = Field(
        default={}, description="fine-tunes served beside the base, such as {mine: adapters/mine}"
    )
    max_lora_rank: _Count | None = Field(
        default=None, description="the largest rank among them; null: what their adapter_config.json say"
    )
    arguments: tuple[_Text, ...] = Field(
        default=(), description="further arguments of the server, passed on as they are"
    )
    vllm_version: _Text = Field(default="0.32.0", description="the vLLM whose flags are written, and whose image")
    image: _Text | None = Field(default=None, description="container image; null: the engine's own")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=8000, description="port on 127.0.0.1")
    endpoints: dict[_Text, TargetSettings] = Field(
        default={}, description="where models are served, such as {medium: {url: http://127.0.0.1:8000/v1}}"
    )
    out: _Path = Field(
        default=Path("serving"),
        description="folder of the generated files, one below it a model",
        json_schema_extra=_shown(metavar="DIR"),
    )

    @field_validator("arguments")
    @classmethod
    def _refuse_keys(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return refuse_keys(arguments)


class FinetuneSettings(_Section):
    """The short training of `pytest -m finetune`, and what it must reach. Base and quantization are the model's."""

    dataset: _Path = Field(default=Path("data/train.jsonl"), description="rows that are trained on")
    heldout: _Path = Field(default=Path("data/heldout.jsonl"), description="rows that base and fine-tune answer")
    tools: tuple[_Text, ...] | None = Field(
        default=("volume_up", "volume_down", "get_weather", "set_timer", "play_music", "open_app"),
        description="only rows of these tools, so that few steps teach them; null: all rows",
    )
    steps: Annotated[int, Field(ge=5)] = Field(default=72, description="steps of the training")
    batch_size: _Count = Field(default=4, description="rows of a step")
    learning_rate: float = Field(default=2e-3, gt=0, description="the highest learning rate")
    max_length: Annotated[int, Field(ge=8)] = Field(default=256, description="most tokens of a row")
    loss_fall: float = Field(default=0.5, gt=0, lt=1, description="share by which the loss must fall")
    logit_difference: float = Field(
        default=0.05,
        gt=0,
        description="largest difference after reloading the adapter, as a share of the logits' spread",
    )
    memory_margin: float = Field(default=0.15, ge=0, description="share by which memory may exceed the estimate")
    metric_margin: float = Field(
        default=0.1, ge=0, description="share by which a training metric may be worse than in a compared training"
    )


class StudioSettings(_Section):
    """Where `llmbench studio` listens and keeps its files, and how much it takes of what is uploaded to it."""

    host: _Text = Field(
        default="127.0.0.1",
        description="address it listens on; any but this machine's own asks for a token in LLMBENCH_STUDIO_TOKEN",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8400, description="its port; 0 takes a free one")
    folder: _Path | None = Field(
        default=None,
        description="folder of its datasets and jobs; null: studio in the folder of reports",
        json_schema_extra=_shown(metavar="DIR"),
    )
    upload_mb: _Count = Field(default=2048, description="most MiB of an uploaded dataset")
    rows: _Count = Field(default=5_000_000, description="most rows of an uploaded dataset")
    read_s: float = Field(default=600.0, gt=0, description="seconds that reading an uploaded dataset may take")
    read_mb: _Count = Field(default=2048, description="MiB of memory that reading an uploaded dataset may take")
    idle_s: float = Field(default=300.0, gt=0, description="seconds after which a model that nobody asks is let go")
    jobs_at_once: _Count = Field(default=1, description="jobs that run at the same time; the others wait")
    spare_mb: Annotated[int, Field(ge=0)] = Field(
        default=256,
        description="MiB of the disk that jobs leave free; one that comes near is stopped with a checkpoint",
    )
    cancel_s: float = Field(
        default=60.0, gt=0, description="seconds that a cancelled job may take to write its checkpoint"
    )


class RaySettings(_Section):
    """Actors on the machines of a Ray cluster that answer a benchmark's cases, or are the users of a load test."""

    address: _Text | None = Field(
        default=None,
        description="answer on a Ray cluster: its address, such as 10.0.0.5:6379; auto: that of RAY_ADDRESS, or a "
        "cluster of this machine alone for the time of the session",
        json_schema_extra=_shown("ray", "ADDRESS|auto"),
    )
    actors: _Auto | _Count = Field(
        default="auto",
        description="actors, each with a model of its own; auto: one a GPU, or one a machine where there is none",
    )
    cpus: _Auto | Annotated[float, Field(ge=0)] = Field(
        default="auto",
        description="CPUs of each actor; auto: 1 beside a GPU, else a machine's CPUs divided among its actors",
    )
    gpus: _Auto | Annotated[float, Field(ge=0)] = Field(
        default="auto", description="GPUs of each actor; auto: 1 where the cluster has any and model.device allows it"
    )
    attempts: Annotated[int, Field(ge=2)] = Field(
        default=3, description="deaths of actors after which a case that they were answering is given up"
    )
    start_timeout: float = Field(
        default=120.0,
        gt=0,
        description="seconds that the cluster may take to answer, and an actor to find a place",
        json_schema_extra=_shown(metavar="S"),
    )

    @field_validator("address")
    @classmethod
    def _refuse_ray_client(cls, address: str | None) -> str | None:
        if address and address.startswith("ray://"):
            raise ValueError(
                "ray:// does not carry answers as they are made; run the session on a machine of the cluster and give "
                "the address that `ray start` showed, such as 10.0.0.5:6379"
            )
        return address


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
    load: LoadSettings = LoadSettings()
    context: ContextSettings = ContextSettings()
    serving: ServingSettings = ServingSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    tune: TuneSettings = TuneSettings()
    studio: StudioSettings = StudioSettings()
    ray: RaySettings = RaySettings()
