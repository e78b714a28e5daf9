"""Logs of a run over the wire: which pods are asked for, and when Cloud Logging is."""

from collections.abc import Callable

import pytest

from json_types import JsonDict
from kfgcp.backends.base import LogFilter
from kfgcp.backends.kubeflow import logs
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.logs import LogEnd, LogServices, RunLogs, RunTail
from kfgcp.errors import AuthError, NotFound, Refused, Unsupported
from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import CloudLogging
from kfgcp.spec.load import Spec
from service_fixtures import ReceivedRequest, Reply, Server

RUN = "0a1b2c3d"
CREATED = "2026-01-02T03:00:00.000Z"
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
CHANGED = [Task("add", TaskKind.CONTAINER, TaskState.RUNNING)]


@pytest.fixture
def chain(
    compiled: Callable[[str], Spec], execution: Callable[..., Execution]
) -> Callable[..., RunLogs]:
    """The logs of a run of `chain` whose tasks have the pods `POD-<task>`; settings of RunLogs."""
    body = {
        "run_id": RUN,
        "created_at": "2026-01-02T03:00:00Z",
        "state": "RUNNING",
        "pipeline_spec": compiled("tests/pipelines/chain.py").pipeline_spec,
    }
    pods = [
        execution(1, ""),
        execution(2, "add", 1, pod="pod-add", state="RUNNING"),
        execution(3, "inner", 1, state="RUNNING"),
        execution(4, "double", 3, pod="pod-double", state="RUNNING"),
        execution(5, "add", 3, pod="", state="RUNNING"),
        execution(6, "add-2", 1, pod="pod-add-2", state="RUNNING"),
    ]

    def make(
        http: ServiceClient,
        logging: CloudLogging | None = None,
        namespace: str = "team-a",
        **more: object,
    ) -> RunLogs:
        return RunLogs(LogServices(http, logging, namespace, "cloud"), {**body, **more}, pods)

    return make


def entry(second: float, text: str, **more: object) -> JsonDict:
    return {
        "insertId": text,
        "timestamp": f"2026-01-02T03:00:{second:06.3f}Z",
        "severity": "INFO",
        "resource": {"type": "k8s_container", "labels": {}},
        "textPayload": text,
    } | more


def queries(server: Server) -> list[dict[str, str]]:
    return [dict(asked.query) for asked in server.asked if asked.path == "/k8s/pod/logs"]


