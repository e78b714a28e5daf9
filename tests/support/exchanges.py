"""Exchanges with real servers of Kubeflow Pipelines: the files in tests/recorded/api-*."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "recorded"
VERSIONS = ("2.14.3", "2.17.0")
"""Releases that were recorded. There is also "3.0-branch"."""


@dataclass(frozen=True)
class Exchange:
    """One request that was sent to a real server, and its answer: JSON as a value, or text."""

    method: str
    path: str
    query: dict[str, Any]
    body: Any
    status: int
    answer: Any
    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""


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
        request.get("headers", {}),
        name,
    )


def exchanges(version: str = "2.17.0") -> list[Exchange]:
    """Return all exchanges with a server in their order in time.

    The README.md of the folder has this order.
    """
    readme = (RECORDED / f"api-{version}" / "README.md").read_text(encoding="utf-8")
    return [
        exchange(name, version)
        for name in re.findall(r"^- `([\w.-]+)\.json`", readme, re.MULTILINE)
    ]
