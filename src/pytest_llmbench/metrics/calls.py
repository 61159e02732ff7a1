"""Whether an answer makes the tool calls that its case expects, and what is wrong where it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.tools import LEFT_OUT, ExpectedCall, ExpectedCalls, argument_schema, name_of
from pytest_llmbench.metrics.bfcl_calls import bfcl_judge
from pytest_llmbench.metrics.call_faults import CallFault, Judge, Made, Reason
from pytest_llmbench.metrics.text import Spelling
from pytest_llmbench.models.call_forms import read_calls

if TYPE_CHECKING:
    from jsonschema import ValidationError

    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric, Reasons

_ANY_TEXT = "\N{REPLACEMENT CHARACTER}"
_AS_WRITTEN = Spelling(case_sensitive=True, accent_sensitive=True)
_KINDS: Sequence[tuple[type | tuple[type, ...], str]] = (
    (bool, "boolean"),
    ((int, float), "number"),
    (str, "text"),
    ((list, tuple), "array"),
    (dict, "object"),
)


def call_accuracy(spelling: Spelling, known: Collection[str] = ()) -> AnswerMetric:
    """A metric: whether the answer makes exactly the calls that its case expects, in any order.

    Unscored for a case without `calls`, and where its tools did not reach the model. `known` are the vocabulary's
    tools, which a model may call that is given none.
    """

    def accuracy(case: Case, completion: Completion) -> bool | None:
        if case.calls is None or completion.tools_left_out:
            return None
        return not call_faults(case, completion, spelling, known)

    return accuracy


def call_reasons(spelling: Spelling, known: Collection[str] = ()) -> Reasons:
    """What is wrong with an answer's calls, for reports; why its tools did not reach the model, where they did not."""

    def reasons(case: Case, completion: Completion) -> list[dict[str, Any]]:
        if case.calls is not None and completion.tools_left_out:
            return [{"reason": LEFT_OUT, "found": completion.tools_left_out}]
        return [fault.to_json() for fault in call_faults(case, completion, spelling, known)]

    return reasons


def call_faults(case: Case, completion: Completion, spelling: Spelling, known: Collection[str] = ()) -> list[CallFault]:
    """What is wrong with an answer's calls; nothing for a case that expects none in particular."""
    if case.calls is None or completion.tools_left_out:
        return []
    names = [call.name for call in case.calls.calls]
    made = _calls_made(case, completion, (*names, *known))
    given = frozenset(name_of(tool) for tool in case.tools)
    return _faults(case.calls, made, judge_of(case.calls, spelling), given)


def _calls_made(case: Case, completion: Completion, known: Collection[str]) -> Sequence[Made]:
    """The calls that were read when the answer came, or those that are written in its text."""
    return read_calls(completion.text, case.tools, known) if completion.tool_calls is None else completion.tool_calls


def judge_of(expected: ExpectedCalls, spelling: Spelling) -> Judge:
    """By which rules single calls are judged."""
    if expected.dialect == "json-schema":
        return _schema_judge(spelling)
    return bfcl_judge(expected.dialect)


def _faults(
    expected: ExpectedCalls, made: Sequence[Made], judge: Judge, known: frozenset[str] = frozenset()
) -> list[CallFault]:
    """What is wrong with the calls of an answer as a whole; `known` are the names of the tools, where they are known.

    Calls are held against those that are expected so that as many as possible are right. What remains is compared by
    its tool's name, to say what is wrong with it.
    """
    readable = [call for call in made if isinstance(call["arguments"], Mapping)]
    if expected.anything:
        return [] if readable else [CallFault("missing call", "")]
    if not expected.calls:
        counted = made if expected.dialect == "json-schema" else readable  # for BFCL, what cannot be read is no call
        return [_extra(call) for call in counted]
    found = [[judge(one, call) for call in made] for one in expected.calls]
    pairs = _most_pairs([[not wrong for wrong in row] for row in found])
    left = [index for index in range(len(expected.calls)) if index not in pairs]
    over = [index for index in range(len(made)) if index not in pairs.values()]
    return _told_apart(expected.calls, made, found, left, over, known)


def _told_apart(
    expected: Sequence[ExpectedCall],
    made: Sequence[Made],
    found: Sequence[Sequence[Sequence[CallFault]]],
    left: list[int],
    over: list[int],
    known: frozenset[str],
) -> list[CallFault]:
    """The faults of calls that are not right: of the same tool first, then of another, then what has no counterpart."""
    told: list[CallFault] = []
    for index in list(left):
        same = [at for at in over if made[at]["name"] == expected[index].name]
        if same:
            nearest = min(same, key=lambda at: len(found[index][at]))
            told += found[index][nearest]
            left.remove(index)
            over.remove(nearest)
    for index, at in zip(list(left), list(over), strict=False):
        told.append(_wrong_tool(expected[index], made[at], known))
        left.remove(index)
        over.remove(at)
    told += [CallFault("missing call", expected[index].name) for index in left]
    return told + [_extra(made[at]) for at in over]


