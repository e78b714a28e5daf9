"""Compile the filters of Google's list methods (AIP-160) into functions.

A part of the language is supported. The other parts get an error: if they were ignored, the answer
would have items that do not fit the filter.

`NOT` and `-` bind tightest, then `OR`, then `AND`. Conditions side by side are joined by AND. A
comparison is FIELD OP VALUE. A field is names joined by dots, and a name after the first may be
quoted. The caller defines the fields. Cloud Logging also has FIELD OP (VALUE OR VALUE).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Generic, TypeVar

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.google import invalid, micros, snake_case

T = TypeVar("T")
Predicate = Callable[[T], bool]

# The operators of a field that can only be equal to a value or not.
EQUALITY: Final = ("=", "!=")
# The operators of a text. `:` compares the text with a glob.
WILDCARD: Final = ("=", "!=", ":")
# The operators of a time.
ORDER: Final = ("=", "!=", "<", ">", "<=", ">=")


class FilterError(Exception):
    """The error for a filter that cannot be used. Its text is one line."""


@dataclass(frozen=True, slots=True)
class Compare:
    """The comparison `field OP value`. values: one value, or several in `field:"a","b"`."""

    field: tuple[str, ...]
    op: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        """Return the value of a comparison with one value."""
        return self.values[0]

    @property
    def dotted_field(self) -> str:
        """Return the field as the filter writes it."""
        return ".".join(self.field)


@dataclass(frozen=True, slots=True)
class Call:
    """The call `name("argument", ...)`."""

    name: str
    arguments: tuple[str, ...]


Leaf = Compare | Call


def compile_filter(
    text: str, compile_leaf: Callable[[Leaf], Predicate[T]], *, alternatives: bool = False
) -> Predicate[T]:
    """Return the function that tells whether an item fits a filter.

    Args:
        text: the filter. An empty one fits every item.
        compile_leaf: returns the predicate of a comparison or of a call, or raises FilterError.
        alternatives: whether `FIELD OP (VALUE OR VALUE)` is allowed.

    Raises:
        FilterError: the text is not a filter, or `compile_leaf` refuses a part of the filter.
    """
    if not text.strip():
        return lambda item: True
    parser = _Parser(text, compile_leaf, alternatives)
    predicate = parser.parse_expression()
    parser.check_end()
    return predicate


def compile_list_filter(text: str, compile_leaf: Callable[[Leaf], Predicate[T]]) -> Predicate[T]:
    """Compile the field `filter` of a list request, as `compile_filter` does.

    Raises:
        GoogleError: 400, the filter cannot be used.
    """
    try:
        return compile_filter(text, compile_leaf)
    except FilterError as error:
        raise invalid(f"Invalid filter: {error}.", "filter") from None


# The tokens of a filter.
_SPACE: Final = re.compile(r"\s*")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
# The longer operators come first: the first alternative that fits is taken.
_OPERATOR: Final = re.compile(r"<=|>=|!=|=~|!~|=|<|>|:")
_VALUE: Final = re.compile(r"[^\s()\"',]+")
_KEYWORD: Final = re.compile(r"(AND|OR|NOT)\b")


class _Parser(Generic[T]):
    """A parser by recursive descent: a method for each level of precedence."""

    def __init__(
        self, text: str, compile_leaf: Callable[[Leaf], Predicate[T]], alternatives: bool
    ) -> None:
        self._text = text
        self._position = 0
        self._compile_leaf = compile_leaf
        self._allows_alternatives = alternatives

    def parse_expression(self) -> Predicate[T]:
        """Parse conditions that are joined by AND or stand side by side."""
        predicates = [self._parse_or()]
        while self._has_more():
            self._take_keyword("AND")
            predicates.append(self._parse_or())
        if len(predicates) == 1:
            return predicates[0]
        return lambda item: all(predicate(item) for predicate in predicates)

    def check_end(self) -> None:
        """Raise an error if the text continues after the filter."""
        self._skip_space()
        if self._position < len(self._text):
            raise self._error("there is more text after the filter")

    def _parse_or(self) -> Predicate[T]:
        """Parse conditions that are joined by OR."""
        predicates = [self._parse_condition()]
        while self._take_keyword("OR"):
            predicates.append(self._parse_condition())
        return _join_by_or(predicates)

    def _parse_condition(self) -> Predicate[T]:
        """Parse one condition: a negation, a filter in parentheses, a comparison or a call."""
        if self._take_keyword("NOT") or self._take_character("-"):
            negated = self._parse_condition()
            return lambda item: not negated(item)
        if self._take_character("("):
            inner = self.parse_expression()
            self._close_parenthesis()
            return inner
        return _join_by_or([self._compile_leaf(leaf) for leaf in self._parse_leaves()])

    def _parse_leaves(self) -> list[Leaf]:
        """Return a call or a comparison, or one comparison for each alternative value."""
        field = self._parse_field()
        if len(field) == 1 and self._take_character("("):
            arguments = self._parse_values()
            self._close_parenthesis()
            return [Call(field[0], arguments)]
        op = self._parse_operator(field)
        if self._allows_alternatives and self._take_character("("):
            alternatives = [self._parse_value()]
            while self._take_keyword("OR"):
                alternatives.append(self._parse_value())
            self._close_parenthesis()
            return [Compare(field, op, (value,)) for value in alternatives]
        values = self._parse_values()
        if len(values) > 1 and op != ":":
            raise self._error("a comparison needs exactly one value")
        return [Compare(field, op, values)]

    def _parse_field(self) -> tuple[str, ...]:
        names: list[str] = []
        self._skip_space()
        while True:
            names.append(self._parse_name(may_be_quoted=bool(names)))
            # The dot must follow the name without a space: `a .b` is not one field.
            if not self._text.startswith(".", self._position):
                return tuple(names)
            self._position += 1
            self._skip_space()

    def _parse_name(self, *, may_be_quoted: bool) -> str:
        match = _NAME.match(self._text, self._position)
        if match:
            self._position = match.end()
            return match[0]
        if may_be_quoted:
            match = _STRING.match(self._text, self._position)
        if not match:
            raise self._error("the name of a field is expected")
        self._position = match.end()
        return _unquote(match)

    def _parse_operator(self, field: tuple[str, ...]) -> str:
        self._skip_space()
        match = _OPERATOR.match(self._text, self._position)
        if not match:
            raise self._error(f"{'.'.join(field)} needs an operator and a value")
        self._position = match.end()
        return match[0]

    def _parse_values(self) -> tuple[str, ...]:
        values = [self._parse_value()]
        while self._take_character(","):
            values.append(self._parse_value())
        return tuple(values)

    def _parse_value(self) -> str:
        self._skip_space()
        quoted = _STRING.match(self._text, self._position)
        if quoted:
            self._position = quoted.end()
            return _unquote(quoted)
        plain = _VALUE.match(self._text, self._position)
        if plain:
            self._position = plain.end()
            return plain[0]
        raise self._error("a value is expected")

    def _close_parenthesis(self) -> None:
        if not self._take_character(")"):
            raise self._error("a parenthesis is not closed")

    def _has_more(self) -> bool:
        self._skip_space()
        return self._position < len(self._text) and self._text[self._position] != ")"

    def _take_keyword(self, word: str) -> bool:
        """Move behind a keyword (AND, OR or NOT) and return True, if the keyword is next."""
        self._skip_space()
        match = _KEYWORD.match(self._text, self._position)
        if not match or match[0] != word:
            return False
        self._position = match.end()
        return True

    def _take_character(self, character: str) -> bool:
        """Move behind a character and return True, if the character is next."""
        self._skip_space()
        if not self._text.startswith(character, self._position):
            return False
        self._position += 1
        return True

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._position)
        if match:
            self._position = match.end()

    def _error(self, problem: str) -> FilterError:
        return FilterError(f"at character {self._position + 1} {problem}")


def _join_by_or(predicates: list[Predicate[T]]) -> Predicate[T]:
    """Return the predicate that is true if one of several predicates is true."""
    if len(predicates) == 1:
        return predicates[0]
    return lambda item: any(predicate(item) for predicate in predicates)


def _unquote(match: re.Match[str]) -> str:
    """Return the text of a match of `_STRING`."""
    double_quoted, single_quoted = match.groups()
    text = single_quoted if double_quoted is None else double_quoted
    return re.sub(r"\\(.)", r"\1", text)


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A field that items can be filtered by.

    Attributes:
        get: reads the value of an item, None without one.
        ops: the operators that the field supports.
        kind: the type of the values: `text`, `time` (RFC 3339), or `map` (from text to text). A
            filter writes NAME.KEY for a value of a map.
        choices: the values that the field can have; empty for any text.
    """

    get: Callable[[T], Any]
    ops: tuple[str, ...] = EQUALITY
    kind: str = "text"
    choices: tuple[str, ...] = ()


