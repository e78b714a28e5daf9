"""Build the parts of error messages.

Each part is one line, because users see only the last line of a failed task.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_line(error: object, limit: int = 300) -> str:
    """Return the text of an error in one line, with a space for each line break.

    An error without text becomes the name of its class.

    Args:
        error: the error, or a name.
        limit: the largest number of characters. A longer text ends with an ellipsis.

    Example:
        >>> one_line("a first line\\n  and a second one")
        'a first line and a second one'
    """
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    if len(text) <= limit:
        return text
    return text[: limit - 1] + "…"


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a question with the most similar candidate, or an empty text when none is similar.

    Example:
        >>> did_you_mean("Targte", ["target", "age"])
        " Did you mean 'target'?"
    """
    candidates_by_lower_name = {candidate.strip().casefold(): candidate for candidate in candidates}
    matches = get_close_matches(name.strip().casefold(), candidates_by_lower_name, n=1, cutoff=0.7)
    if not matches:
        return ""
    return f" Did you mean {candidates_by_lower_name[matches[0]]!r}?"


def format_names(names: Iterable[str], limit: int = 20) -> str:
    """Return the first names, separated by commas, and the number of the other names.

    Example:
        >>> format_names(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    short_names = [one_line(name, 60) for name in names]
    text = ", ".join(short_names[:limit])
    if len(short_names) <= limit:
        return text
    return f"{text} and {len(short_names) - limit} more"
