"""Filters on the user's columns: a small language, and the same as JSON.

    price < 200 and kind in (cafe, 'ice cream') and not closed = true

JSON is that of CQL2 (OGC 21-065r2), as far as it has the same: `{"op": "and", "args": [{"op": "<",
"args": [{"property": "price"}, 200]}, ...]}`. A comparison with an empty value is neither true nor
false, as in SQL.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lark import Lark, Transformer
from lark.exceptions import LarkError, UnexpectedInput, UnexpectedToken

from service.errors import FilterError
from tiling.words import in_one_line

LONGEST = 2000  # letters of a filter
DEEPEST = 20  # levels of `not`, `and`, `or`
MOST_TESTS = 50
MOST_VALUES = 200  # of a list
TOO_DEEP = f"the filter is nested more than {DEEPEST} deep"

COMPARE = ("=", "<>", "<", "<=", ">", ">=")
IN, IS_NULL = "in", "isNull"
AND, OR, NOT = "and", "or", "not"

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Test:
    """A column and what its values are compared with."""

    column: str
    op: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by `and` or `or`, or one that is negated."""

    op: str
    parts: tuple["Where", ...]


Where = Test | Joined

GRAMMAR = r"""
    ?either: both ("or"i both)*          -> either
    ?both: one ("and"i one)*             -> both
    ?one: "not"i one                     -> negated
        | "(" either ")"
        | test
    ?test: column OP value               -> compared
        | column "in"i values            -> listed
        | column "not"i "in"i values     -> unlisted
        | column "is"i "null"i           -> empty
        | column "is"i "not"i "null"i    -> given
    values: "(" value ("," value)* ")"
    column: WORD | QUOTED
    value: NUMBER -> number | ("true"i) -> true | ("false"i) -> false | (WORD | DATE) -> word
        | TEXT -> text
    OP: "<=" | ">=" | "<>" | "!=" | "==" | "=" | "<" | ">"
    NUMBER.2: /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(?![\w.])/
    DATE.3: /\d{4}-\d\d-\d\d(T[\d:.]+Z?)?/
    WORD: /[^\W\d][\w.:-]*/i
    TEXT: /'([^']|'')*'/
    QUOTED: /"([^"]|"")+"/
    %import common.WS
    %ignore WS
"""


class _Tree(Transformer[Any, Where]):
    """Makes conditions of what the grammar finds; called from the leaves up, without recursion."""

    def either(self, parts: list[Where]) -> Where:
        return _joined(OR, parts)

    def both(self, parts: list[Where]) -> Where:
        return _joined(AND, parts)

    def negated(self, parts: list[Where]) -> Where:
        return Joined(NOT, (parts[0],))

    def compared(self, parts: list[Any]) -> Where:
        column, op, value = parts
        return Test(column, {"!=": "<>", "==": "="}.get(op, str(op)), (value,))

    def listed(self, parts: list[Any]) -> Where:
        return Test(parts[0], IN, parts[1])

    def unlisted(self, parts: list[Any]) -> Where:
        return Joined(NOT, (self.listed(parts),))

    def empty(self, parts: list[Any]) -> Where:
        return Test(parts[0], IS_NULL)

    def given(self, parts: list[Any]) -> Where:
        return Joined(NOT, (self.empty(parts),))

    def values(self, values: list[Value]) -> tuple[Value, ...]:
        return tuple(values)

    def column(self, parts: list[Any]) -> str:
        text = str(parts[0])
        return text[1:-1].replace('""', '"') if text.startswith('"') else text

    def number(self, parts: list[Any]) -> Value:
        text = str(parts[0])
        return int(text) if text.lstrip("+-").isdecimal() else float(text)

    def true(self, _: list[Any]) -> Value:
        return True

    def false(self, _: list[Any]) -> Value:
        return False

    def word(self, parts: list[Any]) -> Value:
        return str(parts[0])

    def text(self, parts: list[Any]) -> Value:
        return str(parts[0])[1:-1].replace("''", "'")


