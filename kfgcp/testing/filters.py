"""The filter language of Google's list methods (AIP-160), enough of it; what is not understood is
an error.

`NOT` and `-` bind tightest, then `OR`, then `AND`; words side by side are joined by AND. A
comparison is FIELD OP VALUE, where a field is names joined by dots, each of which may be quoted.
What a field is, the caller says. Cloud Logging takes FIELD OP (VALUE OR VALUE) too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Generic, TypeVar

from kfgcp.testing.google import micros, snake_case

T = TypeVar("T")
Predicate = Callable[[T], bool]

EQUALITY: Final = ("=", "!=")
WILDCARD: Final = ("=", "!=", ":")
ORDER: Final = ("=", "!=", "<", ">", "<=", ">=")


class FilterError(Exception):
    """The filter is not understood; one line."""


@dataclass(frozen=True, slots=True)
class Compare:
    """`field OP value`. values: more than one only in `field:"a","b"`."""

    field: tuple[str, ...]
    op: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        return self.values[0]


@dataclass(frozen=True, slots=True)
class Call:
    """`name("argument", ...)`."""

    name: str
    arguments: tuple[str, ...]


Leaf = Compare | Call


def compile_filter(
    text: str, leaf: Callable[[Leaf], Predicate[T]], *, alternatives: bool = False
) -> Predicate[T]:
    """What decides whether an item fits the filter; an empty one fits all.

    Args:
        text: the filter.
        leaf: gives the predicate of a comparison or call, or raises FilterError.
        alternatives: whether a field may be compared with several values, joined by OR in
            parentheses.

    Raises:
        FilterError: the text is no filter, or `leaf` does not know a part of it.
    """
    if not text.strip():
        return lambda item: True
    parser = _Parser(text, leaf, alternatives)
    found = parser.expression()
    parser.end()
    return found


_SPACE = re.compile(r"\s*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
_OPERATOR = re.compile(r"<=|>=|!=|=~|!~|=|<|>|:")
_VALUE = re.compile(r"[^\s()\"',]+")
_WORD = re.compile(r"(AND|OR|NOT)\b")


class _Parser(Generic[T]):
    def __init__(self, text: str, leaf: Callable[[Leaf], Predicate[T]], alternatives: bool) -> None:
        self._text = text
        self._at = 0
        self._leaf = leaf
        self._alternatives = alternatives

    def expression(self) -> Predicate[T]:
        parts = [self._either()]
        while self._more():
            self._word("AND")
            parts.append(self._either())
        return parts[0] if len(parts) == 1 else lambda item: all(part(item) for part in parts)

    def end(self) -> None:
        if self._skip() < len(self._text):
            raise self._error("there is something behind it")

    def _either(self) -> Predicate[T]:
        parts = [self._factor()]
        while self._word("OR"):
            parts.append(self._factor())
        return _any(parts)

    def _factor(self) -> Predicate[T]:
        if self._word("NOT") or self._take("-"):
            negated = self._factor()
            return lambda item: not negated(item)
        if self._take("("):
            inner = self.expression()
            if not self._take(")"):
                raise self._error("a parenthesis is not closed")
            return inner
        return _any([self._leaf(each) for each in self._terms()])

    def _terms(self) -> list[Leaf]:
        """A call or a comparison; one for each value where there are several."""
        field = self._field()
        if len(field) == 1 and self._take("("):
            arguments = self._values()
            if not self._take(")"):
                raise self._error("a parenthesis is not closed")
            return [Call(field[0], arguments)]
        operator = _OPERATOR.match(self._text, self._skip())
        if not operator:
            raise self._error(f"{'.'.join(field)} is compared with nothing")
        self._at = operator.end()
        if self._alternatives and self._take("("):
            found = [self._one_value()]
            while self._word("OR"):
                found.append(self._one_value())
            if not self._take(")"):
                raise self._error("a parenthesis is not closed")
            return [Compare(field, operator[0], (value,)) for value in found]
        values = self._values()
        if len(values) > 1 and operator[0] != ":":
            raise self._error("a comparison has one value")
        return [Compare(field, operator[0], values)]

    def _field(self) -> tuple[str, ...]:
        names: list[str] = []
        while True:
            self._skip()
            match = _NAME.match(self._text, self._at) or (
                names and _STRING.match(self._text, self._at)
            )
            if not match:
                raise self._error("the name of a field is expected")
            self._at = match.end()
            names.append(match[0] if match.re is _NAME else _unquoted(match))
            if self._text[self._at : self._at + 1] != ".":
                return tuple(names)
            self._at += 1

    def _values(self) -> tuple[str, ...]:
        values = [self._one_value()]
        while self._take(","):
            values.append(self._one_value())
        return tuple(values)

    def _one_value(self) -> str:
        self._skip()
        if match := _STRING.match(self._text, self._at):
            self._at = match.end()
            return _unquoted(match)
        if match := _VALUE.match(self._text, self._at):
            self._at = match.end()
            return match[0]
        raise self._error("a value is expected")

    def _more(self) -> bool:
        return self._skip() < len(self._text) and self._text[self._at] != ")"

    def _word(self, word: str) -> bool:
        match = _WORD.match(self._text, self._skip())
        if match and match[0] == word:
            self._at = match.end()
            return True
        return False

    def _take(self, character: str) -> bool:
        if self._text[self._skip() : self._at + 1] == character:
            self._at += 1
            return True
        return False

    def _skip(self) -> int:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _error(self, problem: str) -> FilterError:
        return FilterError(f"at character {self._at + 1} {problem}")


def _any(parts: list[Predicate[T]]) -> Predicate[T]:
    return parts[0] if len(parts) == 1 else lambda item: any(part(item) for part in parts)


def _unquoted(match: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2])


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A field that items can be filtered by. ops: those that it supports. get: its value in an
    item, None without one.

    kind: `text`, `time` (RFC 3339), or `map` (text by text; the key follows the name after a dot).
    """

    get: Callable[[T], Any]
    ops: tuple[str, ...] = EQUALITY
    kind: str = "text"
    choices: tuple[str, ...] = ()


