"""Write numbers that are compared with a limit, so that a reader sees the same result."""

from __future__ import annotations

from typing import Final

# A float has at most 17 significant digits.
_MOST_DIGITS: Final = 17


def exact(number: float) -> str:
    """Return the shortest text of exactly this number.

    Example:
        >>> exact(12.0), exact(0.001)
        ('12', '0.001')
    """
    return repr(float(number)).removesuffix(".0")


def next_to(value: float, limit: float, digits: int = 6) -> str:
    """Return a number with as many digits as it takes to see on which side of a limit it is.

    Args:
        value: the number to write.
        limit: the number that it is compared with.
        digits: the number of significant digits that is usually enough.

    Example:
        >>> next_to(0.91234567, 0.5), next_to(0.89999999, 0.9)
        ('0.912346', '0.89999999')
    """
    for count in range(digits, _MOST_DIGITS):
        text = f"{value:.{count}g}"
        shown = float(text)
        if (shown < limit) == (value < limit) and (shown > limit) == (value > limit):
            return text
    return exact(value)
