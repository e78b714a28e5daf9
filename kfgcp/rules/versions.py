"""Versions of servers, as rules compare them."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

# Distributions add to the number: `2.5.0-rc.1`. Nine digits are more than enough.
_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")


Version: TypeAlias = tuple[int, ...]
"""A version of a server: `(2, 14, 3)`."""


def parse_version(text: object) -> Version | None:
    """Return the version in a text, None when it does not begin with one.

    Example:
        >>> parse_version("v2.5.0-rc.1")
        (2, 5, 0)
        >>> parse_version("unknown") is None
        True
    """
    match = _VERSION.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    return tuple(int(number) for number in match.groups() if number is not None)


def format_version(version: Version | None) -> str:
    """Return a version as text, "" for None.

    Example:
        >>> format_version((2, 14, 3))
        '2.14.3'
    """
    return ".".join(str(part) for part in version or ())
