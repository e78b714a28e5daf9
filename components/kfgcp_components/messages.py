"""Pieces of error messages; each is one line, because users see the last line of a failed task."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_line(error: object, limit: int = 300) -> str:
    """The text of an error with line breaks folded into spaces, at most `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question such as ` Did you mean 'target'?`, or nothing when no known name is close."""
    by_folded = {candidate.strip().casefold(): candidate for candidate in known}
    close = get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.7)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def listing(names: Iterable[str], limit: int = 20) -> str:
    """The first names, separated by commas, and how many more there are."""
    names = [one_line(name, 60) for name in names]
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
