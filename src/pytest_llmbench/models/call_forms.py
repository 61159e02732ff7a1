"""Tool calls as models write them into their answers, where no server takes them out.

Hermes, Qwen: `<tool_call>{"name": ..., "arguments": ...}</tool_call>`; Qwen3-Coder and GLM with tags inside; Llama 3:
JSON with `parameters`, after `<|python_tag|>` or not; Mistral: `[TOOL_CALLS]`, a list of JSON or `name[ARGS]{...}`;
Granite, Phi-4 `<|tool_call|>`, Command A `<|START_ACTION|>`, DeepSeek, Kimi, gpt-oss; `[f(a=1)]` of LFM2 and Llama 4,
OLMo's in lines; Gemma 4 `<|tool_call>call:f{a:1}`; `<invoke name="f">` of MiniMax, DeepSeek V3.2 and Muse.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.cases.tools import Tool, argument_schema, name_of, parameters_of
from pytest_llmbench.core.writable import writable

Call = Mapping[str, Any]
"""`{"name", "arguments"}`; arguments that are no JSON object are kept as their text: the call cannot be read."""

_NAMES = ("name", "tool_name", "tool", "function", "recipient_name")
_ARGUMENTS = ("arguments", "parameters", "args", "tool_input", "input")
_NAME_IN_PIECES = re.compile(r'"(?:tool_)?name"\s*:\s*"([^"]+)"')
_ARGUMENTS_KEY = re.compile(rf'"(?:{"|".join(_ARGUMENTS)})"\s*:')
_PYTHONIC = re.compile(r"\A\[?\s*[A-Za-z_][\w.]*\(.*\)\s*\]?\Z", re.DOTALL)
_JSON_NAMES: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_DECODER = json.JSONDecoder(strict=False)
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)

_FUNCTION_TAG = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER_TAG = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_GLM_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_MISTRAL_CALL = re.compile(r"\s*(?:\[TOOL_CALLS\])?\s*([\w.-]+)(?:\[CALL_ID\][^\[\s{]+)?(?:\[ARGS\])?\s*(?=\{|\Z)")
_DEEPSEEK_CALL = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?(?P<name>[^\s<]+)\s*(?:<｜tool▁sep｜>)?(?P<body>.*?)"
    r"(?:<｜tool▁call▁end｜>|\Z)",
    re.DOTALL,
)
_KIMI_CALL = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>(?P<body>.*?)"
    r"(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)
_GEMMA_CALL = re.compile(r"<\|tool_call>call:(?P<name>[\w.-]+)(?P<body>.*?)(?:<tool_call\|>|\Z)", re.DOTALL)
_GEMMA_QUOTE = '<|"|>'
_BARE_KEY = re.compile(r"([{,]\s*)([\w.-]+)(?=\s*:)")
_INVOKE = re.compile(
    r'<(?P<mark>[\w｜:]*)invoke name="(?P<name>[^"]+)">(?P<body>.*?)(?:</(?P=mark)invoke>|\Z)', re.DOTALL
)
_INVOKED_WITH = re.compile(
    r'<(?P<mark>[\w｜:]*)parameter name="(?P<key>[^"]+)"(?: string="(?P<text>\w+)")?>'
    r"(?P<value>.*?)</(?P=mark)parameter>",
    re.DOTALL,
)
_HARMONY_CALL = re.compile(r"(?<![\w.])functions\.([\w.-]+)\s*(?:<\|[^{]*?\|>\s*(?:json\s*)?)*(?=\{)")
_HARMONY_HEADER = re.compile(r"to=functions\.([\w.-]+)[^{]*?(?=\{)")


def read_calls(text: str, tools: Sequence[Tool] = (), known: Iterable[str] = ()) -> tuple[Call, ...]:
    """The calls in an answer, in order; marks of the model's own may be in it or not.

    What is begun as a call and is none, such as JSON that was cut off, is a call that cannot be read. With `tools`,
    values in tags become what the tool's schema says, and a call without marks counts only with one of their names, or
    of the names that are `known` besides: those of tools that the model was not given but may have learnt.
    """
    names = frozenset((*map(name_of, tools), *known))
    return marked_calls(text, tools) or _writable(_plain_calls(text.strip(), names))


def parsed_calls(tokenizer: Any, text: str, prefix: str, tools: Sequence[Tool]) -> tuple[Call, ...] | None:
    """The calls as transformers' own parser reads them by the tokenizer's response template.

    None where it cannot read the answer, or a call in it: the text is then read as any other.
    """
    try:
        message = tokenizer.parse_response(text, prefix=prefix, tools=[dict(tool) for tool in tools] or None)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    found = message.get("tool_calls") if isinstance(message, dict) else None
    calls = [_from_object(call) for call in found] if isinstance(found, list) else []
    return _writable(call for call in calls if call) if calls and all(calls) else None


def marked_calls(text: str, tools: Sequence[Tool] = ()) -> tuple[Call, ...]:
    """The calls that stand within a model's own marks."""
    for mark, read in _MARKED:
        if found := list(mark.finditer(text)):
            return _writable(call for match in found for call in read(match, tools))
    return ()


