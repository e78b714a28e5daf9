"""What tests of schedules on Vertex AI share: a stand-in, and the schedules of an environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kfgcp.backends.schedules import SupportsSchedules
from kfgcp.services.client import ServiceClient
from kfgcp.testing import VertexStandIn, vertex
from vertex_schedules import open_schedules, toml


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexStandIn]:
    """Return a stand-in, to which the environment `dev` leads. Retries do not wait."""
    monkeypatch.setitem(ServiceClient.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    with vertex(mode="instant") as stand_in:
        (home / "kfgcp.toml").write_text(toml(stand_in.toml("dev")))
        yield stand_in
        assert stand_in.unused_faults == []


@pytest.fixture
def schedules(cloud: VertexStandIn) -> SupportsSchedules:
    """Return the schedules of the environment `dev`."""
    return open_schedules()
