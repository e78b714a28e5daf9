"""Format errors of other libraries for our messages."""

from __future__ import annotations


def in_one_line(error: BaseException) -> str:
    """Return the class and the text of an error that is not ours, on one line.

    Example:
        >>> in_one_line(ValueError("no\\nluck"))
        'ValueError: no luck'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())
