"""Exchanges with real servers of Kubeflow Pipelines: the files in tests/recorded/api-*."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "recorded"
VERSIONS = ("2.14.3", "2.17.0")
"""Releases that were recorded. There is also "3.0-branch"."""


@dataclass(frozen=True)
class Exchange:
    """One request that was sent to a real server, and its answer."""

    method: str
    path: str
    query: dict[str, Any]
    body: Any
    status: int
    answer: Any


def exchange(name: str, version: str = "2.17.0") -> Exchange:
    """Return a recorded exchange.

    Args:
        name: the name of its file without ".json".
        version: the version of the server.
    """
    recording = json.loads((RECORDED / f"api-{version}" / f"{name}.json").read_text())
    request = recording["request"]
    return Exchange(
        request["method"],
        request["path"],
        request["query"],
        request["body"],
        recording["status"],
        recording["answer"],
    )
