"""Read .dockerignore: which files of a folder Docker does not get.

The reference is moby/patternmatcher, which the docker command and BuildKit use: `ReadAll` of
ignorefile/ignorefile.go reads the lines, and `MatchesUsingParentResults` of patternmatcher.go
decides about a path. A pattern is one of Go's `filepath.Match`, with `**` for any number of
folders. `!` brings a path back.

The matcher of docker-py (`docker.utils.build.PatternMatcher`) does not agree with the reference: it
compares a pattern with one parent of a path instead of with all of them. For example, it does not
ignore `a/b/logs/c` for the pattern `**/logs`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# A special text of a pattern, or one ordinary character. The longest text comes first.
_PIECE: Final = re.compile(
    r"(?P<folders>\*\*/?)|(?P<text>\*)|(?P<character>\?)"
    r"|\[(?P<negated>\^?)(?P<set>(?:\\.|[^]\\])*)\]|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)

# A character or a range of characters in a set, as `filepath.Match` takes it.
_MEMBER: Final = re.compile(r"(\\.|[^]\\-])(?:-(\\.|[^]\\-]))?", re.DOTALL)

_SPECIAL: Final = frozenset("*?[]\\")


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    ignores: bool


class Dockerignore:
    """The patterns of a .dockerignore.

    Args:
        lines: the lines of the file.

    Raises:
        ValueError: a pattern is not valid. The text is the pattern.

    Example:
        >>> ignore = Dockerignore(["*.csv", "data/**", "!data/small.csv"])
        >>> ignore.matches("table.csv"), ignore.matches("data/small.csv")
        (True, False)
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns: list[_Pattern] = []
        for line in lines:
            pattern = _read_pattern(line)
            if pattern is not None:
                self._patterns.append(pattern)
        # With an exception, a folder that is ignored may have a file that is not.
        self.has_exceptions = any(not pattern.ignores for pattern in self._patterns)

    def matches(self, path: str) -> bool:
        """Return whether a path is ignored, or is in a folder that is ignored.

        Args:
            path: relative to the folder of the file, with `/` between its parts.
        """
        parts = path.split("/")
        matched = [False] * len(self._patterns)
        ignored = False
        for count in range(1, len(parts) + 1):
            parent = "/".join(parts[:count])
            ignored = False
            for number, pattern in enumerate(self._patterns):
                # A pattern that would change nothing is not compared. So for the folder `a`, an
                # exception `!a` counts only when the folder itself is ignored.
                if not matched[number] and pattern.ignores is not ignored:
                    matched[number] = pattern.expression.fullmatch(parent) is not None
                if matched[number]:
                    ignored = pattern.ignores
        return ignored


def _read_pattern(line: str) -> _Pattern | None:
    """Return the pattern of a line, None for an empty line, a comment, or the folder itself."""
    # Only a # in the first column begins a comment.
    text = "" if line.startswith("#") else line.strip()
    if not text:
        return None
    exception = "!" if text.startswith("!") else ""
    text = text.removeprefix("!").strip()
    # Slashes at the beginning and at the end, and parts such as `.` and `..`, mean nothing. The
    # reference cleans the path without the `!`, then the whole text.
    if text:
        text = posixpath.normpath(text).lstrip("/")
    text = posixpath.normpath(f"{exception}{text}".strip())
    ignores = not text.startswith("!")
    pattern = text.removeprefix("!")
    if not pattern:
        raise ValueError(line)
    if pattern == ".":
        return None
    try:
        return _Pattern(re.compile(_to_expression(pattern)), ignores)
    except (ValueError, re.error):
        raise ValueError(line) from None


def _to_expression(pattern: str) -> str:
    """Return a pattern as a regular expression.

    Raises:
        ValueError: the pattern is not valid.
    """
    pieces = []
    for match in _PIECE.finditer(pattern):
        if match["folders"] is not None:
            pieces.append(_any_folders(pattern, match.start(), match.end()))
        elif match["text"] is not None:
            pieces.append("[^/]*")
        elif match["character"] is not None:
            pieces.append("[^/]")
        elif match["set"] is not None:
            pieces.append(_to_set(match["set"], match["negated"]))
        elif match["escaped"] is not None:
            pieces.append(re.escape(match["escaped"]))
        elif match["plain"] in ("[", "\\"):
            # A set without its end, or a backslash at the end of the pattern.
            raise ValueError(pattern)
        else:
            pieces.append(re.escape(match["plain"]))
    return "".join(pieces)


def _any_folders(pattern: str, start: int, end: int) -> str:
    """Return the regular expression of `**` at a place of a pattern."""
    if end == len(pattern):
        return ".*"
    # `**.log` is a suffix of the whole path. Elsewhere, `**` ends with a slash or is empty.
    rest = pattern[end:]
    is_suffix = start == 0 and pattern[end - 1] != "/" and not _SPECIAL.intersection(rest)
    return ".*" if is_suffix else "(?:.*/)?"


def _to_set(members: str, negated: str) -> str:
    """Return a set of characters as a regular expression.

    Args:
        members: the text between the brackets.
        negated: `^` for all other characters.

    Raises:
        ValueError: the set is not valid.
    """
    ranges = []
    position = 0
    while position < len(members):
        match = _MEMBER.match(members, position)
        if match is None:
            raise ValueError(members)
        first, last = match.groups()
        text = re.escape(first[-1])
        ranges.append(text if last is None else f"{text}-{re.escape(last[-1])}")
        position = match.end()
    if not ranges:
        raise ValueError(members)
    return f"[{negated}{''.join(ranges)}]"
