"""Makes texts of other programs fit to be shown: on one line, short, and without secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

HIDDEN: Final = "[hidden]"

_TOKEN_SHAPES: Final = re.compile(
    # The value of an Authorization header.
    r"(?i:\b(?:bearer|basic)\s+)[\w.~+/=%-]{6,}"
    # Google's access tokens, refresh tokens and client secrets.
    r"|\bya29\.[\w.~+/%=-]+"
    r"|\b1//?[\w-]{20,}"
    r"|\bGOCSPX-[\w-]+"
    # JSON Web Tokens.
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"
)

# A server may cut a secret that it quotes. A longer secret is recognized by this many characters at
# its beginning.
_RECOGNIZED_LENGTH: Final = 12


def redacted_line(text: str, *secrets: str, limit: int = 400) -> str:
    """Return a text on one line, with neither the secrets nor anything that looks like a token.

    Args:
        text: from another program.
        secrets: hidden also in the form that they have in an address.
        limit: the most characters of the result.

    Example:
        >>> redacted_line("Authorization: Bearer abcdef123")
        'Authorization: [hidden]'
    """
    for secret in secrets:
        if secret:
            text = _hide(text, secret)
            text = _hide(text, quote(secret, safe=""))
    text = _TOKEN_SHAPES.sub(HIDDEN, text)
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    if len(line) > limit:
        return f"{line[: limit - 1]}…"
    return line


def _hide(text: str, secret: str) -> str:
    if len(secret) <= _RECOGNIZED_LENGTH:
        return text.replace(secret, HIDDEN)
    # The rest of the secret ends at the next blank, quote or angle bracket.
    beginning = re.escape(secret[:_RECOGNIZED_LENGTH])
    return re.sub(beginning + r"[^\s\"'<>]*", HIDDEN, text)
