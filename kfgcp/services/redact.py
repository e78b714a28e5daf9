"""Text of others made fit to be shown: one line, short, and without secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

HIDDEN: Final = "[hidden]"
_SHAPES: Final = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[\w.~+/=%-]{6,}"  # an Authorization header
    r"|\bya29\.[\w.~+/%=-]+"  # Google's access tokens,
    r"|\b1//?[\w-]{20,}"  # refresh tokens
    r"|\bGOCSPX-[\w-]+"  # and client secrets
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"  # JSON Web Tokens
)
_ENOUGH: Final = 12
"""A secret of at least so many characters is known by its beginning, should a server cut it."""


def redacted_line(text: str, *secrets: str, limit: int = 400) -> str:
    """The text on one line of at most `limit` characters, with neither the secrets nor what looks
    like a token."""
    for secret in secrets:
        for form in {secret, quote(secret, safe="")} - {""}:
            if len(form) > _ENOUGH:
                text = re.sub(re.escape(form[:_ENOUGH]) + r"[^\s\"'<>]*", HIDDEN, text)
            else:
                text = text.replace(form, HIDDEN)
    text = _SHAPES.sub(HIDDEN, text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
