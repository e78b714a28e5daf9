"""Warnings about a call that succeeded, and the line of the caller that they point to."""

from __future__ import annotations

import sys
import warnings
from typing import Final

# `contextlib` calls our functions that are context managers.
_OUR_PACKAGES: Final = ("kfgcp", "contextlib")


class NotRefreshed(UserWarning):
    """The warning that a remote backend could not be asked for changes.

    Its runs are shown as they were last read.
    """


class NotHeeded(UserWarning):
    """The warning that the backend leaves out a part of the request, or does it in another way."""


class RecordedCode(UserWarning):
    """The warning that a rerun uses recorded code, and not the edited files of the pipeline."""


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn at the line that called kfgcp, however many of our own functions are in between."""
    # `stacklevel=2` is the function that called this one.
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(str(frame.f_globals.get("__name__", ""))):
        frame = frame.f_back
        level += 1
    warnings.warn(text, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OUR_PACKAGES
