"""Lists of jobs: pages, filters, orders and masks."""

from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from stand_in_apis import VertexApi


def _ids(answer: JsonDict) -> list[str]:
    return [job["name"].rpartition("/")[2] for job in answer.get("pipelineJobs", [])]


def test_a_thousand_jobs_are_ten_pages_of_a_hundred(quick: VertexApi) -> None:
    job_ids = quick.env.seed(
        1000,
        params={"lr": lambda number: number / 1000},
        metrics={"accuracy": lambda number: number},
    )

    pages, token = [], ""
    while True:
        answer = quick.get("pipelineJobs", pageSize=100, pageToken=token)
        pages.append(_ids(answer))
        token = answer.get("nextPageToken", "")
        if not token:
            break

    assert [len(page) for page in pages] == [100] * 10
    assert [job for page in pages for job in page] == job_ids[::-1]  # newest first
    assert quick.env.requests.count("GET", "*/pipelineJobs") == 10


def test_seeded_jobs_have_the_parameters_and_metrics_that_were_asked_for(
    quick: VertexApi, tasks: Callable[[JsonDict], dict[str, JsonDict]]
) -> None:
    (first_id, second_id) = quick.env.seed(
        2,
        params={"lr": lambda number: number / 10, "kind": "forest"},
        metrics={"accuracy": lambda number: 0.5 + number},
        labels={"team": "growth", "number": lambda number: number},
    )
    (failed,) = quick.env.seed(1, failing={"train": "no memory"})

    job = quick.get(f"pipelineJobs/{second_id}")
    assert job["runtimeConfig"]["parameterValues"] == {"lr": 0.1, "kind": "forest"}
    assert (job["labels"]["team"], job["labels"]["number"]) == ("growth", "1")
    train = tasks(job)["train"]
    assert train["outputs"]["metrics"]["artifacts"][0]["metadata"] == {"accuracy": 1.5}
    assert train["execution"]["metadata"] == {"input:lr": 0.1, "input:kind": "forest"}
    assert quick.get(f"pipelineJobs/{first_id}")["createTime"] < job["createTime"]
    bad = quick.get(f"pipelineJobs/{failed}")
    assert (bad["state"], tasks(bad)["train"]["error"]["message"]) == (
        "PIPELINE_STATE_FAILED",
        "no memory",
    )


def test_sizes_are_clamped(quick: VertexApi) -> None:
    quick.env.seed(120)

    assert len(_ids(quick.get("pipelineJobs"))) == 50
    assert len(_ids(quick.get("pipelineJobs", pageSize=0))) == 50
    assert len(_ids(quick.get("pipelineJobs", pageSize=1000))) == 100
    assert len(_ids(quick.get("pipelineJobs", page_size=7))) == 7
    for size in ("-1", "many"):
        assert (
            quick.refused(quick.call("GET", "pipelineJobs", params={"pageSize": size}))[1]
            == "INVALID_ARGUMENT"
        )


def test_a_page_token_belongs_to_its_list(quick: VertexApi) -> None:
    quick.env.seed(3)
    token = quick.get("pipelineJobs", pageSize=1)["nextPageToken"]

    for query in ({"pageToken": "nonsense"}, {"pageToken": token, "filter": 'display_name="x"'}):
        assert "page token" in quick.refused(quick.call("GET", "pipelineJobs", params=query))[2]


def test_a_job_that_is_added_meanwhile_shifts_no_page(quick: VertexApi) -> None:
    job_ids = quick.env.seed(4, age=60)
    first_page = quick.get("pipelineJobs", pageSize=2)
    quick.env.seed(1)

    second_page = quick.get("pipelineJobs", pageSize=2, pageToken=first_page["nextPageToken"])

    assert _ids(first_page) + _ids(second_page) == job_ids[::-1]
    assert "nextPageToken" not in second_page