def read_key(name: str) -> Callable[[JsonObject], Any]:
    """Return the function that reads a key of a JSON object, None without the key."""
    return lambda item: item.get(name)


def build_leaf_compiler(fields: Mapping[str, Field[T]]) -> Callable[[Leaf], Predicate[T]]:
    """Return a function that compiles comparisons of these fields, see `compile_filter`.

    Args:
        fields: the fields by their names in snake_case. A filter may also use camelCase.
    """

    def compile_leaf(node: Leaf) -> Predicate[T]:
        if isinstance(node, Call):
            raise FilterError(f"there is no function {node.name}")
        # The name of a field can have dots, such as template_metadata.version. So first try the
        # whole path as a name, and then its first part as the name of a map.
        name = snake_case(node.dotted_field)
        key = ""
        if name not in fields:
            name = snake_case(node.field[0])
            key = ".".join(node.field[1:])
        field = fields.get(name)
        if field is None or (key and field.kind != "map"):
            raise FilterError(f"{node.dotted_field} is not supported")
        if field.kind == "map":
            return _build_map_predicate(field, key, node)
        if node.op not in field.ops or len(node.values) > 1:
            raise FilterError(f"{name} does not support {node.op}")
        if field.choices and node.value not in field.choices:
            raise FilterError(f"{name} is never {node.value}")
        if field.kind == "time":
            return build_time_predicate(field.get, node)
        return _build_text_predicate(field.get, node)

    return compile_leaf


