"""The fixtures of the pytest plug-in `kfgcp.testing`.

A fixture imports its stand-in when a test uses it. So the plug-in does not slow other tests down.
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
    """Yield a stand-in of Vertex AI Pipelines, Cloud Logging and Cloud Storage for one test.

    The test fails if a fault of `fail_next` has not happened.
    """
    from kfgcp.testing import vertex

    with vertex() as env:
        yield env
        unused = env.unused_faults
    _check_unused(unused)


@pytest.fixture
def kubeflow_stand_in() -> Iterator[KubeflowStandIn]:
    """Yield a stand-in of a Kubeflow Pipelines API server and of Cloud Storage for one test.

    It has Cloud Logging too. The test fails if a fault of `fail_next` has not happened.
    """
    from kfgcp.testing import kubeflow

    with kubeflow() as env:
        yield env
        unused = env.unused_faults
    _check_unused(unused)


def _check_unused(unused: list[str]) -> None:
    if unused:
        pytest.fail(f"these faults of fail_next did not happen: {', '.join(unused)}")
