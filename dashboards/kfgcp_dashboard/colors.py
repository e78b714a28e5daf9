"""The colours of states; all others are the theme's, theme/theme.toml."""

from __future__ import annotations

from typing import Final

STATES: Final = {
    "PENDING": "#9a9db0",
    "RUNNING": "#2b8fe0",
    "SUCCEEDED": "#2f9e62",
    "CACHED": "#1a9c9c",
    "SKIPPED": "#b4b6c4",
    "FAILED": "#d64545",
    "CANCELLING": "#d99a2b",
    "CANCELLED": "#b98a3e",
    "PAUSED": "#a77bd1",
}
"""State of a run or task -> its colour, readable on light and dark."""

SIGNS: Final = {
    "PENDING": "○",
    "RUNNING": "◐",
    "SUCCEEDED": "✓",
    "CACHED": "≡",
    "SKIPPED": "–",  # noqa: RUF001
    "FAILED": "✗",
    "CANCELLING": "◌",
    "CANCELLED": "⊘",
    "PAUSED": "∥",
}
"""The same for those who do not see colours."""

LINES: Final = {"light": "#8b8ea3", "dark": "#7d8096"}
TEXT: Final = {"light": "#1c1d29", "dark": "#e8e9f0"}
FILL: Final = {"light": "#ffffff", "dark": "#20222d"}
