"""Make the text of another program fit for a message: on one line, short, and without secrets."""

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

# A server may shorten a secret that it quotes. So a secret with more characters than this is
# recognized by its first characters alone.
_RECOGNIZED_LENGTH: Final = 12


def redacted_line(text: str, *secrets: str, limit: int = 400) -> str:
    """Return a text on one line, in which `[hidden]` replaces secrets and other tokens.

    Everything that looks like a token is replaced, too.

    Args:
        text: a text from another program.
        secrets: the secrets to hide, also in the form that they have in a URL.
        limit: the most characters of the result. A longer text is shortened.

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
    # Also hide what follows the beginning, up to the next blank, quote or angle bracket.
    beginning = re.escape(secret[:_RECOGNIZED_LENGTH])
    return re.sub(beginning + r"[^\s\"'<>]*", HIDDEN, text)
