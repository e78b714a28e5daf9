"""Split a search expression into tokens, and build errors that point at a position in it. Pure.

The grammar is in `kfgcp.store.search_expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

from kfgcp.errors import UsageError

UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Unit of a duration -> seconds."""

# An error shows this many characters of a long expression on each side of the position.
_CONTEXT: Final = 100

# A sign of another language -> what to write instead. Longer signs come before the signs that they
# begin with.
_FOREIGN_SIGNS: Final[Mapping[str, str]] = {
    "&&": "Write `and`.",
    "&": "Write `and`.",
    "||": "Write `or`.",
    "|": "Write `or`.",
    "!": "Write `not`.",
    "<>": "Write `!=`.",
    "=~": "To search for a part of a text, write `~`.",
    "=>": "Write `>=`.",
    "=<": "Write `<=`.",
    ";": "Write only one expression.",
}

PLAIN_PART: Final = r"\w(?:[\w/-]|\[\d+\])*"
"""A part of a name that needs no quotes, as a regular expression."""

_QUOTED: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_PART: Final = rf"(?:{PLAIN_PART}|{_QUOTED})"

# The order of the alternatives matters: "inf" and "7d" are numbers, not names. When a dot follows a
# text in quotes, the text is the first part of a name.
_TOKEN: Final = re.compile(
    rf"""\s*(?:
    (?P<number>[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?P<unit>[smhdw])?|(?:inf|infinity)\b)(?![\w.]))
  | (?P<text>{_QUOTED})(?!\.)
  | (?P<name>{_PART}(?:\.{_PART})*)
  | (?P<sign><=|>=|==|!=|!~|<|>|=|~|[()\[\],])(?![=~<>])
  | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A duration in an expression.

    Attributes:
        seconds: its length. A negative one means a time in the past.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an expression.

    Attributes:
        kind: the kind of token.
        position: the index of its first character in the expression.
        text: the token as it is written.
        value: the value of a number or of a text, None for another kind.
        parts: the parts of a name, () for another kind.
    """

    kind: Literal["number", "text", "name", "sign", "end"]
    position: int
    text: str = ""
    value: Any = None
    parts: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The token in lower case if it is a name of one part without quotes, else ""."""
        is_word = self.kind == "name" and len(self.parts) == 1 and self.text[0] not in "\"'"
        return self.text.lower() if is_word else ""


def tokenize(text: str) -> list[Token]:
    """Return the tokens of an expression. The last token is the end.

    Raises:
        UsageError: a part of the expression is not a token.

    Example:
        >>> [token.text for token in tokenize("params.lr < 0.1")]
        ['params.lr', '<', '0.1', '']
    """
    result: list[Token] = []
    position = 0
    while not result or result[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse(text, position)
        result.append(_create_token(match))
        position = match.end()
    return result


def expression_error(text: str, problem: str, position: int, hint: str) -> UsageError:
    """Return the error for a position in an expression.

    Args:
        text: the expression.
        problem: what is wrong.
        position: the index of the character at which the hint points.
        hint: what to write instead.
    """
    start = max(position - _CONTEXT, 0) if len(text) > 2 * _CONTEXT else 0
    ellipsis = "…" if start > 0 else ""
    excerpt = ellipsis + _cut(re.sub(r"\s", " ", text[start:]), 2 * _CONTEXT)
    caret = " " * (position - start + len(ellipsis)) + "^"
    return UsageError(
        f"The expression cannot be used: {_cut(problem, _CONTEXT)} (character {position + 1}).",
        hint=f"{excerpt}\n{caret}\n{_cut(hint, 4 * _CONTEXT)}",
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _refuse(text: str, position: int) -> NoReturn:
    """Raise the error that no token begins at a position. Blanks there do not count."""
    position = len(text) - len(text[position:].lstrip())
    if text[position] in "\"'":
        raise expression_error(
            text,
            "the closing quote of a text is missing",
            position,
            f"Close the text with {text[position]}",
        )
    for sign, hint in _FOREIGN_SIGNS.items():
        if text.startswith(sign, position):
            raise expression_error(text, f"'{sign}' is not an operator", position, hint)
    hint = "Put a name or text with this character in quotes."
    raise expression_error(text, f"'{text[position]}' is not expected here", position, hint)


def _create_token(match: re.Match[str]) -> Token:
    for kind in ("number", "text", "name", "sign"):
        text = match[kind]
        if text is None:
            continue
        position = match.start(kind)
        if kind == "number":
            return Token("number", position, text, _read_number(text, match["unit"]))
        if kind == "text":
            return Token("text", position, text, _unquote(text))
        if kind == "name":
            parts = tuple(_unquote(part) for part in re.findall(_PART, text))
            return Token("name", position, text, parts=parts)
        return Token("sign", position, text)
    return Token("end", match.start("end"))


def _read_number(text: str, unit: str | None) -> int | float | Span:
    if unit:
        return Span(float(text.removesuffix(unit)) * UNITS[unit])
    try:
        return int(text)
    except ValueError:
        return float(text)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "\"'" else text
