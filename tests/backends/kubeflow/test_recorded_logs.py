"""Logs and causes of recorded runs, read through a socket as the backend reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
import recorded_runs
from kfgcp.backends.base import Backend, LogFilter, RunRef, SupportsLogs, capability
from kfgcp.backends.kubeflow import causes
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import NotFound
from kfgcp.model import TaskKind
from kfgcp_command import Command
from patience import REQUEST
from recorded_runs import RecordedServer

ROOT = (
    "v2/artifacts/retry-good/87589b72-cb81-41f7-a1c8-8db659f634ed"
    "/flaky/d70fd0c9-0f28-4aa4-9ef1-e2b3b9610558"
)
"""Where the launcher of `flaky` in retry-good put its artifacts, as in mlmd.json."""
ATTEMPTS = {  # the pods of `flaky` in retry-good, as in workflow.json
    0: "retry-good-qn2mv-retry-system-container-impl-798296647",
    1: "retry-good-qn2mv-retry-system-container-impl-328670410",
    2: "retry-good-qn2mv-retry-system-container-impl-731480361",
}
NULL = "failed to resolve inputs: the resolved input parameter is null: a"
ERRORS = {  # run -> the task that failed first, and why; by hand from workflow.json and the logs
    "collected-skipped": (
        "show",
        "panic: runtime error: invalid memory address or nil pointer dereference",
    ),
    "exit-bad": ("exit-handler-1/fail", "ValueError: it failed on purpose: in handler"),
    "exit-driver": ("exit-handler-1", NULL),
    "fail-only": ("fail", "ValueError: it failed on purpose: only"),
    "list-arguments": (
        "see-5",
        "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 94 (char 93)",
    ),
    "loop-empty": (
        "total",
        "failed to resolve inputs: resolving input parameter with spec task_output_parameter:"
        '{producer_task:"for-loop-1" output_parameter_key:"pipelinechannel--number-Output"}: '
        "subTaskName, number_262, not in tasks",
    ),
    "param-none": ("say", NULL),
    "retry-bad": ("fail", "ValueError: it failed on purpose: always"),
}
WITH_LOGS = [
    "collected-skipped",
    "exit-bad",
    "exit-driver",
    "fail-only",
    "importing",
    "list-arguments",
    "loop-empty",
]
WITH_LOGS += ["nan-metrics", "param-none", "retry-bad", "retry-good"]


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    with recorded_runs.serve(WITH_LOGS) as started:
        yield started


@pytest.fixture
def backend(home: Path, server: RecordedServer) -> Callable[..., Backend]:
    """Make the backend of an environment that leads to the recordings, with further settings."""

    def make(**settings: str) -> Backend:
        plain = {"backend": "kubeflow", "host": server.url, "auth": "anonymous"}
        lines = [f'{key} = "{value}"' for key, value in (plain | settings).items()]
        (home / "kfgcp.toml").write_text("\n".join(["[env.recorded]", *lines]))
        project = load_project()
        return open_backend(project, project.env("recorded"))

    return make


def ref(name: str) -> RunRef:
    return RunRef("recorded", recorded_runs.read(name)["run_id"])


def logs(backend: Backend) -> SupportsLogs:
    part = capability(backend, SupportsLogs)
    assert part is not None
    return part


def texts(backend: Backend, name: str, **log_filter: object) -> list[str]:
    return [line.text for line in logs(backend).logs(ref(name), LogFilter(**log_filter))]


def ui_queries(server: RecordedServer, path: str) -> list[dict[str, str]]:
    requests = zip(server.asked, server.queries, strict=True)
    return [query for (_, asked), query in requests if asked == path]


# -- causes


@pytest.mark.parametrize("name", ERRORS)
def test_a_failed_run_says_which_task_failed_and_why(
    backend: Callable[..., Backend], server: RecordedServer, name: str
) -> None:
    run = backend().get(ref(name))

    assert run.error is not None
    assert (run.error.task, run.error.message) == ERRORS[name]
    programs = [task for task in run.tasks if task.kind in (TaskKind.CONTAINER, TaskKind.IMPORTER)]
    failed = [task for task in programs if task.error is not None] or [run.error.task]
    assert len(ui_queries(server, "/k8s/pod/logs")) == len(failed), (
        "only logs of failed tasks are read"
    )


def test_every_failed_task_has_its_cause(backend: Callable[..., Backend]) -> None:
    """By hand from the logs of the three tasks."""
    run = backend().get(ref("list-arguments"))

    problem = "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column"
    assert {task.path: task.error.message for task in run.tasks if task.error is not None} == {
        "see-5": f"{problem} 94 (char 93)",
        "see-6": f"{problem} 90 (char 89)",
        "see-8": f"{problem} 115 (char 114)",
    }


POD_OF_SEE_6 = "list-arguments-tk4dh-system-container-impl-3710886211"
"""As in pod-logs/index.json."""


def messages(run: Any) -> dict[str, str]:
    return {task.path: task.error.message for task in run.tasks if task.error is not None}


def test_causes_that_were_not_reached_in_time_are_read_at_the_next_look(
    backend: Callable[..., Backend], server: RecordedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "SECONDS", 0.0)
    kubeflow = backend()
    run = kubeflow.get(ref("list-arguments"))

    hints = {task.path: task.error.hint for task in run.tasks if task.error is not None}
    command = f"kfgcp logs {run.run_id}"
    assert hints == {"see-5": "", "see-6": f"{command} see-6", "see-8": f"{command} see-8"}
    assert {messages(run)["see-6"], messages(run)["see-8"]} == {NO_REASON}
    assert len(ui_queries(server, "/k8s/pod/logs")) == 1

    monkeypatch.setattr(causes, "SECONDS", REQUEST)
    run = kubeflow.get(ref("list-arguments"))

    assert all(text.startswith("json.decoder.JSONDecodeError") for text in messages(run).values())
    assert [task.error.hint for task in run.tasks if task.error is not None] == ["", "", ""]
    assert len(ui_queries(server, "/k8s/pod/logs")) == 3, "each log is read once"
    mark = len(server.asked)
    assert kubeflow.get(ref("list-arguments")) == run
    assert server.asked[mark:] == []


def test_a_log_that_is_gone_does_not_hide_the_causes_behind_it(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    """The pod of see-6 was deleted with its node, for example."""
    server.lost_pods.add(POD_OF_SEE_6)
    kubeflow = backend()

    run = kubeflow.get(ref("list-arguments"))

    assert messages(run)["see-6"] == "the task failed; its log was not kept"
    assert messages(run)["see-8"].endswith("115 (char 114)")
    mark = len(server.asked)
    assert kubeflow.get(ref("list-arguments")) == run
    assert server.asked[mark:] == [], "the run ended long ago, so the log will not come"


def test_groups_have_the_cause_of_the_task_that_failed_inside(
    backend: Callable[..., Backend],
) -> None:
    run = backend().get(ref("exit-bad"))

    cause = "ValueError: it failed on purpose: in handler"
    assert messages(run) == {"exit-handler-1": cause, "exit-handler-1/fail": cause}


def test_logs_are_printed_without_reading_them_for_causes_too(
    server: RecordedServer, backend: Callable[..., Backend], kfgcp: Command
) -> None:
    """The errors are not printed. The pods of two tasks that succeeded were not recorded."""
    backend()
    run_id = ref("list-arguments").run_id

    done = kfgcp("logs", run_id)

    assert "see-6 | json.decoder.JSONDecodeError" in done.out
    asked = [query["podname"] for query in ui_queries(server, "/k8s/pod/logs")]
    assert POD_OF_SEE_6 in asked
    assert len(asked) == len(set(asked)), "each log is read once"
    shown = kfgcp("show", run_id, "--json").json
    assert shown["error"]["message"] == ERRORS["list-arguments"][1], "show reads the logs anyway"


def test_the_reason_of_a_launcher_is_one_too(backend: Callable[..., Backend]) -> None:
    run = backend().get(ref("nan-metrics"))

    assert run.error.message.endswith("proto: syntax error (line 1:447): invalid value NaN")


def test_the_end_of_the_log_has_the_lines_of_the_program(backend: Callable[..., Backend]) -> None:
    run = backend().get(ref("fail-only"))

    assert run.error.log_tail[0] == "Traceback (most recent call last):"
    assert run.error.log_tail[-2:] == (
        "ValueError: it failed on purpose: only",
        "about to fail only",
    )


# -- drivers


@pytest.mark.recorded(
    "Kubeflow: the log of a failed driver",
    "cluster-2.17.0/param-none",
    "cluster-2.17.0/exit-driver",
)
@pytest.mark.parametrize(
    ("name", "task"), [("param-none", "say"), ("exit-driver", "exit-handler-1")]
)
def test_the_log_of_a_task_whose_driver_failed_is_that_of_its_driver(
    backend: Callable[..., Backend], name: str, task: str
) -> None:
    (line,) = texts(backend(), name, task=task)

    assert line.startswith("F1129 ")
    assert line.endswith(NULL)
    assert len(texts(backend(), name, task=task, all_lines=True)) > 60


def test_the_archive_has_the_log_of_a_driver(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    server.has_pods = False
    pod = "param-none-4zr6j-system-container-driver-2245913054"
    key = f"private-artifacts/kubeflow/param-none-4zr6j/2026/11/29/{pod}/main.log"
    server.objects["minio", "mlpipeline", key] = recorded_runs.pod_logs()[pod].read_bytes()

    (line,) = texts(backend(), "param-none", task="say")

    assert line.endswith(NULL)


@pytest.mark.filterwarnings("ignore:kfgcp shows run .* without values")
def test_the_driver_of_the_whole_run_may_fail(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    """There is no task to blame then, and ML Metadata does not know the run."""
    answer = recorded_runs.run_answer("param-none")
    answer["run_id"] = "00000000-0000-0000-0000-000000000000"
    nodes = {
        node["display_name"]: node
        for node in answer["run_details"]["task_details"]
        if "display_name" in node
    }
    nodes["root-driver"]["state"] = "FAILED"
    del nodes["root"]["state"]
    answer["run_details"]["task_details"] = [
        nodes["param-none-4zr6j"],
        nodes["root-driver"],
        nodes["root"],
    ]
    server.runs[answer["run_id"]] = answer
    log = (
        "F1129 08:56:35.567025      13 main.go:127] KFP driver: driver.RootDAG(pipelineName=p)"
        " failed: no such root\n"
    )
    server.logs["param-none-4zr6j-system-dag-driver-70643365"] = log.encode()

    run = backend().get(RunRef("recorded", answer["run_id"]))

    assert run.error is not None
    assert (run.error.task, run.error.message) == (None, "no such root")
    assert run.error.log_tail == (log.rstrip("\n"),)


# -- odd logs


FAILED_POD = "fail-only-ddntk-system-container-impl-383042921"
NO_CAUSE = "the task failed; its log does not say why"
RAISED = b"Traceback (most recent call last):\nValueError: "


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (b"", NO_CAUSE),
        (b"\n\n\n", NO_CAUSE),
        (b'time=2026-11-29T08:56:51.663Z level=INFO msg="capturing logs" argo=true\n', NO_CAUSE),
        (bytes(range(256)) * 100, None),
        (
            b"Traceback (most recent call last):\nValueError: " + b"x" * 10_000_000,
            "ValueError: " + "x" * 987 + "\u2026",
        ),
        (RAISED + b"one\n\ntwo\n", "ValueError: one"),
        (RAISED + b"Bearer abcdefghijkl\n", "ValueError: [hidden]"),
        (b"\xff\xfe no text\n", "\ufffd\ufffd no text"),
        (b"<html>Sign in</html>", "<html>Sign in</html>"),
    ],
    ids=["empty", "blank", "noise", "binary", "long", "lines", "secret", "no-utf-8", "html"],
)
def test_a_failed_run_is_shown_whatever_its_log_holds(
    backend: Callable[..., Backend], server: RecordedServer, log: bytes, message: str | None
) -> None:
    server.logs[FAILED_POD] = log

    run = backend().get(ref("fail-only"))

    assert run.error is not None
    if message is not None:
        assert run.error.message == message
    assert run.error.message.isprintable()
    assert len(run.error.message) <= 1000
    assert all(len(line) <= 2000 for line in run.error.log_tail)


@pytest.mark.parametrize(
    ("status", "text"), [(403, "Access denied to namespace"), (422, "podnamespace argument is")]
)
def test_a_pod_that_may_not_be_read_is_not_reported_as_gone(
    backend: Callable[..., Backend],
    server: RecordedServer,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    text: str,
) -> None:
    answer = server.answer

    def refuse(method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        if target.startswith("/k8s/"):
            return status, "text/plain", text.encode()
        return answer(method, target, body)

    monkeypatch.setattr(server, "answer", refuse)

    with pytest.raises(NotFound, match=f"the log of pod [a-z0-9-]* cannot be read: .*{text}"):
        texts(backend(), "fail-only", task="fail")


# -- attempts


def test_all_attempts_are_read_from_their_pods(backend: Callable[..., Backend]) -> None:
    lines = texts(backend(), "retry-good", task="flaky")

    ends = [line for line in lines if line.startswith(("RuntimeError", "attempt"))]
    expected = [
        "RuntimeError: attempt 0 fails",
        "attempt 0",
        "RuntimeError: attempt 1 fails",
        "attempt 1",
        "attempt 2",
    ]
    assert ends == expected
    assert texts(backend(), "retry-good", task="flaky", attempt=3) == ["attempt 2"]


@pytest.mark.recorded("Kubeflow: logs of every attempt", "cluster-2.17.0/retry-good")
def test_all_attempts_are_read_from_the_copies_of_the_launcher(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    """The last one is executor-logs-2; executor-logs-0, of the first, was taken for it."""
    server.has_pods = False
    for number in ATTEMPTS:
        server.objects["minio", "mlpipeline", f"{ROOT}/executor-logs-{number}"] = (
            f"copy {number}\n".encode()
        )

    assert texts(backend(), "retry-good", task="flaky") == ["copy 0", "copy 1", "copy 2"]
    assert texts(backend(), "retry-good", task="flaky", attempt=3) == ["copy 2"]
    assert texts(backend(), "retry-good", task="flaky", attempt=1) == ["copy 0"]


@pytest.mark.parametrize(
    "folder",
    [
        "private-artifacts/kubeflow/retry-good-qn2mv/2026/11/29",
        "artifacts/retry-good-qn2mv/2026/11/29",
    ],
)
def test_all_attempts_are_read_from_the_archive(
    backend: Callable[..., Backend], server: RecordedServer, folder: str
) -> None:
    """Of servers before 2.16 the keys are of another form."""
    server.has_pods = False
    for number, pod in ATTEMPTS.items():
        server.objects["minio", "mlpipeline", f"{folder}/{pod}/main.log"] = (
            f"archived {number}\n".encode()
        )

    assert texts(backend(), "retry-good", task="flaky") == [
        "archived 0",
        "archived 1",
        "archived 2",
    ]


def test_an_attempt_that_was_killed_has_no_copy(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    server.has_pods = False
    for number in (0, 2):
        server.objects["minio", "mlpipeline", f"{ROOT}/executor-logs-{number}"] = (
            f"copy {number}\n".encode()
        )

    assert texts(backend(), "retry-good", task="flaky") == ["copy 0", "copy 2"]
    with pytest.raises(NotFound, match="The log of attempt 2 of flaky"):
        texts(backend(), "retry-good", task="flaky", attempt=2)


def test_all_lines_are_those_of_the_archive_rather_than_of_the_copy(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    """The launcher copies what the program wrote, and not its own lines."""
    server.has_pods = False
    key = f"private-artifacts/kubeflow/retry-good-qn2mv/2026/11/29/{ATTEMPTS[2]}/main.log"
    server.objects["minio", "mlpipeline", key] = recorded_runs.pod_logs()[ATTEMPTS[2]].read_bytes()
    server.objects["minio", "mlpipeline", f"{ROOT}/executor-logs-2"] = b"attempt 2\n"

    assert texts(backend(), "retry-good", task="flaky", attempt=3) == ["attempt 2"]
    assert len(texts(backend(), "retry-good", task="flaky", attempt=3, all_lines=True)) == 60


# -- without ML Metadata


@pytest.mark.recorded("Kubeflow: logs without ML Metadata", "cluster-2.17.0/retry-good")
def test_without_ml_metadata_the_pods_are_found_by_the_nodes(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    server.metadata = None

    lines = texts(backend(), "retry-good", task="flaky")

    assert lines[-1] == "attempt 2"
    assert [query["podname"] for query in ui_queries(server, "/k8s/pod/logs")] == list(
        ATTEMPTS.values()
    )


@pytest.mark.parametrize("name", ["param-none", "fail-only", "exit-bad"])
def test_without_ml_metadata_the_cause_is_reported(
    backend: Callable[..., Backend], server: RecordedServer, name: str
) -> None:
    server.metadata = None

    with pytest.warns(UserWarning, match="without values"):
        run = backend().get(ref(name))

    assert run.error.message == ERRORS[name][1]


# -- what the UI server is asked


def test_no_namespace_is_sent_when_none_is_set(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    server.has_pods = False
    server.objects["minio", "mlpipeline", f"{ROOT}/executor-logs-2"] = b"copy 2\n"

    assert texts(backend(), "retry-good", task="flaky", attempt=3) == ["copy 2"]

    run_id = ref("retry-good").run_id
    assert ui_queries(server, "/k8s/pod/logs") == [
        {"podname": ATTEMPTS[2], "runid": run_id, "createdat": "2026-11-29"}
    ]
    assert ui_queries(server, "/artifacts/get") == [
        {"source": "minio", "bucket": "mlpipeline", "key": f"{ROOT}/executor-logs-2"}
    ]


def test_the_namespace_that_is_set_is_sent(
    backend: Callable[..., Backend], server: RecordedServer
) -> None:
    server.has_pods = False
    key = f"private-artifacts/team-a/retry-good-qn2mv/2026/11/29/{ATTEMPTS[2]}/main.log"
    server.objects["minio", "mlpipeline", key] = b"archived\n"

    assert texts(backend(namespace="team-a"), "retry-good", task="flaky", attempt=3) == ["archived"]

    assert [query["podnamespace"] for query in ui_queries(server, "/k8s/pod/logs")] == ["team-a"]
    assert {query["namespace"] for query in ui_queries(server, "/artifacts/get")} == {"team-a"}


# -- all lines


def test_the_lines_of_what_runs_a_program_are_shown_when_they_are_asked_for(
    backend: Callable[..., Backend], kfgcp: Command
) -> None:
    backend().get(ref("retry-good"))
    whole = recorded_runs.pod_logs()[ATTEMPTS[2]].read_text()

    shown = kfgcp("logs", ref("retry-good").run_id, "flaky", "--attempt", "3")
    all_shown = kfgcp("logs", ref("retry-good").run_id, "flaky", "--attempt", "3", "--all-lines")

    assert (shown.code, shown.out) == (0, "attempt 2\n")
    assert (all_shown.code, all_shown.out) == (0, whole)


def test_python_has_all_lines_too(backend: Callable[..., Backend]) -> None:
    backend().get(ref("retry-good"))
    run = public.show(ref("retry-good").run_id)
    whole = recorded_runs.pod_logs()[ATTEMPTS[2]].read_text().splitlines()

    assert run.task("flaky").logs(3) == ["attempt 2"]
    assert run.task("flaky").logs(3, all_lines=True) == whole
    assert [line.text for line in public.logs(run, "flaky", 3, all_lines=True)] == whole


def test_a_failed_importer_says_why(
    server: RecordedServer, backend: Callable[..., Backend]
) -> None:
    """importer_launcher.go leaves the execution RUNNING and writes the reason into the log of its
    pod, whose name the execution lacks. The number of the pod is that of the node `importer(0)` in
    workflow.json."""
    answer = server.runs[recorded_runs.read("importing")["run_id"]]
    answer["state"] = "FAILED"
    recording = recorded_runs.metadata("importing")
    for execution in recording["executions"]:
        if execution["type"] == "system.ImporterExecution":
            execution["last_known_state"] = "RUNNING"
    server.metadata = recorded_runs.RecordedMetadata([recording])
    server.has_pods = False
    key = (
        "private-artifacts/kubeflow/importing-9p8md/2026/11/29"
        "/importing-9p8md-system-importer-44559636/main.log"
    )
    reason = "failed to execute importer component: empty Artifact URI constant value"
    server.objects["minio", "mlpipeline", key] = (
        f"F1129 08:41:59.000000      14 main.go:59] {reason}\n".encode()
    )

    run = backend().get(ref("importing"))

    assert (run.error.task, run.error.message) == ("importer", reason)


def test_a_cached_task_has_no_log(server: RecordedServer, backend: Callable[..., Backend]) -> None:
    """In exit-bad, ML Metadata has the log of an earlier run among the outputs of number, which
    came from the cache."""
    kubeflow = backend()
    task = next(
        task for task in kubeflow.get(ref("exit-bad")).tasks if task.path == "exit-handler-1/number"
    )
    assert (task.state, task.attempts) == ("CACHED", 0)
    mark = len(server.asked)

    lines = list(logs(kubeflow).logs(ref("exit-bad"), LogFilter(task="exit-handler-1/number")))

    assert lines == []
    assert "/artifacts/get" not in [path for _, path in server.asked[mark:]]
