"""Fitted models as they travel between tasks: files written by joblib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]

from kfgcp_components.messages import one_line


def write_model(model: Any, path: str | Path) -> None:
    """Returns when the model is in the file."""
    joblib.dump(model, path)


def read_model(path: str | Path) -> Any:
    """The model in a file; reading it runs code from the file, so it has to be trusted.

    Raises:
        ValueError: If the file does not hold a model, or one that this Python cannot load.
    """
    try:
        return joblib.load(path)
    except OSError:
        raise
    except Exception as error:  # a pickle may fail with any error
        raise ValueError(
            f"{path} is not a model that joblib can load here: {one_line(error)}"
        ) from error
