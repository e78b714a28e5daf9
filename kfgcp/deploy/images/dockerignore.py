"""Read .dockerignore: which files of a folder Docker does not get.

The rules are those of Docker's documentation ("Dockerignore files"): Go's `filepath.Match`, and
`**` for any number of folders. `!` brings a path back. The last pattern that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# Each special text of a pattern, as a regular expression. The longest text comes first.
_PIECE: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]]*\]|\\.|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    ignores: bool


class Dockerignore:
    """The patterns of a .dockerignore.

    Args:
        lines: the lines of the file.

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
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for pattern in self._patterns:
            if any(pattern.expression.fullmatch(parent) for parent in paths):
                ignored = pattern.ignores
        return ignored


def _read_pattern(line: str) -> _Pattern | None:
    """Return the pattern of a line, None for an empty line or a comment."""
    # Only a # in the first column begins a comment.
    text = "" if line.startswith("#") else line.strip()
    ignores = not text.startswith("!")
    text = text.removeprefix("!").strip()
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts:
        return None
    return _Pattern(re.compile(_to_expression("/".join(parts)), re.DOTALL), ignores)


def _to_expression(pattern: str) -> str:
    """Return a pattern as a regular expression."""
    pieces = []
    for piece in _PIECE.findall(pattern):
        if piece == "**/":
            pieces.append("(?:.*/)?")
        elif piece == "**":
            pieces.append(".*")
        elif piece == "*":
            pieces.append("[^/]*")
        elif piece == "?":
            pieces.append("[^/]")
        elif piece.startswith("[") and len(piece) > 2:
            pieces.append(piece)
        else:
            pieces.append(re.escape(piece.removeprefix("\\") or piece))
    return "".join(pieces)
