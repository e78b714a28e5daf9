"""`kfgcp list`, `show` and `logs` over runs that are recorded, not run."""

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.cli.verbs.list import ago
from kfgcp.engine.layout import log_file
from kfgcp.model import Artifact, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command
from patience import PROCESS

MakeRun = Callable[..., Run]


@pytest.fixture
def recorded(store: Store, make_run: MakeRun) -> None:
    """Three runs: an old one, one that failed, and the newest with a bit of everything."""
    store.add_run(make_run("aaaa11111111", created_at="2020-01-01T00:00:00.000Z", name="oldest"))
    store.add_run(
        make_run(
            "bbbb22222222",
            created_at="2020-01-02T00:00:00.000Z",
            pipeline="churn",
            state=RunState.FAILED,
            error=ErrorInfo("ValueError: no", "train", ("Traceback", "ValueError: no")),
            labels={"team": "growth"},
        )
    )
    store.add_run(
        make_run(
            "cccc33333333",
            created_at="2020-01-03T00:00:00.000Z",
            name="newest",
            experiment="spring",
            labels={"team": "growth", "area": "eu"},
            started_at="2020-01-03T00:00:01.000Z",
            ended_at="2020-01-03T00:01:06.500Z",
            params={"lr": 0.1, "model": "forest"},
            outputs={"Output": [1, 2]},
            metrics=tuple(Metric("eval", "metrics", name, 1 / 3) for name in ("a", "b", "c", "d")),
            artifacts=(Artifact("train", "model", "system.Model", "file:///m"),),
            tasks=(
                Task(
                    *("train", TaskKind.CONTAINER, TaskState.SUCCEEDED, 2, None),
                    *("2020-01-03T00:00:01.000Z", "2020-01-03T00:00:01.250Z"),
                ),
                Task("eval", TaskKind.CONTAINER, TaskState.SKIPPED),
            ),
        )
    )


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.usefixtures("recorded")
def test_the_list_is_a_line_a_run_newest_first(kfgcp: Command) -> None:
    result = kfgcp("list")

    lines = _words(result.out)
    assert (result.code, result.err) == (0, "")
    assert lines[0] == [
        "RUN",
        "STATE",
        "NAME",
        "PIPELINE",
        "EXPERIMENT",
        "ENV",
        "CREATED",
        "TOOK",
        "METRICS",
    ]
    assert lines[1][:6] == ["cccc33333333", "SUCCEEDED", "newest", "train", "spring", "local"]
    assert lines[2][:5] == ["bbbb22222222", "FAILED", "churn", "default", "local"]
    assert lines[3][:6] == ["aaaa11111111", "SUCCEEDED", "oldest", "train", "default", "local"]
    assert (
        lines[1][-7:] == ["1", "min", "05", "s", "a=0.333333", "b=0.333333", "c=0.333333", "…"][-7:]
    )


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("hamlet", True),
        ("train of today", True),
        ("train-2", True),
        ("train-7691801a2ac", True),
        ("aaaa11111111", False),
        ("train", False),
        ("train-20261129-203406", False),
        ("train-7691801a2ac3", False),
        ("train 2026-11-29 20-34-06", False),
    ],
)
def test_the_list_shows_the_names_that_people_gave(
    kfgcp: Command, store: Store, make_run: Callable[..., Run], name: str, listed: bool
) -> None:
    """The names that are not listed: those that kfgcp and the client of kfp make when nobody gives
    one."""
    store.put(make_run("aaaa11111111", name=name))

    lines = kfgcp("list").out.splitlines()

    assert (lines[0].split()[2] == "NAME") is listed
    assert (name in lines[1].removeprefix("aaaa11111111").split("SUCCEEDED")[1].split("  ")) is (
        listed or name == "train"
    )


