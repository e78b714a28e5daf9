"""Logs of a run: from its pods, from what was kept of them, from Cloud Logging; or one error that
says what to do."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import kfgcp as public
from kfgcp.errors import BackendError, NotFound, Unsupported
from kfgcp.model import RunState, TaskState
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp.testing.seeds import seed_spec
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS, WaitFor

GUARDED = Path(__file__).parents[2] / "engine" / "specs" / "guarded-2.14.6.yaml"


@pytest.fixture
def server(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant") as started:
        (home / "kfgcp.toml").write_text(started.toml("gke"))
        yield started


@pytest.fixture
def run(server: KubeflowStandIn) -> RunHandle:
    (run_id,) = server.seed(1)
    return public.show(run_id)


@pytest.fixture
def with_cloud_logging(server: KubeflowStandIn, home: Path) -> None:
    (home / "kfgcp.toml").write_text(
        server.toml("gke") + f'project = "{server.project}"\nlogging_endpoint = "{server.host}"\n'
    )


def paths(server: KubeflowStandIn) -> list[str]:
    return [
        request.path
        for request in server.requests
        if request.path.startswith(("/k8s", "/artifacts", "/v2"))
    ]


def test_a_pod_that_is_there_is_all_that_is_asked(server: KubeflowStandIn, run: RunHandle) -> None:
    assert run.task("train").logs() == ["train is made up"]

    assert paths(server) == ["/k8s/pod/logs"]


def test_the_ui_server_gets_the_day_of_the_run_to_read_an_archive(
    server: KubeflowStandIn, run: RunHandle
) -> None:
    server.logs.kept, server.logs.falls_back = "archive", True

    assert run.task("train").logs() == ["train is made up"]

    (asked,) = server.requests.select(path="/k8s/pod/logs")
    assert asked.query["createdat"] == str(run.snapshot.created_at)[:10]


def test_a_log_that_the_launcher_published_is_read_where_it_was_put(
    server: KubeflowStandIn,
) -> None:
    server.logs.published = True
    (run_id,) = server.seed(1, metrics={"accuracy": 0.5})
    run = public.show(run_id)
    server.logs.kept = "archive"

    assert run.task("train").logs() == ["train is made up"]

    (asked,) = server.requests.select(path="/artifacts/get")
    assert (asked.query["source"], asked.query["bucket"]) == ("gcs", server.bucket)
    assert [artifact.name for artifact in run.artifacts] == ["metrics"], (
        "the line is not output of the task"
    )
    assert [*run.task("train").outputs] == ["metrics"]


def test_cloud_logging_has_what_the_pods_had(
    server: KubeflowStandIn, run: RunHandle, with_cloud_logging: None
) -> None:
    server.logs.kept = "gone"

    (line,) = public.logs(run.run_id)

    assert (line.task, line.attempt, line.text) == ("train", 1, "train is made up")
    assert line.at
    assert paths(server) == ["/k8s/pod/logs", "/v2/entries:list"]


def test_a_log_that_is_nowhere_is_one_error_with_what_was_tried_and_what_to_set(
    server: KubeflowStandIn, run: RunHandle, kfgcp: Command
) -> None:
    server.logs.kept = "gone"

    with pytest.raises(
        NotFound,
        match=r"The log of train does not exist any more: its pod \S+ does not exist.*\(404\)",
    ) as caught:
        run.task("train").logs()
    assert "set project in [env.gke]" in caught.value.hint
    assert "ARGO_ARCHIVE_LOGS" in caught.value.hint

    done = kfgcp("logs", run.run_id)
    assert (done.code, done.out) == (5, "")


def test_the_error_names_cloud_logging_when_it_was_asked_too(
    server: KubeflowStandIn, run: RunHandle, with_cloud_logging: None
) -> None:
    server.logs.kept = "gone"
    run = public.show(run.run_id)
    server.fail_next("403", path="/v2/entries:list")

    with pytest.raises(BackendError, match="403"):
        run.task("train").logs()


def test_older_servers_say_500_for_a_pod_that_is_gone(home: Path) -> None:
    with kubeflow(mode="instant", version="2.5.0") as server:
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        (run_id,) = server.seed(1)
        run = public.show(run_id)
        server.logs.kept = "gone"

        with pytest.raises(NotFound, match=r"does not exist any more.*\(500\)"):
            run.task("train").logs()


def test_other_tasks_are_printed_before_the_lost_logs_are_reported(
    server: KubeflowStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    handle = public.run(
        str(pipeline("two_scores")),
        env="gke",
        params={"first": 0.1, "second": 0.2},
        timeout=PROCESS,
    )
    server.fail_next("404", path="/k8s/pod/logs")
    server.fail_next("404", 2, path="/artifacts/get")

    done = kfgcp("logs", handle.run_id)

    assert done.code == 5
    assert "The log of evaluate does not exist any more" in done.err
    assert done.out == "evaluate-2 | evaluate-2 is made up\n"


@pytest.mark.parametrize(
    ("archive", "falls_back", "published", "requests"),
    [
        ("pods", False, False, 20),
        ("archive", True, False, 20),
        (
            "archive",
            False,
            True,
            1 + 20,
        ),  # the first pod does not exist any more; the copies of the launcher are there
        ("archive", False, False, 1 + 20),  # the first pod does not exist any more, and has no copy
        ("gone", False, False, 20 + 3),  # the archive is given up after three requests
    ],
)
def test_requests_for_the_logs_of_a_failed_run_of_20_tasks(
    server: KubeflowStandIn, archive: str, falls_back: bool, published: bool, requests: int
) -> None:
    """Before there was an archive to ask, these were 20, 20, 40, 20 and 20."""
    spec = seed_spec({})
    tasks = spec["root"]["dag"]["tasks"]
    for number in range(19):
        tasks[f"train-{number}"] = copy.deepcopy(tasks["train"]) | {
            "taskInfo": {"name": f"train-{number}"}
        }
    Path("many.json").write_text(json.dumps(spec))
    server.instant.failing = {"train-7": "on purpose"}
    server.logs.published = published
    run = public.run("many.json", env="gke", timeout=PROCESS, check=False)
    assert (run.state, len(run.tasks)) == (RunState.FAILED, 20)
    server.logs.kept, server.logs.falls_back = archive, falls_back
    before = len(server.requests)

    lines: list[str] = []
    with pytest.raises(NotFound) if archive == "gone" else nullcontext():
        lines += [line.task for line in run.logs()]

    assert len(server.requests) - before == requests
    assert len(set(lines)) == (0 if archive == "gone" else 20)


def test_times_and_severities_are_for_cloud_logging(run: RunHandle) -> None:
    with pytest.raises(Unsupported, match="have no times and severities") as caught:
        list(run.logs(severity="ERROR"))

    assert "[env.gke]" in caught.value.hint


def test_each_attempt_is_read_from_its_own_pod(home: Path, kfgcp: Command) -> None:
    with kubeflow() as server:
        server.runs.retries_failed_programs = True
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        run = public.run(str(GUARDED), env="gke", timeout=PROCESS, check=False)
        failing = run.task("exit-handler-1/broken")
        assert (failing.state, failing.attempts) == (TaskState.FAILED, 2)

        first, second = failing.logs(1), failing.logs(2)

        assert first[-1] == second[-1] == "ValueError: on purpose"
        assert failing.logs() == first + second
        assert (
            len(
                {
                    request.query["podname"]
                    for request in server.requests.select(path="/k8s/pod/logs")
                }
            )
            == 2
        )
        server.fail_next("404", path="/k8s/pod/logs")
        assert failing.logs() == first + second, (
            "the pod of the first attempt does not exist any more, its log is in the archive"
        )
        server.fail_next("404", path="/k8s/pod/logs")
        server.fail_next("404", 2, path="/artifacts/get")
        assert failing.logs() == second, "a missing log of an earlier attempt is not an error"
        server.fail_next("404", path="/k8s/pod/logs")
        server.fail_next("404", 2, path="/artifacts/get")
        with pytest.raises(NotFound, match="log of attempt 1 of exit-handler-1/broken"):
            failing.logs(1)


def test_hostile_bytes_are_shown_and_not_obeyed(server: KubeflowStandIn, kfgcp: Command) -> None:
    server.instant.log = [
        "nul \0 and \x1b[31mred\x1b[0m",
        "50%\r100%\r",
        "?",
        "",
    ]
    server.instant.log += ["\u2028 is no new line", "x" * 3_000_000]
    handle = public.run(str(_echo(server)), env="gke", timeout=PROCESS)

    lines = handle.task("train").logs()

    assert lines[:3] == ["nul \0 and \x1b[31mred\x1b[0m", "50%\r100%", "?"]
    assert lines[3:5] == ["", "\u2028 is no new line"]
    assert "".join(lines[5:]) == "x" * 3_000_000
    assert max(map(len, lines)) <= 2 * 1024 * 1024, "an endless line comes in pieces"


def _echo(server: KubeflowStandIn) -> Path:
    """The pipeline of seeded runs, as a file in the current folder."""
    file = Path("seeded.json")
    file.write_text(json.dumps(seed_spec({})))
    return file


def test_a_hundred_megabytes_are_shown_in_bounded_memory(server: KubeflowStandIn) -> None:
    server.instant.log = ["y" * 99_999] * 1_100
    run_id = public.run(str(_echo(server)), env="gke", timeout=PROCESS).run_id
    measure = (
        "import resource, subprocess, sys\ndone = subprocess.run(sys.argv[1:],"
        " stdout=subprocess.PIPE)\nprint(done.returncode, len(done.stdout),"
        " resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = Path(sys.executable).with_name("kfgcp")

    def cost(*arguments: str) -> tuple[int, int, int]:
        done = subprocess.run(
            [sys.executable, "-c", measure, command, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=PROCESS,
        )
        code, length, kilobytes = map(int, done.stdout.split())
        return code, length, kilobytes

    code, length, small = cost("logs", run_id, "train", "--attempt", "9")
    assert (code, length) == (2, 0), "the task has no such attempt"
    code, length, large = cost("logs", run_id, "train")

    assert (code, length) == (0, 1_100 * 100_000)
    assert large - small < 30_000, f"{large - small} KB more for 110 MB"


def test_a_growing_log_is_followed_without_repeating_a_line(
    home: Path, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    with kubeflow() as server:
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        handle = public.submit(str(pipeline("chatter")), env="gke")

        done = kfgcp("logs", handle.run_id, "--follow")

        printed_lines = done.out.splitlines()
        stored_lines = [f"{line.task} | {line.text}" for line in public.logs(handle.run_id)]
        assert done.code == 0, done.err
        assert sorted(printed_lines) == sorted(stored_lines)


def test_logs_that_are_asked_for_again_have_what_was_written_since(
    home: Path, pipeline: Callable[[str], Path], eventually: WaitFor
) -> None:
    """Though the handle did not look at its run meanwhile."""
    gate = home / "gate"
    with kubeflow() as server:
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        handle = public.submit(str(pipeline("gated")), params={"gate": str(gate)}, env="gke")
        eventually(lambda: any(task.state == "RUNNING" for task in handle.refresh().tasks))
        before = eventually(lambda: list(handle.logs()))
        assert [(line.task, line.text) for line in before] == [("pass-gate", "before the gate")]

        gate.touch()
        eventually(lambda: server.runs.all()[0].state == "SUCCEEDED")

        assert [(line.task, line.text) for line in handle.logs()] == [
            ("pass-gate", "before the gate"),
            ("pass-gate", "behind the gate"),
            ("arrive", "arrived"),
        ]