def build_leaf(fields: Mapping[str, Field[T]]) -> Callable[[Leaf], Predicate[T]]:
    """The predicates of comparisons with these fields; names may be written in camelCase too."""

    def leaf(node: Leaf) -> Predicate[T]:
        if isinstance(node, Call):
            raise FilterError(f"there is no function {node.name}")
        name, key = snake_case(".".join(node.field)), ""
        if name not in fields:
            name, key = snake_case(node.field[0]), ".".join(node.field[1:])
        field = fields.get(name)
        if field is None or (key and field.kind != "map"):
            raise FilterError(f"{'.'.join(node.field)} is not supported")
        if field.kind == "map":
            return _map_predicate(field, key, node)
        if node.op not in field.ops or len(node.values) > 1:
            raise FilterError(f"{name} does not support {node.op}")
        if field.choices and node.value not in field.choices:
            raise FilterError(f"{name} is never {node.value}")
        return (
            build_time_predicate(field.get, node)
            if field.kind == "time"
            else _text_predicate(field.get, node)
        )

    return leaf


def _map_predicate(field: Field[T], key: str, node: Compare) -> Predicate[T]:
    get, value = field.get, node.value
    if node.op == ":" and not key:
        return lambda item: value in (get(item) or {})
    if node.op == ":" and value == "*":
        return lambda item: key in (get(item) or {})
    if node.op in EQUALITY and key:
        wanted = node.op == "="
        return lambda item: ((get(item) or {}).get(key) == value) is wanted
    raise FilterError(f"{'.'.join(node.field)} does not support {node.op}")


def _text_predicate(get: Callable[[T], Any], node: Compare) -> Predicate[T]:
    value = node.value
    if node.op == ":":
        return lambda item: fnmatchcase(get(item) or "", value)
    return (
        (lambda item: get(item) == value) if node.op == "=" else (lambda item: get(item) != value)
    )


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def comparison(op: str) -> Callable[[Any, Any], bool]:
    """The comparison of an operator.

    Raises:
        FilterError: it does not order.
    """
    if op not in _COMPARISONS:
        raise FilterError(f"{op} does not order")
    return _COMPARISONS[op]


def build_time_predicate(get: Callable[[T], Any], node: Compare) -> Predicate[T]:
    """Compares times; an item without one never fits."""
    try:
        value = micros(node.value)
    except ValueError:
        raise FilterError(f"{node.value} is no time in RFC 3339") from None
    compare = comparison(node.op)
    return lambda item: bool(found := get(item)) and compare(micros(found), value)