def _writable(calls: Iterable[Call]) -> tuple[Call, ...]:
    return tuple(writable(call) for call in calls)


def _in_mark(match: re.Match[str], tools: Sequence[Tool]) -> Iterator[Call]:
    yield from _in_body(match["body"].strip(), tools)


def _in_body(body: str, tools: Sequence[Tool]) -> Iterator[Call]:
    """The calls between two marks, in whichever form; a body that holds none is one call that cannot be read."""
    if "<function=" in body:
        for tag in _FUNCTION_TAG.finditer(body):
            yield _from_tag(tag, tools)
    elif arguments := _GLM_ARGUMENT.findall(body):
        name = body.partition("<arg_key>")[0].strip()
        yield _call(name, {key.strip(): _cast(value, key.strip(), name, tools) for key, value in arguments})
    elif (body[:1] in "{[" and (calls := _json_calls(body))) or (calls := _pythonic(body) or _pythonic_lines(body)):
        yield from calls
    elif re.fullmatch(r"[\w.-]+", body):
        yield _call(body, {})
    elif body:
        yield _unreadable(body)


def _from_tag(tag: re.Match[str], tools: Sequence[Tool]) -> Call:
    name, body = tag[1].strip(), tag[2].strip()
    if body.startswith("{"):
        return _call(name, body)
    found = {key: _cast(value, key, name, tools) for key, value in _PARAMETER_TAG.findall(body)}
    return _call(name, found if found or not body else body)


def _in_function_tag(match: re.Match[str], tools: Sequence[Tool]) -> Iterator[Call]:
    yield _from_tag(match, tools)


def _mistral(match: re.Match[str], tools: Sequence[Tool]) -> Iterator[Call]:
    rest = match["body"].strip()
    if rest[:1] in ("[", "{"):
        yield from _in_body(rest, tools)
        return
    at = 0
    while header := _MISTRAL_CALL.match(rest, at):
        value, end = _value_at(rest, header.end())
        yield _call(header[1], value if end else rest[header.end() :])
        at = end or len(rest)
        if not rest[at:].strip():
            return
    if not at:
        yield _unreadable(rest)


def _kimi(match: re.Match[str], _tools: Sequence[Tool]) -> Iterator[Call]:
    yield _call(match["name"], match["body"].strip())


def _deepseek(match: re.Match[str], _tools: Sequence[Tool]) -> Iterator[Call]:
    """The body may stand in a fence, whose end an answer that breaks off lacks."""
    body = match["body"].strip()
    fenced = body.startswith("```")
    yield _call(match["name"], body.removesuffix("```").removeprefix("```").removeprefix("json") if fenced else body)


