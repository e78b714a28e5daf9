"""User names and passwords in URLs, such as `https://bob:pw@index.acme.example/simple`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_CREDENTIALS: Final = re.compile(r"(?<=//)[^/?#\s'\"]*@")
"""Up to the last `@` before the path, as a password may have one too."""


def has_credentials(text: str) -> bool:
    """Return whether a text has a URL with a user or a password."""
    return _CREDENTIALS.search(text) is not None


def mask_credentials(text: str, known: Iterable[str] = ()) -> str:
    """Return a text with `***` instead of the user and password of each URL in it.

    Args:
        text: what is going to be shown.
        known: texts with URLs whose passwords are masked wherever they stand, also without their URL.

    Example:
        >>> mask_credentials("error: https://bob:pw@index.acme.example/simple")
        'error: https://***@index.acme.example/simple'
    """
    text = _CREDENTIALS.sub("***@", text)
    for secret in _secrets(known):
        text = text.replace(secret, "***")
    return text


def _secrets(texts: Iterable[str]) -> list[str]:
    """Return `user:password` and the password of each URL, also decoded, the longest first."""
    secrets: set[str] = set()
    for text in texts:
        for match in _CREDENTIALS.finditer(text):
            pair = match[0][:-1]
            password = pair.partition(":")[2] or pair  # a token may stand in the place of the user
            # Short ones would be found in ordinary words; together with the user they are masked all the same.
            secrets |= {each for each in (password, unquote(password)) if len(each) >= 6}
            if ":" in pair:
                secrets |= {pair, unquote(pair)}
    return sorted(secrets, key=len, reverse=True)
