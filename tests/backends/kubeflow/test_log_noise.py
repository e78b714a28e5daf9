"""Lines of programs told from those of what runs them, in real logs of 2.17.0 and in odd ones."""

import json
from pathlib import Path

import pytest

from kfgcp.backends.kubeflow.log_noise import without_noise

RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"
LOOP = "collected-skipped-ghfbm.root.for-loop-2"
# By node: what its program printed, by the code in pipeline.yaml.
WRITTEN = {
    f"{LOOP}.iteration-iterations(1:1).iteration-item.condition-3.add.executor": "add 4 100",
    f"{LOOP}.iteration-iterations(0:0).iteration-item.number.executor": "number 1",
    "exit-bad-pb6sq(0).root(0).exit-handler-1.onExit(0).ending(0).executor(0)": (
        "after failure FAILED exit-bad-pb6sq exit-handler-1 None None"
    ),
    "importing-9p8md(0).root(0).count-one(0).executor(0)": (
        "minio://mlpipeline/outside/data.csv {'rows': 3, 'source': 'outside', 'store_session_info':"
        ' \'{"Provider":"minio","Params":{"fromEnv":"true"}}\'}'
    ),
    "list-arguments-tk4dh(0).root(0).see-2(0).executor(0)": 'SEE int ["3", 4]',
    "param-none-4zr6j.root.number.executor": "number 1",
    "retry-good-qn2mv.root.flaky.executor(2)": "attempt 2",
}
ARGO = 'time=2026-11-29T09:06:36.016Z level=INFO msg="capturing logs" argo=true'
SETTING = "I1129 09:06:36.084789      14 main.go:67] Setting log level to: '1'"
GIVES_UP = "F1129 09:06:37.153421      14 main.go:59] failed to execute component: exit status 1"
STATUS = "Error: exit status 1"


def recorded_logs() -> dict[str, list[str]]:
    logs = {}
    for index in sorted(RECORDED.glob("*/pod-logs/index.json")):
        for entry in json.loads(index.read_text()):
            log = index.with_name(f"{entry['pod']}.log")
            logs[entry["node"]] = log.read_text().splitlines()
    return logs


LOGS = recorded_logs()


@pytest.mark.recorded("Kubeflow: lines of programs in logs of pods", "cluster-2.17.0")
@pytest.mark.parametrize("node", WRITTEN)
def test_what_a_program_printed_is_all_that_is_left(node: str) -> None:
    assert list(without_noise(LOGS[node])) == [WRITTEN[node]]


@pytest.mark.parametrize("node", [node for node in LOGS if "driver" in node.rpartition(".")[2]])
def test_of_a_driver_only_the_reason_of_its_failure_is_left(node: str) -> None:
    left = list(without_noise(LOGS[node]))

    fatal = [line for line in LOGS[node] if line.startswith("F1129")]
    if any(line.startswith("panic: ") for line in LOGS[node]):
        assert left[0].startswith("panic: ")
        assert not any(line.startswith(("I1129", "time=")) for line in left)
    else:
        assert left == fatal


def test_of_a_program_that_failed_its_traceback_and_its_lines_are_left() -> None:
    left = list(without_noise(LOGS["retry-good-qn2mv.root.flaky.executor(0)"]))

    assert left[0] == "Traceback (most recent call last):"
    assert left[-2:] == ["RuntimeError: attempt 0 fails", "attempt 0"]
    assert len(left) == 15


def test_the_reason_of_the_launcher_is_left_when_it_tells_more_than_a_status() -> None:
    (line,) = without_noise(LOGS["nan-metrics-r4tx9(0).root(0).nan(0).executor(0)"])

    assert line.endswith("proto: syntax error (line 1:447): invalid value NaN")


@pytest.mark.parametrize(
    "node", ["retry-good-qn2mv.root.flaky.executor(0)", "param-none-4zr6j.root.say-driver"]
)
def test_the_beginning_of_a_log_is_shown_as_it_is_in_the_whole(node: str) -> None:
    """A log that grows is read again and again; what was shown must not change."""
    whole = list(without_noise(LOGS[node]))

    for length in range(len(LOGS[node])):
        shown = list(without_noise(LOGS[node][:length]))
        assert shown == whole[: len(shown)]


@pytest.mark.parametrize(
    "line",
    [
        "I1129 09:06:36.084789      99 main.go:67] of a program in Go, by another process",
        "I0000 00:00:1700000000.123456   14 cuda_executor.cc:1015] of TensorFlow",
        "time=2026-11-29T09:06:36.016Z level=INFO msg=mine",
        "[KFP Executor 2026-11-29 09:06:36,597 INFO]: logging.info() of the program",
        "[KFP Executor 2026-11-29 09:06:36,597 ERROR]: Got executor_input:",
        "{",
        "    indented",
        "}",
        "",
        "Error: exit status 1 of something",
    ],
)
def test_a_line_of_the_program_is_kept(line: str) -> None:
    assert list(without_noise([ARGO, SETTING, line, "end"])) == [line, "end"]


def test_a_line_that_only_looks_like_the_last_one_is_kept() -> None:
    assert list(without_noise([ARGO, SETTING, STATUS, "more", GIVES_UP, ARGO, STATUS])) == [
        STATUS,
        "more",
    ]
    assert list(without_noise(["a program without Argo", STATUS])) == [
        "a program without Argo",
        STATUS,
    ]


def test_a_program_that_wrote_nothing_is_reported_as_failed() -> None:
    assert list(without_noise([ARGO, SETTING, GIVES_UP, ARGO, STATUS])) == [GIVES_UP]


def test_lines_of_standard_error_inside_of_what_kfp_prints_are_kept() -> None:
    """Standard output is buffered, and a large text comes in pieces."""
    log = [
        "[KFP Executor 2026-11-29 09:06:36,619 INFO]: Got executor_input:",
        "{",
        '    "inputs": {',
        "written meanwhile",
        "    }",
        "}",
        "after it",
    ]

    assert list(without_noise(log)) == ["written meanwhile", "after it"]


def test_what_kfp_prints_may_break_off() -> None:
    log = [
        ARGO,
        SETTING,
        "[KFP Executor 2026-11-29 09:06:36,619 INFO]: Got executor_input:",
        "{",
        '    "inputs": {',
    ]

    assert list(without_noise(log)) == []
    assert list(without_noise([*log, ARGO, "  indented"])) == ["  indented"]


def test_logs_of_older_servers() -> None:
    """Argo before 4 wrote its times in quotes."""
    log = [
        'time="2026-11-29T09:06:36.016Z" level=info msg="capturing logs" argo=true',
        SETTING,
        "hello",
    ]

    assert list(without_noise(log)) == ["hello"]