def _gemma(match: re.Match[str], _tools: Sequence[Tool]) -> Iterator[Call]:
    """JSON with bare keys, and texts between marks of its own."""
    parts = match["body"].split(_GEMMA_QUOTE)
    bare = (_BARE_KEY.sub(r'\1"\2"', re.sub(r"\bNone\b", "null", part)) for part in parts[::2])
    texts = [json.dumps(part) for part in parts[1::2]]
    written = "".join(itertools.chain.from_iterable(itertools.zip_longest(bare, texts, fillvalue="")))
    value, end = _value_at(written, 0)
    yield _call(match["name"], value if end else match["body"])


def _invoked(match: re.Match[str], tools: Sequence[Tool]) -> Iterator[Call]:
    name, body = match["name"], match["body"].strip()
    found = {
        one["key"]: one["value"]
        if one["text"] == "true"
        else _cast(one["value"].removeprefix("\n").removesuffix("\n"), one["key"], name, tools)
        for one in _INVOKED_WITH.finditer(body)
    }
    yield _call(name, found if found or not body else body)


def _harmony(match: re.Match[str], _tools: Sequence[Tool]) -> Iterator[Call]:
    value, end = _value_at(match.string, match.end())
    yield _call(match[1], value if end else match.string[match.end() :])


Reader = Callable[[re.Match[str], Sequence[Tool]], Iterable[Call]]

_MARKED: Sequence[tuple[re.Pattern[str], Reader]] = (
    (_HARMONY_HEADER, _harmony),
    (_HARMONY_CALL, _harmony),
    (re.compile(r"<tool_call>(?P<body>.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL), _in_mark),
    (re.compile(r"\[TOOL_CALLS\](?P<body>.*)\Z", re.DOTALL), _mistral),
    (re.compile(r"<\|python_tag\|>(?P<body>.*?)(?:<\|eom_id\|>|<\|eot_id\|>|\Z)", re.DOTALL), _in_mark),
    (re.compile(r"<\|tool_call_start\|>(?P<body>.*?)(?:<\|tool_call_end\|>|\Z)", re.DOTALL), _in_mark),
    (re.compile(r"<\|tool_call\|>(?P<body>.*?)(?:<\|/tool_call\|>|</\|tool_call\|>|<\||\Z)", re.DOTALL), _in_mark),
    (re.compile(r"<\|START_ACTION\|>(?P<body>.*?)(?:<\|END_ACTION\|>|\Z)", re.DOTALL), _in_mark),
    (_DEEPSEEK_CALL, _deepseek),
    (_KIMI_CALL, _kimi),
    (_GEMMA_CALL, _gemma),
    (_INVOKE, _invoked),
    (re.compile(r"<function_calls>(?P<body>.*?)(?:</function_calls>|\Z)", re.DOTALL), _in_mark),
    (_FUNCTION_TAG, _in_function_tag),
)
"""Marks, the most telling first; an answer has those of one family."""


def _plain_calls(text: str, names: Collection[str]) -> tuple[Call, ...]:
    """Calls without marks: the whole answer is JSON or Python of such a form, or JSON objects of it stand in prose."""
    whole = fenced[1].strip() if (fenced := _FENCE.match(text)) else text
    calls = _json_calls(whole) if whole[:1] in ("{", "[") else ()
    calls = calls or _pythonic(whole) or tuple(_objects(text))
    meant = whole[:1] in ("{", "[") and _ARGUMENTS_KEY.search(
        whole
    )  # nothing but JSON with arguments, of whatever name
    return tuple(call for call in calls if meant or call["name"] in names)


def _objects(text: str) -> Iterator[Call]:
    """Objects inside a text that have both a tool's name and arguments."""
    at = text.find("{")
    while at >= 0:
        value, end = _value_at(text, at)
        named = isinstance(value, dict) and any(key in value for key in _ARGUMENTS) and _from_object(value)
        if named:
            yield named
        at = text.find("{", end if end and named else at + 1)


def _json_calls(text: str) -> tuple[Call, ...]:
    """The calls of JSON values one after the other, with or without `;`, `,` or line breaks between them."""
    calls: list[Call] = []
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n;,":
            at += 1
            continue
        value, end = _value_at(text, at)
        if not end:
            broken = _NAME_IN_PIECES.search(text, at) if text[at] in "{[" else None
            return (*calls, _call(broken[1], text[at:])) if broken else tuple(calls)
        found = [_from_object(one) for one in (value if isinstance(value, list) else [value])]
        if not all(found):
            return ()
        calls += [call for call in found if call]
        at = end
    return tuple(calls)


def _value_at(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins here and where it ends; 0 where there is none."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, 0


def _from_object(value: Any) -> Call | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str) and value[key]), None)
    if name is None:
        return None
    return _call(name.removeprefix("functions."), next((value[key] for key in _ARGUMENTS if key in value), {}))