def _wrong_tool(expected: ExpectedCall, call: Made, known: frozenset[str]) -> CallFault:
    if not isinstance(call["arguments"], Mapping):
        return CallFault("unreadable call", call["name"], expected=expected.name, found=call["arguments"])
    reason: Reason = "unknown tool" if known and call["name"] not in known else "wrong tool"
    return CallFault(reason, call["name"], expected=expected.name)


def _extra(call: Made) -> CallFault:
    if isinstance(call["arguments"], Mapping):
        return CallFault("extra call", call["name"])
    return CallFault("unreadable call", call["name"], found=call["arguments"])


def _most_pairs(fits: Sequence[Sequence[bool]]) -> dict[int, int]:
    """As many pairs (row, column) that fit as can be made, each row and each column once."""
    row_of: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in row_of or place(row_of[column], tried):
                    row_of[column] = row
                    return True
        return False

    for row in range(len(fits)):
        place(row, set())
    return {row: column for column, row in row_of.items()}


def _schema_judge(spelling: Spelling) -> Judge:
    """Judges calls by name, then by the types that the schema gives, then by the allowed values.

    Text is compared as `spelling` says, but what a schema lists in an `enum` must be written as there. Numbers are
    equal by value, and `true` is no number. An argument that may be left out, or that has an allowed value as its
    default, may be missing; one that only repeats its default may be there.
    """

    def judge(expected: ExpectedCall, call: Made) -> list[CallFault]:
        name, arguments = call["name"], call["arguments"]
        if name != expected.name:
            return [CallFault("wrong tool", name, expected=expected.name)]
        if not isinstance(arguments, Mapping):
            return [CallFault("unreadable call", name, found=arguments)]
        found = list(_missing(expected, arguments, spelling))
        for argument, value in arguments.items():
            schema = argument_schema(expected.parameters or {}, argument)
            if argument not in expected.arguments:
                if not _is_default(value, schema, spelling):
                    found.append(CallFault("unexpected argument", name, argument, found=value))
            elif argument in expected.optional and _is_default(value, schema, spelling):
                continue  # says what leaving it out says
            elif fault := _fault(value, expected.arguments[argument], schema, spelling, argument in expected.optional):
                found.append(CallFault(fault, name, argument, list(expected.arguments[argument]), value))
        return found

    return judge


def _missing(expected: ExpectedCall, arguments: Mapping[str, Any], spelling: Spelling) -> Iterator[CallFault]:
    for argument, allowed in expected.arguments.items():
        if argument in arguments or argument in expected.optional:
            continue
        schema = argument_schema(expected.parameters or {}, argument)
        if not any(_is_default(value, schema, spelling) for value in allowed):
            yield CallFault("missing argument", expected.name, argument, list(allowed))


def _is_default(value: Any, schema: Mapping[str, Any], spelling: Spelling) -> bool:
    """Whether the value is the argument's default, by the rules for values, but as written unless any text will do."""
    if "default" not in schema:
        return False
    if _equal(value, schema["default"], _AS_WRITTEN):
        return True
    from jsonschema import Draft202012Validator

    return _equal(value, schema["default"], spelling) and Draft202012Validator(schema).is_valid(_ANY_TEXT)


def _fault(
    value: Any,
    allowed: Sequence[Any],
    schema: Mapping[str, Any],
    spelling: Spelling,
    optional: bool,  # noqa: FBT001
) -> Any:
    """`wrong type`, `wrong value`, or None."""
    if value is None and optional:
        return None
    if schema:
        from jsonschema import Draft202012Validator

        errors = list(Draft202012Validator(schema).iter_errors(value))
        if errors:
            return "wrong type" if any(map(_is_of_type, errors)) else "wrong value"
    elif _kind(value) not in {_kind(one) for one in allowed}:
        return "wrong type"
    return None if any(_equal(value, one, spelling) for one in allowed) else "wrong value"


def _is_of_type(error: ValidationError) -> bool:
    """Whether it is the type that is wrong: by each choice of a union, where the schema has one."""
    if error.context:
        return all(map(_is_of_type, error.context))
    return error.validator == "type"


def _kind(value: Any) -> str:
    return next((name for kinds, name in _KINDS if isinstance(value, kinds)), "null")


def _equal(one: Any, other: Any, spelling: Spelling) -> bool:
    if _kind(one) != _kind(other):
        return False
    if isinstance(one, str):
        return spelling.normalise(one) == spelling.normalise(other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key], spelling) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other, [spelling] * len(one)))
    return bool(one == other)
