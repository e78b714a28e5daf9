"""`kfgcp run`: real pipelines to their end, by the real command."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp_command import Command

Pipeline = Callable[[str], Path]

RUN_KEYS = [
    *(
        "run_id",
        "env",
        "backend",
        "backend_ref",
        "url",
        "pipeline",
        "version",
        "experiment",
        "name",
        "labels",
    ),
    *("tags", "note"),
    *(
        "state",
        "created_at",
        "started_at",
        "ended_at",
        "params",
        "outputs",
        "metrics",
        "artifacts",
        "tasks",
        "error",
    ),
]
TASK_KEYS = [
    "path",
    "kind",
    "state",
    "attempts",
    "cache",
    "started_at",
    "ended_at",
    "inputs",
    "outputs",
    "error",
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_json_of_a_run_is_the_contract_and_the_same_everywhere(
    kfgcp: Command, pipeline: Pipeline
) -> None:
    result = kfgcp(
        *("run", pipeline("chain"), "-p", "n=5", "--experiment", "spring", "--name", "my run"),
        *("--label", "team=growth", "--label", "eq=a=b", "--json"),
    )

    assert result.code == 0, result.err
    run = result.json
    assert list(run) == RUN_KEYS
    assert re.fullmatch(r"[0-9a-f]{12}", run["run_id"])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", run["version"])
    assert all(TIME.fullmatch(run[key]) for key in ("created_at", "started_at", "ended_at"))
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert {
        key: run[key]
        for key in ("env", "backend", "backend_ref", "url", "pipeline", "experiment", "name")
    } == {
        "env": "local",
        "backend": "local",
        "backend_ref": None,
        "url": None,
        "pipeline": "chain",
        "experiment": "spring",
        "name": "my run",
    }
    assert {
        "team": "growth",
        "eq": "a=b",
        "pipeline": run["pipeline"],
        "submission": run["run_id"],
    }.items() <= (run["labels"].items())
    assert (run["state"], run["error"]) == ("SUCCEEDED", None)
    assert (run["params"], run["outputs"]) == ({"n": 5}, {"Output": 23})  # 2 (5 + 1) + 10, and 1
    assert (run["metrics"], run["artifacts"]) == ([], [])
    assert [list(task) for task in run["tasks"]] == [TASK_KEYS] * 5
    assert [
        (task["path"], task["kind"], task["inputs"], task["outputs"]) for task in run["tasks"]
    ] == [
        ("add", "container", {"x": 5, "more": 1}, {"Output": 6}),
        ("inner", "dag", {"x": 6}, {"Output": 22}),
        ("inner/double", "container", {"x": 6}, {"Output": 12}),
        ("inner/add", "container", {"x": 12, "more": 10}, {"Output": 22}),
        ("add-2", "container", {"x": 22, "more": 1}, {"Output": 23}),
    ]
    assert [(task["state"], task["attempts"], task["error"]) for task in run["tasks"]] == [
        ("SUCCEEDED", attempts, None) for attempts in (1, 0, 1, 1, 1)
    ]
    assert run["tasks"][0]["cache"]["hit"] is False

    assert kfgcp("show", "--json").json == run
    assert kfgcp("show", run["run_id"][:4], "--json").json == run
    assert kfgcp("show", "my run", "--json").json == run
    [row] = kfgcp("list", "--json").json
    assert list(row) == [key for key in RUN_KEYS if key not in ("artifacts", "tasks")]
    assert row == {key: run[key] for key in row}
    assert kfgcp("export", "--format", "json").json == [run]
    assert [json.loads(line) for line in kfgcp("logs", "--json").out.splitlines()] == [
        {"task": "add", "attempt": 1, "text": "5 + 1"},
        {"task": "inner/add", "attempt": 1, "text": "12 + 10"},
        {"task": "add-2", "attempt": 1, "text": "22 + 1"},
    ]


def test_a_pipeline_in_a_python_file(kfgcp: Command, pipeline_file: Callable[[str], Path]) -> None:
    result = kfgcp("run", f"{pipeline_file('chain')}:chain", "--json")

    assert (result.code, result.json["outputs"]) == (0, {"Output": 17})
    assert "Warning" not in result.err


def test_states_and_logs_go_to_stderr_and_results_to_stdout(
    kfgcp: Command, pipeline: Pipeline
) -> None:
    result = kfgcp("run", pipeline("chain"))

    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        [],
        ["OUTPUT", "VALUE"],
        ["Output", "17"],
    ]
    lines = [
        re.sub(r"\d+\.\d\d s", "T s", re.sub(r"[0-9a-f]{12}", "ID", line))
        for line in result.err.splitlines()
    ]
    assert lines[0] == "run ID  chain  env local  experiment default"
    assert lines[-2:] == [
        "run ID  SUCCEEDED  T s",
        "next: kfgcp show ID   kfgcp compare   kfgcp list",
    ]
    shown = set(lines[1:-2])
    tasks = ("add", "inner", "inner/double", "inner/add", "add-2")
    assert shown == {
        *(f"{task}  RUNNING" for task in tasks),
        *(f"{task}  SUCCEEDED  T s" for task in tasks),
        *("add | 2 + 1", "inner/add | 6 + 10", "add-2 | 16 + 1"),
    }
    for task in tasks:
        assert lines.index(f"{task}  RUNNING") < lines.index(f"{task}  SUCCEEDED  T s")
    assert lines.index("add | 2 + 1") < lines.index("add  SUCCEEDED  T s")


def test_metrics_of_the_same_name_are_both_kept(kfgcp: Command, pipeline: Pipeline) -> None:
    first = kfgcp("run", pipeline("two_scores"), "-p", "second=0.25", "--json").json
    second = kfgcp("run", pipeline("two_scores"), "-p", "second=0.75", "--json").json

    assert sorted(
        (metric["task"], metric["artifact"], metric["name"], metric["value"])
        for metric in first["metrics"]
    ) == [
        ("evaluate", "metrics", "accuracy", 0.5),
        ("evaluate-2", "metrics", "accuracy", 0.25),
    ]
    assert sorted(
        (artifact["task"], artifact["name"], artifact["type"]) for artifact in first["artifacts"]
    ) == [
        ("evaluate", "metrics", "system.Metrics"),
        ("evaluate", "predictions", "system.Dataset"),
        ("evaluate-2", "metrics", "system.Metrics"),
        ("evaluate-2", "predictions", "system.Dataset"),
    ]
    [uri] = [
        artifact["uri"]
        for artifact in first["artifacts"]
        if (artifact["task"], artifact["name"]) == ("evaluate", "predictions")
    ]
    assert uri.startswith("file:///")
    assert Path(uri.removeprefix("file://")).read_text() == "1,0,1"

    compared = kfgcp("compare", "--json").json
    assert [run["run_id"] for run in compared["runs"]] == [first["run_id"], second["run_id"]]
    assert [
        difference
        for difference in compared["differences"]
        if difference["group"] in ("params", "metrics")
    ] == [
        {"group": "params", "name": "second", "values": [0.25, 0.75], "deltas": [0.0, 0.5]},
        {
            "group": "metrics",
            "name": "evaluate-2/metrics/accuracy",
            "values": [0.25, 0.75],
            "deltas": [0.0, 0.5],
            "goal": "higher",
            "direction": "maximize",
            "better": [None, True],
            "best": None,
        },
    ]


def test_a_failing_task_fails_the_run_but_not_what_stands_beside_it(
    kfgcp: Command, pipeline: Pipeline
) -> None:
    result = kfgcp("run", pipeline("one_fails"), "--json")

    assert result.code == 6
    run = result.json
    assert run["state"] == "FAILED"
    assert {task["path"]: task["state"] for task in run["tasks"]} == {
        "fine": "SUCCEEDED",
        "boom": "FAILED",
        "below": "SKIPPED",
        "below-2": "SUCCEEDED",
    }
    assert (run["error"]["task"], run["error"]["message"]) == ("boom", "ValueError: no luck with 7")
    assert run["error"]["log_tail"][0] == "about to fail"
    assert run["error"]["log_tail"][-1] == "ValueError: no luck with 7"
    [boom] = [task for task in run["tasks"] if task["path"] == "boom"]
    assert boom["error"] == run["error"]
    assert "boom | about to fail" in result.err.splitlines()
    assert result.err.splitlines()[-1] == "failed in task boom: ValueError: no luck with 7"

    shown = kfgcp("show")
    assert shown.code == 0
    assert "failed in task boom: ValueError: no luck with 7" in shown.err


def test_many_lines_of_both_streams_keep_their_order(kfgcp: Command, pipeline: Pipeline) -> None:
    result = kfgcp("run", pipeline("chatter"))
    expected_lines = [*(f"line {number}" for number in range(2000)), "no newline at the end"]

    assert result.code == 0
    assert [
        line.removeprefix("talk | ")
        for line in result.err.splitlines()
        if line.startswith("talk | ")
    ] == expected_lines
    assert kfgcp("logs", "latest", "talk").out.splitlines() == expected_lines
    assert kfgcp("logs").out.splitlines() == [f"talk | {line}" for line in expected_lines]
    assert kfgcp("logs", "latest", "--follow").out.splitlines() == [
        f"talk | {line}" for line in expected_lines
    ]


def test_params_from_a_file_and_from_options(
    kfgcp: Command, pipeline: Pipeline, home: Path
) -> None:
    (home / "params.yaml").write_text("first: 0.125\nsecond: 0.25\n")

    result = kfgcp(
        "run", pipeline("two_scores"), "--params-file", "params.yaml", "-p", "second=1", "--json"
    )

    assert (result.code, result.json["params"]) == (0, {"first": 0.125, "second": 1.0})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-p", "x=1"], 2, "x"),
        (["-p", "n=abc"], 2, "n"),
        (["-p", "n"], 2, "n"),
        (["--params-file", "no.yaml"], 2, "no.yaml"),
        (["--env", "prod"], 2, "There is no environment 'prod'"),
    ],
)
def test_what_is_wrong_before_the_start_starts_nothing(
    kfgcp: Command, pipeline: Pipeline, arguments: list[str], code: int, message: str
) -> None:
    result = kfgcp("run", pipeline("chain"), *arguments)

    assert (result.code, result.out) == (code, "")
    assert message in result.err
    # Hints of many lines, such as the list of parameters, come first.
    assert any(line.startswith("error: ") for line in result.err.splitlines())
    assert kfgcp("list", "--json").json == []


def test_a_file_that_does_not_compile_exits_with_3(kfgcp: Command, home: Path) -> None:
    (home / "broken.py").write_text("from kfp import dsl\n1 / 0\n")
    (home / "broken.yaml").write_text("root: {}\n")

    python, yaml = kfgcp("run", "broken.py"), kfgcp("run", "broken.yaml")

    assert (python.code, python.out, yaml.code, yaml.out) == (3, "", 3, "")
    assert "ZeroDivisionError" in python.err
    assert "broken.py" in python.err


def test_a_backend_that_nobody_answers_for_exits_with_5(
    kfgcp: Command, pipeline: Pipeline, home: Path
) -> None:
    (home / "kfgcp.toml").write_text(
        '[env.gke]\nbackend = "kubeflow"\nhost = "http://127.0.0.1:1"\nauth = "anonymous"\n'
    )

    result = kfgcp("run", pipeline("echo"), "--env", "gke")

    assert result.code == 5
    assert result.err.startswith("error: Kubeflow Pipelines: 127.0.0.1")
    assert kfgcp("list", "--no-refresh", "--json").json == []


def test_a_damaged_store_exits_with_5_and_says_what_to_do(
    kfgcp: Command, pipeline: Pipeline, home: Path
) -> None:
    file = home / ".kfgcp" / "kfgcp.db"
    file.parent.mkdir()
    file.write_bytes(b"this is no database, " * 1000)

    for arguments in (["run", pipeline("echo")], ["list"], ["show"]):
        result = kfgcp(*arguments)
        assert (result.code, result.out) == (5, "")
        assert f"{file} is damaged" in result.err
        assert "mv " in result.err
    assert file.read_bytes() == b"this is no database, " * 1000


def test_kfgcp_home_moves_all_state(
    kfgcp: Command, pipeline: Pipeline, home: Path, tmp_path: Path
) -> None:
    state = tmp_path / "elsewhere"

    assert kfgcp("run", pipeline("echo"), env={"KFGCP_HOME": str(state)}).code == 0

    assert sorted(path.name for path in home.iterdir()) == []
    assert (state / "kfgcp.db").is_file()
    assert list((state / "logs").rglob("1.log"))