@pytest.fixture
def listed(quick: VertexApi) -> Callable[..., str]:
    """Return a function that gives the names of the jobs, of four, that a filter matches."""
    env, base = quick.env, {"metrics": {"accuracy": 1.0}}
    job_ids_by_name = {
        "one": env.seed(1, labels={"team": "growth"}, display_name="alpha step", age=400, **base)[
            0
        ],
        "two": env.seed(1, labels={"team": "core"}, display_name="beta", age=300, **base)[0],
        "bad": env.seed(
            1, labels={"team": "growth"}, failing={"train": "x"}, display_name="alpha", age=200
        )[0],
        "new": env.seed(1, display_name="gamma", age=100, **base)[0],
    }
    names = {job: name for name, job in job_ids_by_name.items()}
    times = {
        name: quick.get(f"pipelineJobs/{job}")["createTime"]
        for name, job in job_ids_by_name.items()
    }

    def ask(filter: str, **query: object) -> str:
        text = filter.format(**times)
        return " ".join(names[job] for job in _ids(quick.get("pipelineJobs", filter=text, **query)))

    return ask


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("", "new bad two one"),
        ('display_name="alpha"', "bad"),
        ('displayName = "alpha"', "bad"),
        ("display_name=beta", "two"),
        ('display_name!="alpha"', "new two one"),
        ('display_name:"alpha*"', "bad one"),
        ('display_name:"*step*"', "one"),
        ('state="PIPELINE_STATE_FAILED"', "bad"),
        ('state="PIPELINE_STATE_FAILED" OR state="PIPELINE_STATE_QUEUED"', "bad"),
        ('state!="PIPELINE_STATE_FAILED"', "new two one"),
        ('pipeline_name="seeded"', "new bad two one"),
        ('pipeline_name="other"', ""),
        ('labels.team="growth"', "bad one"),
        ('labels.team!="growth"', "new two"),
        ("labels.team:*", "bad two one"),
        ("labels:team", "bad two one"),
        ('create_time>"{two}"', "new bad"),
        ('create_time>="{two}"', "new bad two"),
        ('create_time<"{two}"', "one"),
        ('create_time<="{two}" AND labels.team="core"', "two"),
        ('labels.team="growth" state="PIPELINE_STATE_SUCCEEDED"', "one"),
        ('labels.team="core" OR display_name="gamma"', "new two"),
        # OR binds tighter than AND (AIP-160)
        ('labels.team="growth" AND display_name="alpha" OR display_name="beta"', "bad"),
        ('(labels.team="growth" AND display_name="alpha") OR display_name="beta"', "bad two"),
        ('NOT labels.team="growth"', "new two"),
        ('-display_name="alpha"', "new two one"),
        ('pipeline_job_user_id:"seeded-*"', "new bad two one"),
        ('template_uri="x"', ""),
    ],
)
def test_a_filter_gives_what_fits(listed: Any, filter: str, expected: str) -> None:
    assert listed(filter) == expected


@pytest.mark.parametrize(
    "filter",
    [
        *(
            'colour="red"',
            'state="DONE"',
            'display_name>"a"',
            'create_time>"yesterday"',
            "labels.team>3",
            "alpha",
        ),
        *(
            'display_name="a',
            '(display_name="a"',
            'display_name="a")',
            "display_name=",
            "AND",
            'f("x")',
        ),
        *(
            'pipeline_name:"x*"',
            'start_time>"2020-01-01T00:00:00Z"',
            'display_name.x="a"',
            'create_time>"2020-01-01"',
        ),
    ],
)
def test_a_filter_that_is_not_supported_is_refused(quick: VertexApi, filter: str) -> None:
    code, status, message = quick.refused(
        quick.call("GET", "pipelineJobs", params={"filter": filter})
    )

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert message.startswith("Invalid filter: ")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("create_time", "one two bad new"),
        ("create_time desc", "new bad two one"),
        ("createTime asc", "one two bad new"),
        ("end_time desc, create_time", "new bad two one"),
    ],
)
def test_an_order_is_obeyed_over_pages(
    listed: Any, quick: VertexApi, order: str, expected: str
) -> None:
    assert listed("", orderBy=order) == expected
    first_page = quick.get("pipelineJobs", orderBy=order, pageSize=3)
    second_page = quick.get(
        "pipelineJobs", orderBy=order, pageSize=3, pageToken=first_page["nextPageToken"]
    )
    assert len(_ids(first_page)) == 3
    assert len(_ids(second_page)) == 1


def test_another_order_is_refused(quick: VertexApi) -> None:
    for order in ("display_name", "create_time down", ","):
        assert (
            "order_by"
            in quick.refused(quick.call("GET", "pipelineJobs", params={"orderBy": order}))[2]
        )


def test_a_list_leaves_out_spec_and_details_unless_a_mask_asks(quick: VertexApi) -> None:
    quick.env.seed(1)

    (plain,) = quick.get("pipelineJobs")["pipelineJobs"]
    mask = (
        "name,state,pipeline_spec.pipeline_info,jobDetail.pipelineRunContext,"
        "runtime_config.parameter_values"
    )
    (masked,) = quick.get("pipelineJobs", readMask=mask)["pipelineJobs"]
    (whole,) = quick.get("pipelineJobs", readMask="*")["pipelineJobs"]

    assert not {"pipelineSpec", "jobDetail"} & set(plain)
    assert {"name", "displayName", "state", "labels", "createTime", "runtimeConfig"} <= set(plain)
    assert set(masked) == {"name", "state", "pipelineSpec", "jobDetail", "runtimeConfig"}
    assert masked["pipelineSpec"] == {"pipelineInfo": {"name": "seeded"}}
    assert set(masked["jobDetail"]) == {"pipelineRunContext"}
    assert "root" in whole["pipelineSpec"]
    assert "taskDetails" not in whole["jobDetail"]
    assert (
        "colour"
        in quick.refused(quick.call("GET", "pipelineJobs", params={"readMask": "colour"}))[2]
    )
