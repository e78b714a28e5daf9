"""The fixtures of the pytest plug-in `kfgcp.testing`.

The stand-ins are imported when a test uses one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kfgcp.testing.kubeflow_server.stand_in import KubeflowStandIn
    from kfgcp.testing.vertex_ai import VertexStandIn


@pytest.fixture
def vertex_stand_in() -> Iterator[VertexStandIn]:
    """A stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage for one test.

    A fault that was scripted with `fail_next` and that no request has met fails the test.
    """
    from kfgcp.testing import vertex

    with vertex() as env:
        yield env
        unused = env.unused_faults
    _check(unused)


@pytest.fixture
def kubeflow_stand_in() -> Iterator[KubeflowStandIn]:
    """A stand-in of a Kubeflow Pipelines API server, Cloud Logging and Cloud Storage for one test.

    A fault that was scripted with `fail_next` and that no request has met fails the test.
    """
    from kfgcp.testing import kubeflow

    with kubeflow() as env:
        yield env
        unused = env.unused_faults
    _check(unused)


def _check(unused: list[str]) -> None:
    if unused:
        pytest.fail(f"no request has met these faults: {', '.join(unused)}")
