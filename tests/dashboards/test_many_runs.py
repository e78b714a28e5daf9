"""With 100,000 runs of 10 parameters and 5 metrics each, half a second of the server is enough for a page."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kfgcp.store.store import Store

LIMIT = 0.5
TRIES = 6
IDS = [
    "page",
    "text",
    "two conditions",
    "half of them",
    "state",
    "env",
    "sort by metric",
    "sort by parameter",
    "last page",
]


@pytest.fixture(autouse=True)
def _there(home: Path, many_runs: Path) -> None:
    (home / ".kfgcp").symlink_to(many_runs)


def _quickest(page: AppTest) -> float:
    """The processor seconds of the quickest of a few reruns: other things that this machine does do not count."""
    took = []
    for _ in range(TRIES):
        began = time.process_time()
        page.run()
        took.append(time.process_time() - began)
        if took[-1] < LIMIT:
            break
    return min(took)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"where": "pipeline-3-99"},
        {"where": "metrics.metric_0 > 0.99 and params.param_1 < 0.1"},
        {"where": "metrics.evaluate.metric_0 > 0.5"},
        {"state": ["FAILED"]},
        {"env": "dev", "pipeline": "pipeline-3"},
        {"sort": "metrics.evaluate.metric_1"},
        {"sort": "params.param_9", "up": "1"},
        {"page": "2000"},
    ],
    ids=IDS,
)
def test_any_filter_is_quick(open_page: Callable[..., AppTest], query: dict[str, Any]) -> None:
    page = open_page("runs", **query)

    assert not page.error
    assert len(page.dataframe[0].value) > 0
    assert _quickest(page) < LIMIT


def test_twenty_runs_are_compared_quickly(open_page: Callable[..., AppTest], home: Path) -> None:
    with Store(home / ".kfgcp") as store:
        ids = [run.run_id for run in store.page(limit=20)]

    page = open_page("compare", run=ids)

    assert len(page.dataframe[0].value.columns) == 22
    assert _quickest(page) < LIMIT


@pytest.mark.parametrize("view", ["trends", "versions"])
def test_what_looks_at_all_runs_of_a_pipeline_is_quick(open_page: Callable[..., AppTest], view: str) -> None:
    page = open_page(view)

    assert not page.error
    assert _quickest(page) < LIMIT
