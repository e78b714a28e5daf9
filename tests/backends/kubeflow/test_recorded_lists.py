"""Lists of recorded servers of Kubeflow Pipelines, read whole: from the socket to the runs that are
shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exchanges import VERSIONS, Exchange, exchange
from kfgcp import api
from kfgcp.errors import Refused
from kfgcp.query import RunFilter
from service_fixtures import ReceivedRequest, Reply, Server

RUNS, EXPERIMENTS = "/apis/v2beta1/runs", "/apis/v2beta1/experiments"
SINCE = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def listed(
    home: Path, server: Server, reply: type[Reply]
) -> Callable[[Exchange, Exchange], list[str]]:
    """Lists runs of a server whose first and second page of runs are these; the names of the
    runs."""
    (home / "kfgcp.toml").write_text(
        f'[env.gke]\nbackend = "kubeflow"\nhost = "{server.url}"\nauth = "anonymous"\n'
    )

    def names(first: Exchange, second: Exchange) -> list[str]:
        def answer(asked: ReceivedRequest) -> Reply:
            if asked.path == EXPERIMENTS:
                return reply(exchange("experiments-list").answer)
            if asked.path != RUNS:
                return reply({"code": 5, "message": "Not Found"}, 404)
            if "page_token" not in asked.query:
                return reply(first.answer)
            if asked.query.keys() & {"filter", "sort_by"}:
                return reply(exchange("runs-list-since-page-2-refused").answer, 400)
            return reply({**second.answer, "next_page_token": ""}, second.status)

        server.always(answer)
        return [run.name for run in api.list(RunFilter(env="gke", since=SINCE), limit=50)]

    return names


@pytest.mark.filterwarnings("ignore::kfgcp.errors.NotWhole")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_list_since_a_time_has_more_than_one_page(
    listed: Callable[[Exchange, Exchange], list[str]], version: str
) -> None:
    first, second = (
        exchange("runs-list-since-page-1", version),
        exchange("runs-list-since-page-2", version),
    )

    assert sorted(listed(first, second)) == sorted(
        run["display_name"] for page in (first, second) for run in page.answer["runs"]
    )


@pytest.mark.filterwarnings("ignore::kfgcp.errors.NotWhole")
def test_a_server_that_is_upgraded_between_two_pages(
    listed: Callable[[Exchange, Exchange], list[str]],
) -> None:
    first, second = (
        exchange("runs-list-since-page-1", "2.14.3"),
        exchange("runs-list-since-page-2", "2.17.0"),
    )

    assert sorted(listed(first, second)) == ["echo-2", "gone"]


def test_a_server_that_does_not_take_the_page_token_of_another_version(
    listed: Callable[[Exchange, Exchange], list[str]],
) -> None:
    """One line; there is nothing to be read again, because the next list starts at its first
    page."""
    with pytest.raises(Refused) as caught:
        listed(
            exchange("runs-list-since-page-1", "2.14.3"), exchange("runs-list-bad-token", "2.17.0")
        )

    assert caught.value.message.startswith("Kubeflow Pipelines refused GET apis/v2beta1/runs: ")
    assert "\n" not in caught.value.message
