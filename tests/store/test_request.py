"""How a run was submitted, as the store keeps it; also as versions before `RunOptions` wrote it."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfgcp.errors import StateError
from kfgcp.model import Run
from kfgcp.options import RunOptions
from kfgcp.spec.source import Source
from kfgcp.store.request import StoredRequest
from kfgcp.store.store import Store

MakeRun = Callable[..., Run]
RUN = "aaaa00000001"

LOCAL = (
    '{"uses_docker":false,"submit_dir":"/home/ann/churn","caching":false,"fail_fast":true,"executor":"process",'
    '"strict_env":true,"container_credentials":false,"repeats":null,"from_task":null,"platform_spec":null,'
    '"pipeline_root":"","buckets":{"s3_endpoint":"","s3_region":"","s3_addressing":"","request_seconds":120.0},'
    '"source":{"pipeline":"p.py","folder":"/home/ann/churn","files":{"/home/ann/churn/p.py":'
    '"b93cc070fe219fa0d700064102ae4c0ad17c3972922b529efa334ee519d62428"}},"max_parallel":3}'
)
"""Of `kfgcp run p.py --no-cache --fail-fast --executor process --strict-env --max-parallel 3`, with
another folder."""
RERUN = (
    '{"uses_docker":false,"submit_dir":"/home/ann/churn","caching":null,"fail_fast":false,"executor":"auto",'
    '"strict_env":false,"container_credentials":false,"repeats":"e39b497c96e7","from_task":"double",'
    '"platform_spec":null,"pipeline_root":"","buckets":{"s3_endpoint":"","s3_region":"","s3_addressing":"",'
    '"request_seconds":120.0},"source":null}'
)
"""Of `kfgcp rerun latest --from double`, without the source."""
REMOTE = (
    '{"platform_spec":{"platforms":{"kubernetes":{}}},"caching":true,"fail_fast":true,'
    '"source":null}'
)
"""Of `kfgcp run pipeline.yaml --env dev --cache --fail-fast` on Vertex AI."""


def _write(home: Path, text: str) -> None:
    """Put the JSON of a request into the database, as an earlier version wrote it."""
    with sqlite3.connect(home / ".kfgcp" / "kfgcp.db") as connection:
        connection.execute("UPDATE runs SET request = ?", (text,))
    connection.close()


def test_a_request_comes_back(store: Store, make_run: MakeRun) -> None:
    request = StoredRequest(
        options=RunOptions(env="dev", labels={"team": "growth"}, cache=False, executor="docker"),
        submit_dir="/home/ann",
        repeats="bbbb",
        from_task="train",
        source=Source("p.py", "/home/ann", {"/home/ann/p.py": "0" * 64}),
        platform_spec={"platforms": {}},
        uses_docker=True,
        container_credentials=True,
        container_folders=("/home/ann/models",),
        container_network="none",
        project_root="/home/ann",
        pipeline_root="gs://acme",
        buckets={"s3_region": "eu"},
    )
    store.add_run(make_run(RUN), request=request)

    assert store.request(RUN) == request


def test_a_run_that_was_not_submitted_from_here_has_none(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run(RUN))

    assert store.request(RUN) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            LOCAL,
            StoredRequest(
                options=RunOptions(
                    cache=False, max_parallel=3, fail_fast=True, executor="process", strict_env=True
                ),
                submit_dir="/home/ann/churn",
                source=Source(
                    "p.py",
                    "/home/ann/churn",
                    {
                        "/home/ann/churn/p.py": (
                            "b93cc070fe219fa0d700064102ae4c0ad17c3972922b529efa334ee519d62428"
                        )
                    },
                ),
                buckets={
                    "s3_endpoint": "",
                    "s3_region": "",
                    "s3_addressing": "",
                    "request_seconds": 120.0,
                },
            ),
        ),
        (
            RERUN,
            StoredRequest(
                submit_dir="/home/ann/churn",
                repeats="e39b497c96e7",
                from_task="double",
                buckets={
                    "s3_endpoint": "",
                    "s3_region": "",
                    "s3_addressing": "",
                    "request_seconds": 120.0,
                },
            ),
        ),
        (
            REMOTE,
            StoredRequest(
                options=RunOptions(cache=True, fail_fast=True),
                platform_spec={"platforms": {"kubernetes": {}}},
            ),
        ),
    ],
    ids=["local", "rerun", "remote"],
)
def test_a_request_of_a_version_before_run_options_is_read(
    text: str, expected: StoredRequest, store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(RUN))
    _write(home, text)

    assert store.request(RUN) == expected


def test_a_request_of_a_newer_form_is_refused(store: Store, home: Path, make_run: MakeRun) -> None:
    store.add_run(make_run(RUN))
    stored: dict[str, Any] = StoredRequest().to_dict()
    stored["options"] = {"version": 2, "speed": "fast"}
    _write(home, json.dumps(stored))

    with pytest.raises(StateError, match="have version 2, but this kfgcp reads only version 1"):
        store.request(RUN)
    assert store.get(RUN).run_id == RUN, "the run itself can be shown"
