"""The tokens of an expression, see `kfgcp.store.search_expressions`, and the error that points at
one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from kfgcp.errors import UsageError

UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_AROUND: Final = 100
"""Characters on each side of a place that an error shows of a long expression."""

_FOREIGN: Final[Mapping[str, str]] = {
    "&&": "Write `and`.",
    "&": "Write `and`.",
    "||": "Write `or`.",
    "|": "Write `or`.",
    "!": "Write `not`.",
    "<>": "Write `!=`.",
    "=~": "Write `~`: contains.",
    "=>": "Write `>=`.",
    "=<": "Write `<=`.",
    ";": "One expression at a time.",
}

PLAIN: Final = r"\w(?:[\w/-]|\[\d+\])*"
"""A part of a name that needs no quotes."""

_PART: Final = rf"""(?:{PLAIN}|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TOKEN: Final = re.compile(
    rf"""\s*(?:
    (?P<number>[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?P<unit>[smhdw])?|(?:inf|infinity)\b)(?![\w.]))
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')(?!\.)
  | (?P<name>{_PART}(?:\.{_PART})*)
  | (?P<sign><=|>=|==|!=|!~|<|>|=|~|[()\[\],])(?![=~<>])
  | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time in seconds; below zero it is so long ago."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Token:
    """kind: number, text, name, sign or end. value: of a number or text. parts: of a name."""

    kind: str
    at: int
    text: str = ""
    value: Any = None
    parts: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """A name of one part without quotes in lower case, else ""."""
        plain = len(self.parts) == 1 and self.kind == "name" and self.text[0] not in "\"'"
        return self.text.lower() if plain else ""


def tokens(text: str) -> list[Token]:
    """All tokens of an expression; the last one is its end.

    Raises:
        UsageError: something in it is none.
    """
    found: list[Token] = []
    at = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None or (match.end() == at and match.lastgroup != "end"):
            _unreadable(text, at)
        found.append(_token(match))
        at = match.end()
    return found


def failure(text: str, problem: str, at: int, hint: str) -> UsageError:
    """The error that something is wrong at a place of an expression."""
    start = max(at - _AROUND, 0) if len(text) > 2 * _AROUND else 0
    before = "…" * (start > 0)
    shown = before + _cut(re.sub(r"\s", " ", text[start:]), 2 * _AROUND)
    caret = " " * (at - start + len(before)) + "^"
    return UsageError(
        f"The expression cannot be used: {_cut(problem, _AROUND)} (character {at + 1}).",
        hint=f"{shown}\n{caret}\n{_cut(hint, 4 * _AROUND)}",
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _unreadable(text: str, at: int) -> NoReturn:
    at = len(text) - len(text[at:].lstrip())
    if text[at] in "\"'":
        raise failure(text, "a text has no end", at, f"Close it with {text[at]}")
    sign = next((sign for sign in _FOREIGN if text.startswith(sign, at)), text[at])
    hint = _FOREIGN.get(sign, "Put names and texts with such characters into quotes.")
    raise failure(text, f"'{sign}' is not known here", at, hint)


def _token(match: re.Match[str]) -> Token:
    kind = str(match.lastgroup) if match.lastgroup != "unit" else "number"
    text = match[kind]
    at = match.start(kind)
    if kind == "number":
        return Token(kind, at, text, _number(text, match["unit"]))
    if kind == "text":
        return Token(kind, at, text, _unquoted(text))
    if kind == "name":
        return Token(
            kind, at, text, parts=tuple(_unquoted(part) for part in re.findall(_PART, text))
        )
    return Token(kind, at, text)


def _number(text: str, unit: str | None) -> Any:
    if unit:
        return Span(float(text[:-1]) * UNITS[unit])
    try:
        return int(text)
    except ValueError:
        return float(text)


def _unquoted(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part[1:-1]) if part[0] in "\"'" else part
