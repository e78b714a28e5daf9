"""Read and write fitted models. Tasks pass models to each other as files of joblib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]

from kfgcp_components.messages import one_line


def write_model(model: object, path: str | Path) -> None:
    """Write a model to a file."""
    joblib.dump(model, path)


# Any, because the file can contain any Python object. The caller checks what it uses.
def read_model(path: str | Path) -> Any:
    """Read a model from a file. Loading runs code from the file, so use only trusted files.

    Raises:
        ValueError: the file is not a model, or this Python cannot load it.
    """
    try:
        return joblib.load(path)
    except OSError:
        raise
    # Loading can fail with any error, because it runs the code of any class.
    except Exception as error:
        raise ValueError(
            f"{path} is not a model that joblib can load here: {one_line(error)}"
        ) from error