def _call(name: str, arguments: Any) -> Call:
    """A call whose arguments are an object, or the JSON of one; others are kept as text."""
    if isinstance(arguments, str):
        value, end = _value_at(arguments, len(arguments) - len(arguments.lstrip()))
        if end and not arguments[end:].strip():
            arguments = value
        elif not arguments.strip():
            arguments = {}
    if arguments is None:
        arguments = {}
    readable = isinstance(arguments, dict | str)
    return {"name": name, "arguments": arguments if readable else json.dumps(arguments, ensure_ascii=False)}


def _unreadable(body: str) -> Call:
    name = _NAME_IN_PIECES.search(body)
    return {"name": name[1] if name else "", "arguments": body}


def _pythonic(text: str) -> tuple[Call, ...]:
    """Calls in Python's form, `[f(a=1), g(b="x")]` or `f(a=1)` alone, with values that are literals."""
    if not _PYTHONIC.match(text):
        return ()
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
            tree = _JsonNames().visit(ast.parse(text, mode="eval").body)
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        return tuple(_from_node(node) for node in nodes)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return ()


def _pythonic_lines(text: str) -> tuple[Call, ...]:
    """Calls in Python's form, each on a line of its own."""
    calls = [_pythonic(line.strip()) for line in text.split("\n") if line.strip()]
    return tuple(itertools.chain.from_iterable(calls)) if all(calls) else ()


class _JsonNames(ast.NodeTransformer):
    """JSON's names for what Python calls otherwise: models write them into values of Python's form."""

    def visit_Name(self, node: ast.Name) -> ast.AST:  # as ast calls it
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _from_node(node: ast.AST) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(word.arg is None for word in node.keywords):
        raise ValueError("not a call with named arguments")
    values = {str(word.arg): _plain(ast.literal_eval(word.value)) for word in node.keywords}
    return {"name": ast.unparse(node.func), "arguments": values}


def _plain(value: Any) -> Any:
    """In JSON's types: a tuple is a list."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else repr(value)


def _cast(value: str, argument: str, name: str, tools: Sequence[Tool]) -> Any:
    """A value that stands in tags, as the tool's schema types it: text where that may be text, else what it is as JSON.

    What is right in neither way is JSON, for what it is to be called wrong, unless the schema speaks of text.
    """
    schema = argument_schema(next((parameters_of(tool) for tool in tools if name_of(tool) == name), {}), argument)
    bare = value.strip()
    read, end = _value_at(bare, 0)
    as_json = [read] if end == len(bare) and end else []
    as_python = [bare == "True"] if bare in ("True", "False") else []
    right = (one for one in (value, *as_json, *as_python, bare) if _fits(one, schema))
    kinds = schema.get("type", ())
    return next(right, value if "string" in kinds or not as_json else read)


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import UnknownType

    try:
        return Draft202012Validator(schema).is_valid(value)
    except UnknownType:  # of a schema that was written for somebody else
        return False
