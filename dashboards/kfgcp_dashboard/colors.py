"""The colours and signs of states. All other colours are in theme/theme.toml.

The colours are readable on light and on dark backgrounds.
"""

from __future__ import annotations

from typing import Final

# The state of a run or a task -> its colour.
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

# The state -> a sign, for people who cannot distinguish the colours.
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

# Graphviz does not know the theme of the page, so these have a value for each theme.
LINES: Final = {"light": "#8b8ea3", "dark": "#7d8096"}
TEXT: Final = {"light": "#1c1d29", "dark": "#e8e9f0"}
FILL: Final = {"light": "#ffffff", "dark": "#20222d"}
