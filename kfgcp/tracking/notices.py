"""Warnings about a call that went well, and the line of the caller that they point to."""

from __future__ import annotations

import sys
import warnings


class NotRefreshed(UserWarning):
    """A remote backend could not be asked what has changed. Its runs are those that were last
    seen."""


class NotHeeded(UserWarning):
    """The backend leaves out something that the pipeline asks for, or gives it in another way."""


class RecordedCode(UserWarning):
    """The pipeline's files were edited since a run that is repeated with the code as it was
    recorded."""


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn at the line that called kfgcp, however many of our own functions are in between."""
    level = 2  # the function that called this one
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(str(frame.f_globals.get("__name__", ""))):
        frame = frame.f_back
        level += 1
    warnings.warn(text, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("kfgcp", "contextlib")