def test_each_task_with_a_pod_is_asked_for_in_the_order_they_started(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    server.answers(
        *(reply(text, headers=TEXT) for text in (b"a\nb\n", "\u00fc \u2603\n".encode(), b""))
    )

    lines = list(chain(client()).read(LogFilter()))

    assert [(line.task, line.attempt, line.text, line.at, line.severity) for line in lines] == [
        ("add", 1, "a", "", ""),
        ("add", 1, "b", "", ""),
        ("inner/double", 1, "\u00fc \u2603", "", ""),
    ]
    assert queries(server) == [
        {"podname": name, "podnamespace": "team-a", "runid": RUN, "createdat": "2026-01-02"}
        for name in ("pod-add", "pod-double", "pod-add-2")
    ]


@pytest.mark.parametrize(
    ("log_filter", "pods"),
    [
        (LogFilter(task="inner/double"), ["pod-double"]),
        (LogFilter(task="add", attempt=1), ["pod-add"]),
        (LogFilter(task="inner/add"), []),
        (LogFilter(task="nobody"), []),
        (LogFilter(attempt=2), []),
    ],
)
def test_only_the_selected_logs_are_requested(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    log_filter: LogFilter,
    pods: list[str],
) -> None:
    server.always(lambda asked: reply(b"x\n", headers=TEXT))

    lines = list(chain(client()).read(log_filter))

    assert [query["podname"] for query in queries(server)] == pods
    assert len(lines) == len(pods)


def test_lines_of_any_bytes_are_text(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    server.answers(reply(b"ok\n\xff\xfe broken\r\n\x1b[31mred\n\n", headers=TEXT))

    lines = [line.text for line in chain(client()).read(LogFilter(task="add"))]

    assert lines == ["ok", "\ufffd\ufffd broken", "\x1b[31mred", ""]


def test_the_end_of_a_log(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    server.answers(reply("".join(f"{number}\n" for number in range(50)).encode(), headers=TEXT))

    read = chain(client())

    assert read.read_end("add", 3) == LogEnd("49", ("47", "48", "49"))
    assert read.read_end("inner/add", 3) == LogEnd(), "the task has no pod"
    assert read.read_end("nobody", 3) == LogEnd()


# -- after the pod is gone


@pytest.fixture
def logging(client: Callable[..., ServiceClient]) -> CloudLogging:
    return CloudLogging(client(service="Cloud Logging"), "acme")


def test_cloud_logging_has_what_the_pod_had(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    logging: CloudLogging,
) -> None:
    server.answers(
        reply(b"pod not found", status=404, headers=TEXT),
        {"entries": [entry(1, "a"), entry(2, "b")]},
    )

    lines = list(chain(client(), logging).read(LogFilter(task="add")))

    assert [(line.task, line.text, line.at, line.severity) for line in lines] == [
        ("add", "a", "2026-01-02T03:00:01.000Z", "INFO"),
        ("add", "b", "2026-01-02T03:00:02.000Z", "INFO"),
    ]
    assert server.asked[1].json["filter"] == (
        f'resource.type="k8s_container" AND labels."k8s-pod/pipeline/runid"="{RUN}"'
        f' AND resource.labels.pod_name="pod-add" AND timestamp>="{CREATED}"'
    )


def test_without_cloud_logging_a_pod_that_is_gone_is_reported(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    server.answers(reply(b"pod not found", status=404, headers=TEXT))

    with pytest.raises(
        NotFound,
        match=r"its pod pod-add does not exist any more, and the archive has no log \(404\)",
    ) as caught:
        list(chain(client()).read(LogFilter(task="add")))
    assert "set project in [env.cloud] to read Cloud Logging" in caught.value.hint


def test_an_older_server_whose_archive_is_gone(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    text = b"Could not get main container logs: Error: Unable to find pod log archive information"
    server.answers(reply(text, status=500, headers=TEXT))

    with pytest.raises(NotFound, match=r"the archive has no log \(500\)"):
        list(chain(client()).read(LogFilter(task="add")))


@pytest.mark.parametrize(
    ("log_filter", "clause"),
    [
        (
            LogFilter(task="add", severity="ERROR"),
            ' AND timestamp>="2026-01-02T03:00:00.000Z" AND severity>=ERROR',
        ),
        (
            LogFilter(task="add", since="2026-01-02T05:00:00.000Z"),
            ' AND timestamp>="2026-01-02T05:00:00.000Z"',
        ),
        (
            LogFilter(task="add", since="2020-01-01T00:00:00.000Z"),
            ' AND timestamp>="2026-01-02T03:00:00.000Z"',
        ),
    ],
)
def test_times_and_severities_are_cloud_loggings(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    logging: CloudLogging,
    log_filter: LogFilter,
    clause: str,
) -> None:
    server.answers({"entries": [entry(1, "a", severity="ERROR")]})

    (line,) = chain(client(), logging).read(log_filter)

    assert (line.text, line.severity) == ("a", "ERROR")
    assert server.asked[0].json["filter"].endswith(clause)
    with pytest.raises(Unsupported, match="have no times and severities") as caught:
        list(chain(client()).read(log_filter))
    assert "Set project" in caught.value.hint


# -- as it goes on


@pytest.fixture
def pods(server: Server, reply: type[Reply]) -> dict[str, bytes]:
    """What the pods have written so far, by their names."""
    written: dict[str, bytes] = {}
    server.always(lambda asked: reply(written.get(asked.query["podname"], b""), headers=TEXT))
    return written


def test_a_tail_gives_each_line_once(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    pods: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "PAUSE", 0.0)
    tail = RunTail(lambda: chain(client()), LogFilter())

    def read() -> list[str]:
        return [f"{line.task}: {line.text}" for line in tail.read(())]

    assert read() == []
    pods["pod-add"] = b"one\n"
    assert read() == ["add: one"]
    assert read() == []
    pods["pod-add"] = b"one\none\ntwo\n"
    pods["pod-double"] = b"one\n"
    assert read() == ["add: one", "add: two", "inner/double: one"]
    pods["pod-add"] = b""  # it is gone, and the archive is not there yet
    assert read() == []
    pods["pod-add"] = b"one\none\ntwo\nthree\n"
    assert read() == ["add: three"]


def test_a_line_that_is_being_written_is_shown_when_it_is_whole(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    pods: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "PAUSE", 0.0)
    state = {"state": "RUNNING"}
    tail = RunTail(lambda: chain(client(), **state), LogFilter(task="add"))

    pods["pod-add"] = b"one\ntw"
    assert [line.text for line in tail.read(())] == ["one"]
    pods["pod-add"] = b"one\ntwo\nthree"
    assert [line.text for line in tail.read(())] == ["two"]
    state["state"] = "SUCCEEDED"  # nobody writes it any more
    assert [line.text for line in tail.read(())] == ["three"]


def test_a_tail_waits_between_looks_unless_a_task_changes(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    pods: dict[str, bytes],
) -> None:
    tail = RunTail(lambda: chain(client()), LogFilter(task="add"))

    for changed, asked in (((), 1), ((), 1), (CHANGED, 2), ((), 2)):
        list(tail.read(changed))
        assert len(server.asked) == asked


def test_a_tail_whose_sign_in_ended_says_so(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
) -> None:
    server.answers(reply({"message": "expired"}, status=401))

    with pytest.raises(AuthError, match="expired"):
        list(RunTail(lambda: chain(client()), LogFilter()).read(()))


def test_a_tail_says_what_it_cannot_do(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    logging: CloudLogging,
) -> None:
    """By severity, where there is only the pod; and from Cloud Logging, which does not let us."""
    with pytest.raises(Unsupported, match="have no times and severities"):
        list(RunTail(lambda: chain(client()), LogFilter(severity="ERROR")).read(()))

    server.answers(
        reply(b"pod not found", status=404, headers=TEXT),
        reply({"error": {"code": 403}}, status=403),
    )
    with pytest.raises(Refused, match="403"):
        list(RunTail(lambda: chain(client(), logging), LogFilter(task="add")).read(()))


@pytest.mark.parametrize("broken", ["404", "500"])
def test_a_pod_whose_log_is_not_there_yet_does_not_hide_the_others(
    chain: Callable[..., RunLogs],
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """A pod that is being made has no log, and neither has one that is gone before it was
    archived."""
    monkeypatch.setattr(logs, "PAUSE", 0.0)

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.query["podname"] == "pod-add":
            return reply(b"pod not found", status=int(broken), headers=TEXT)
        return reply(b"line\n", headers=TEXT)

    server.always(answer)
    tail = RunTail(lambda: chain(client()), LogFilter())

    assert [f"{line.task}: {line.text}" for line in tail.read(())] == [
        "inner/double: line",
        "add-2: line",
    ]
    assert len(server.asked) == 3, "there will be another look"
