"""What tests of the backend vertex share: its settings, a task as the service has it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.versions import SupportsVersions
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.services.client import ServiceClient
from kfgcp.testing import VertexStandIn, vertex
from registered_versions import open_registry

SETTINGS = {"project": "acme", "location": "europe-west4", "pipeline_root": "gs://acme-pipelines"}


@pytest.fixture(scope="session")
def vertex_settings() -> Callable[..., VertexSettings]:
    """Return settings of an environment with further keys."""

    def make(**more: Any) -> VertexSettings:
        return VertexSettings(**SETTINGS | more)

    return make


@pytest.fixture(scope="session")
def detail() -> Callable[..., JsonDict]:
    """A taskDetail that succeeded: `number` is its id and, in seconds, its start."""

    def make(number: int, name: str, parent: int | None = None, **more: object) -> JsonDict:
        defaults: JsonDict = {
            "taskId": str(number),
            "taskName": name,
            "state": "SUCCEEDED",
            "startTime": f"2026-01-02T03:00:{number % 60:02d}.000Z",
            "endTime": f"2026-01-02T03:01:{number % 60:02d}.000Z",
            **({} if parent is None else {"parentTaskId": str(parent)}),
        }
        return {key: value for key, value in (defaults | more).items() if value is not None}

    return make


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexStandIn]:
    """Return a stand-in, to which the environment `dev` leads. Retries do not wait."""
    monkeypatch.setitem(ServiceClient.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    with vertex(mode="instant") as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("dev"))
        yield stand_in
        assert stand_in.unused_faults == []


@pytest.fixture
def registry(cloud: VertexStandIn) -> SupportsVersions:
    """Return the registry of the environment `dev`."""
    return open_registry()