def _joined(op: str, parts: list[Where]) -> Where:
    return parts[0] if len(parts) == 1 else Joined(op, tuple(parts))


_PARSER = Lark(GRAMMAR, start="either", parser="lalr", transformer=_Tree())


def parse_where(given: str | Mapping[str, Any]) -> Where:
    """Return the conditions of a filter, given as text or as JSON.

    >>> parse_where("price < 200")
    Test(column='price', op='<', values=(200,))

    Raises `FilterError`, which says where it ceases to make sense.
    """
    where = _of_text(given) if isinstance(given, str) else _of_json(given)
    _require_small(where)
    return where


def tests_of(where: Where) -> Iterator[Test]:
    """Yield the comparisons of a filter."""
    waiting = [where]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Test):
            yield one
        else:
            waiting += one.parts


def _require_small(where: Where) -> None:
    level: list[Where] = [where]
    for _ in range(DEEPEST):
        level = [part for one in level if isinstance(one, Joined) for part in one.parts]
    if level:
        raise FilterError(TOO_DEEP)
    tests = list(tests_of(where))
    most = max(len(test.values) for test in tests)
    if len(tests) > MOST_TESTS or most > MOST_VALUES:
        raise FilterError(
            f"{len(tests)} comparisons with up to {most} values: a filter has at most "
            f"{MOST_TESTS}, of at most {MOST_VALUES}"
        )


def _of_text(text: str) -> Where:
    if len(text) > LONGEST:
        raise FilterError(f"{len(text)} letters: a filter has at most {LONGEST}")
    try:
        where: Where = _PARSER.parse(text)  # type: ignore[assignment]  # the tree is transformed
    except UnexpectedInput as error:
        ends = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        at = text[error.pos_in_stream or 0 :][:20]
        found = "it ends too early" if ends else f"{at!r} makes no sense there"
        raise FilterError(
            f"{text[:100]!r} is no filter, {found}: write it like price < 200 and kind in (a, b)"
        ) from error
    except (LarkError, ValueError, OverflowError) as error:
        raise FilterError(f"{text[:100]!r} is no filter: {in_one_line(error)}") from error
    return where


def _of_json(given: Any, depth: int = 0) -> Where:
    if depth > DEEPEST:
        raise FilterError(TOO_DEEP)
    if not isinstance(given, Mapping) or given.keys() != {"op", "args"}:
        raise FilterError(f'{str(given)[:100]} is no condition: it has "op" and "args"')
    op, parts = given["op"], given["args"]
    if not isinstance(parts, Sequence) or isinstance(parts, str) or len(parts) > MOST_VALUES:
        raise FilterError(f'"args" of {str(op)[:20]!r} is a list of at most {MOST_VALUES}')
    if op == NOT and len(parts) == 1:
        return Joined(NOT, (_of_json(parts[0], depth + 1),))
    if op in (AND, OR) and parts:
        return _joined(op, [_of_json(part, depth + 1) for part in parts])
    return _test_of_json(op, parts)


def _test_of_json(op: Any, parts: Sequence[Any]) -> Test:
    column = parts[0].get("property") if parts and isinstance(parts[0], Mapping) else None
    if op == IS_NULL and len(parts) == 1 and isinstance(column, str):
        return Test(column, op)
    if isinstance(op, str) and (op == IN or op in COMPARE) and len(parts) == 2:
        values = parts[1] if op == IN else [parts[1]]
        if isinstance(column, str) and isinstance(values, list) and all(map(_is_value, values)):
            return Test(column, op, tuple(values))
    raise FilterError(
        f'{str(op)[:20]!r} with {len(parts)} args is no condition: give {{"property": NAME}}, then '
        f"a value, to one of {', '.join(COMPARE)}, or a list to {IN}"
    )


def _is_value(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))
