"""Show texts of strangers as data: in one line, without control characters. Pure."""

from __future__ import annotations

import re
from typing import Final

# Control characters except tab and line end, marks that change the direction of text, Unicode's
# line separators, and halves of surrogate pairs, which cannot be encoded.
_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    r"""Return a text in one line that has no effect on a terminal or on the text around it.

    Control characters and direction marks become escapes.

    Example:
        >>> print(plain("two\nlines \x1b[31mred"))
        two\nlines \x1b[31mred
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text).replace("\n", "\\n")
