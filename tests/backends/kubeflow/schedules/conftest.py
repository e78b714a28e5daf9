"""Servers of several releases for tests of schedules."""

from collections.abc import Callable, Iterator

import pytest

from kfgcp import testing
from kfgcp.services.client import ServiceClient
from kubeflow_schedules import ScheduleServer

RELEASES = ("2.5.0", "2.14.3", "2.17.0")


@pytest.fixture(params=RELEASES)
def kfp_server(
    request: pytest.FixtureRequest, client: Callable[..., ServiceClient]
) -> Iterator[ScheduleServer]:
    """Return a server of each release."""
    with testing.kubeflow(mode="instant", version=request.param) as stand_in:
        yield ScheduleServer(stand_in, client)
        assert stand_in.unused_faults == []
        assert stand_in.recurring.unseen == []


@pytest.fixture
def new_server(client: Callable[..., ServiceClient]) -> Iterator[ScheduleServer]:
    """Return a server of the newest release."""
    with testing.kubeflow(mode="instant", version="2.17.0") as stand_in:
        yield ScheduleServer(stand_in, client)
        assert stand_in.unused_faults == []
        assert stand_in.recurring.unseen == []


@pytest.fixture
def old_server(client: Callable[..., ServiceClient]) -> Iterator[ScheduleServer]:
    """Return a server before 2.16."""
    with testing.kubeflow(mode="instant", version="2.14.3") as stand_in:
        yield ScheduleServer(stand_in, client)
        assert stand_in.unused_faults == []
