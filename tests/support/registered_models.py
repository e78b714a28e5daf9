"""Models that tests register."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kfgcp_components.storage import open_store

# Takes a text, and returns the folder of a model with it, and a URI for `upload`.
MakeModel = Callable[[str], tuple[Path, str]]


def upload(folder: Path, uri: str) -> None:
    """Copy a model to a store."""
    store = open_store(uri)
    for file in ("model.json", "trees/one tree.bin"):
        store.replace(file, folder / file)