@pytest.mark.parametrize(
    ("options", "first_digits"),
    [
        ([], ["cccc", "bbbb", "aaaa"]),
        (["--pipeline", "churn"], ["bbbb"]),
        (["--experiment", "spring"], ["cccc"]),
        (["--env", "local"], ["cccc", "bbbb", "aaaa"]),
        (["--state", "failed"], ["bbbb"]),
        (["--state", "FAILED", "--state", "SUCCEEDED"], ["cccc", "bbbb", "aaaa"]),
        (["--label", "team=growth"], ["cccc", "bbbb"]),
        (["--label", "team=growth", "--label", "area=eu"], ["cccc"]),
        (["--since", "1.5h"], []),
        (["--since", "99999999999999w"], ["cccc", "bbbb", "aaaa"]),
        (["--limit", "2"], ["cccc", "bbbb"]),
    ],
)
@pytest.mark.usefixtures("recorded")
def test_options_choose_runs(kfgcp: Command, options: list[str], first_digits: list[str]) -> None:
    result = kfgcp("list", "--json", *options)

    assert result.code == 0
    assert [run["run_id"][:4] for run in result.json] == first_digits


def test_an_empty_list_says_how_to_start(kfgcp: Command) -> None:
    result = kfgcp("list")

    assert (result.code, result.out, result.err) == (
        0,
        "",
        "No runs yet.\nnext: kfgcp run PIPELINE\n",
    )
    assert kfgcp("list", "--state", "failed").err.startswith("No runs.\n")
    assert kfgcp("list", "--json").json == []


def test_an_environment_that_is_not_there_and_has_no_runs_is_an_error(kfgcp: Command) -> None:
    result = kfgcp("list", "--env", "locla")

    assert (result.code, result.out) == (2, "")
    assert "Did you mean 'local'?" in result.err


@pytest.mark.usefixtures("recorded")
def test_show_prints_facts_tasks_metrics_and_artifacts(kfgcp: Command) -> None:
    result = kfgcp("show")

    lines = _words(result.out)
    assert (result.code, result.err) == (0, "")
    for expected_line in (
        ["run", "cccc33333333"],
        ["name", "newest"],
        ["took", "1", "min", "05", "s"],
        ["labels", "area=eu", "team=growth"],
        ["lr", "0.1"],
        ["model", "forest"],
        ["TASK", "STATE", "TOOK", "ATTEMPTS"],
        ["train", "SUCCEEDED", "0.25", "s", "2"],
        ["eval", "SKIPPED"],
        ["eval/metrics/a", "0.333333"],
        ["Output", "[1,", "2]"],
        ["train/model", "system.Model", "no-file"],
    ):
        assert expected_line in lines


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("run", ["bbbb22222222", "bbbb", "bbbb2222"])
def test_show_of_a_failed_run_ends_with_why(kfgcp: Command, run: str) -> None:
    result = kfgcp("show", run)

    assert result.code == 0
    assert result.err.splitlines() == [
        "  Traceback",
        "  ValueError: no",
        "failed in task train: ValueError: no",
    ]


def test_show_of_metrics_without_a_file(kfgcp: Command, store: Store, make_run: MakeRun) -> None:
    """Kubeflow Pipelines 3.0 keeps metrics without a file: the artifact has an empty URI."""
    store.put(
        make_run(
            "aaaa00000001", artifacts=(Artifact("eval", "metrics", "system.Metrics", "", {"a": 1}),)
        )
    )

    assert ["eval/metrics", "system.Metrics", "metadata-only"] in _words(kfgcp("show").out)


@pytest.mark.usefixtures("recorded")
def test_show_by_name_or_latest(kfgcp: Command, store: Store, make_run: MakeRun) -> None:
    assert kfgcp("show", "oldest", "--json").json["run_id"] == "aaaa11111111"
    assert kfgcp("show", "latest", "--json").json["run_id"] == "cccc33333333"
    store.add_run(make_run("aaaa44444444", created_at="2019-01-01T00:00:00.000Z"))
    ambiguous = kfgcp("show", "aaaa")
    assert ambiguous.code == 2
    assert "'aaaa' means more than one run: aaaa11111111, aaaa44444444." in ambiguous.err