def _build_map_predicate(field: Field[T], key: str, node: Compare) -> Predicate[T]:
    """Return the predicate of `labels:key`, `labels.key:*`, `labels.key=value` or `!=`."""
    get = field.get
    value = node.value
    if node.op == ":" and not key:
        return lambda item: value in (get(item) or {})
    if node.op == ":" and value == "*":
        return lambda item: key in (get(item) or {})
    if node.op == "=" and key:
        return lambda item: (get(item) or {}).get(key) == value
    if node.op == "!=" and key:
        return lambda item: (get(item) or {}).get(key) != value
    raise FilterError(f"{node.dotted_field} does not support {node.op}")


def _build_text_predicate(get: Callable[[T], Any], node: Compare) -> Predicate[T]:
    value = node.value
    if node.op == ":":
        return lambda item: fnmatchcase(get(item) or "", value)
    if node.op == "=":
        return lambda item: bool(get(item) == value)
    return lambda item: bool(get(item) != value)


_COMPARISONS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def number_comparison(op: str) -> Callable[[int, int], bool]:
    """Return the function that compares two numbers with an operator.

    Raises:
        FilterError: the operator cannot compare numbers.
    """
    if op not in _COMPARISONS:
        raise FilterError(f"{op} cannot compare numbers or times")
    return _COMPARISONS[op]


def build_time_predicate(get: Callable[[T], str | None], node: Compare) -> Predicate[T]:
    """Return the predicate that compares the time of an item with the time in a comparison.

    An item without a time never fits.

    Args:
        get: reads the time of an item as RFC 3339.
        node: the comparison.

    Raises:
        FilterError: the value is not a time, or the operator cannot compare times.
    """
    try:
        value = micros(node.value)
    except ValueError:
        raise FilterError(f"{node.value} is not a time of RFC 3339") from None
    compare = number_comparison(node.op)

    def predicate(item: T) -> bool:
        time = get(item)
        return bool(time) and compare(micros(time), value)

    return predicate