@pytest.fixture
def logged(store: Store, home: Path, make_run: MakeRun) -> None:
    tasks = (
        Task("b", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=2),
        Task("a", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=1),
        Task("dag", TaskKind.DAG, TaskState.SUCCEEDED),
    )
    store.add_run(make_run(tasks=tasks))
    for task, attempt, data in (
        ("b", 1, b"first\n"),
        ("b", 2, "zweiter Versuch: Grüße\nlast".encode()),
        ("a", 1, b"caf\xe9\n"),
    ):
        file = log_file(home / ".kfgcp", "aaaa00000001", task, attempt)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ([], ["b | first", "b | zweiter Versuch: Grüße", "b | last", "a | caf�"]),
        (["latest", "b"], ["first", "zweiter Versuch: Grüße", "last"]),
        (["latest", "b", "--attempt", "2"], ["zweiter Versuch: Grüße", "last"]),
        (["latest", "--attempt", "1"], ["b | first", "a | caf�"]),
        (["latest", "dag"], []),
        (
            ["latest", "--follow"],
            ["b | first", "b | zweiter Versuch: Grüße", "b | last", "a | caf�"],
        ),
        (["latest", "a", "--follow"], ["caf�"]),
    ],
)
def test_logs_by_task_and_attempt(kfgcp: Command, arguments: list[str], lines: list[str]) -> None:
    result = kfgcp("logs", *arguments)

    assert (result.code, result.err, result.out.splitlines()) == (0, "", lines)


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("task", "attempts"),
    [("b", "The attempts of the task: 1 and 2."), ("a", "The task has only attempt 1.")],
)
def test_an_attempt_that_was_not_made_is_an_error_that_names_the_others(
    kfgcp: Command, task: str, attempts: str
) -> None:
    result = kfgcp("logs", "latest", task, "--attempt", "9")

    assert (result.code, result.out) == (2, "")
    assert f"Task '{task}' has no attempt 9." in result.err
    assert attempts in result.err


@pytest.mark.usefixtures("logged")
def test_logs_as_json_are_an_object_a_line(kfgcp: Command) -> None:
    lines = [json.loads(line) for line in kfgcp("logs", "latest", "b", "--json").out.splitlines()]

    assert lines == [
        {"task": "b", "attempt": 1, "text": "first"},
        {"task": "b", "attempt": 2, "text": "zweiter Versuch: Grüße"},
        {"task": "b", "attempt": 2, "text": "last"},
    ]


@pytest.mark.usefixtures("logged")
def test_logs_of_a_task_that_is_not_there_name_those_that_are(kfgcp: Command) -> None:
    result = kfgcp("logs", "latest", "bb")

    assert result.code == 2
    assert (
        result.err
        == "error: Run aaaa00000001 has no task 'bb'.\nhint: The tasks of the run: b, a, dag.\n"
    )


def test_a_reader_that_stops_early_is_not_a_bug(
    store: Store, home: Path, make_run: MakeRun, kfgcp: Command
) -> None:
    store.add_run(make_run(tasks=(Task("t", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=1),)))
    file = log_file(home / ".kfgcp", "aaaa00000001", "t", 1)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a line of the log\n" * 20_000)

    process: subprocess.Popen[str] = kfgcp.start("logs")
    assert process.stdout is not None
    assert process.stdout.readline() == "t | a line of the log\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=PROCESS) == 141


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3600, "1 h ago"),
        (90000, "1 d ago"),
        (-5, "0 s ago"),
    ],
)
def test_ages_are_in_the_largest_unit(seconds: float, text: str) -> None:
    assert ago("2020-01-01T00:00:00.000Z", 1577836800 + seconds) == text


def test_a_run_without_a_time_has_no_age() -> None:
    assert ago(None, 0) == ""


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("compare",),
        ("export",),
        ("show", "nobody"),
        ("logs", "nobody"),
        ("rerun", "nobody"),
    ],
)
def test_a_backend_that_cannot_be_asked_is_named_in_a_note(
    kfgcp: Command, home: Path, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "kfgcp.toml").write_text(
        '[env.away]\nbackend = "vertex"\nproject = "acme"\nlocation ='
        ' "europe-west4"\npipeline_root = "gs://acme/x"\nauth = "anonymous"\napi_endpoint ='
        f' "http://127.0.0.1:{port}"\n'
    )

    result = kfgcp(*arguments)

    first, *others = result.err.splitlines()
    assert first.startswith("note: kfgcp shows the last known state of the runs of away: ")
    assert [line.partition(":")[0] for line in others] in ([], ["error", "hint"])
