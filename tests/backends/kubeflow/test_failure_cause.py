"""Why a task failed, from the log of its pod: real logs of 2.17.0, and logs of programs of all
kinds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kfgcp.backends.kubeflow.failure_cause import MAX_LENGTH, find_cause

RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"
ON_PURPOSE = "ValueError: it failed on purpose: "
NO_JSON = "json.decoder.JSONDecodeError: Expecting ',' delimiter: "
NULL = "failed to resolve inputs: the resolved input parameter is null: a"

CAUSES = {  # node in workflow.json -> why it failed, read by hand in the logs
    "collected-skipped-ghfbm.root.show-driver": (
        "panic: runtime error: invalid memory address or nil pointer dereference"
    ),
    "exit-bad-pb6sq(0).root(0).exit-handler-1(0).fail(0).executor(0)": f"{ON_PURPOSE}in handler",
    "exit-driver-hn4jm.root.exit-handler-1-driver": NULL,
    "fail-only-ddntk(0).root(0).fail(0).executor(0)": f"{ON_PURPOSE}only",
    "list-arguments-tk4dh(0).root(0).see-5(0).executor(0)": f"{NO_JSON}line 1 column 94 (char 93)",
    "list-arguments-tk4dh(0).root(0).see-6(0).executor(0)": f"{NO_JSON}line 1 column 90 (char 89)",
    "list-arguments-tk4dh(0).root(0).see-8(0).executor(0)": (
        f"{NO_JSON}line 1 column 115 (char 114)"
    ),
    "loop-empty-6rl6l(0).root(0).total-driver(0)": (
        "failed to resolve inputs: resolving input parameter with spec task_output_parameter:"
        '{producer_task:"for-loop-1" output_parameter_key:"pipelinechannel--number-Output"}: '
        "subTaskName, number_262, not in tasks"
    ),
    "nan-metrics-r4tx9(0).root(0).nan(0).executor(0)": (
        "failed to execute component: failed to unmarshall ExecutorOutput in file "
        '"/minio/mlpipeline/v2/artifacts/nan-metrics/811f217a-25e9-4612-b156-1ae7aab585db/nan/'
        '527a82fb-eedd-4d40-afc4-fc036fe1dd22/output_metadata.json": '
        "proto: syntax error (line 1:447): invalid value NaN"
    ),
    "param-none-4zr6j.root.say-driver": NULL,
    "retry-bad-js89t.root.fail.executor(0)": f"{ON_PURPOSE}always",
    "retry-bad-js89t.root.fail.executor(1)": f"{ON_PURPOSE}always",
    "retry-good-qn2mv.root.flaky.executor(0)": "RuntimeError: attempt 0 fails",
    "retry-good-qn2mv.root.flaky.executor(1)": "RuntimeError: attempt 1 fails",
}


def failed_pods() -> dict[str, Path]:
    """The log of each recorded pod that failed, by the name of its node."""
    logs = {}
    for index in sorted(RECORDED.glob("*/pod-logs/index.json")):
        for entry in json.loads(index.read_text()):
            if entry["phase"] == "Failed":
                logs[entry["node"]] = index.with_name(f"{entry['pod']}.log")
    return logs


@pytest.mark.recorded("Kubeflow: the cause of a failure", "cluster-2.17.0")
def test_every_recorded_pod_that_failed_has_its_cause() -> None:
    causes = {node: find_cause(log.read_text().splitlines()) for node, log in failed_pods().items()}

    assert causes == CAUSES


# -- programs

BEFORE = [
    'time="2026-11-29T08:56:51.663Z" level=info msg="capturing logs" argo=true',
    "I1129 08:57:08.318690      14 main.go:67] Setting log level to: '1'",
]


def after(status: int) -> list[str]:
    return [
        (
            "E1129 09:06:36.800384      14 launcher_v2.go:449] Component failed to execute"
            f" successfully: exit status {status}"
        ),
        (
            "F1129 09:06:37.153421      14 main.go:59] failed to execute component: exit status"
            f" {status}"
        ),
        (
            'time="2026-11-29T09:06:38.024Z" level=info msg="sub-process exited" argo=true'
            f' error="exit status {status}"'
        ),
        f"Error: exit status {status}",
    ]


def pod_log(*program: str, status: int = 1) -> list[str]:
    """The log of a pod whose program wrote these lines and failed."""
    return [*BEFORE, *program, *after(status)]


def written_by(program: str) -> list[str]:
    """What a Python program writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("raise ValueError('too large')", "ValueError: too large"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('one\\ntwo\\nthree')", "ValueError: one"),
        ("raise ValueError('\\n\\n  two')", "ValueError: two"),
        ("class Bad(Exception): pass\nraise Bad('no')", "Bad: no"),
        (
            "def make():\n class Bad(Exception): pass\n return Bad\nraise make()('no')",
            "make.<locals>.Bad: no",
        ),
        ("try:\n 1/0\nexcept Exception as e:\n raise KeyError('x') from e", "KeyError: 'x'"),
        ("try:\n 1/0\nexcept Exception:\n raise KeyError('x')", "KeyError: 'x'"),
        (
            "raise ExceptionGroup('many', [ValueError('a'), TypeError('b')])",
            "ExceptionGroup: many (2 sub-exceptions)",
        ),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("a b", "SyntaxError: invalid syntax"),
        ("raise ValueError('käse ☃')", "ValueError: käse ☃"),
        ("raise ValueError('\\x1b[31mred')", "ValueError: red"),
    ],
)
def test_the_last_exception_of_a_python_program_is_the_cause(program: str, cause: str) -> None:
    assert find_cause(pod_log("before", *written_by(program), "written late")) == cause


def test_colours_do_not_hide_an_exception() -> None:
    """Python 3.13 writes them with FORCE_COLOR=1."""
    log = [
        "Traceback (most recent call last):",
        '  File \x1b[35m"/app/train.py"\x1b[0m, line \x1b[35m3\x1b[0m, in \x1b[35m<module>\x1b[0m',
        "\x1b[1;35mValueError\x1b[0m: \x1b[35mtoo large\x1b[0m",
    ]

    assert find_cause(log) == "ValueError: too large"


HEADER = "Traceback (most recent call last):"
FRAMES = [
    '  File "/app/train.py", line 9, in <module>',
    "    main()",
    '  File "/app/train.py", line 5, in main',
]
SOURCE = ["    raise ValueError(text)", "    ^^^^^^^^^^^^^^^^^^^^^^"]


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([HEADER, "epoch: 5", *FRAMES, *SOURCE, "ValueError: no"], "ValueError: no"),
        ([HEADER, *FRAMES[:2], "epoch: 5", FRAMES[2], *SOURCE, "ValueError: no"], "ValueError: no"),
        ([HEADER, *FRAMES, "epoch: 5", *SOURCE, "ValueError: no"], "ValueError: no"),
        ([HEADER, *FRAMES, *SOURCE, "epoch: 5", "loss: 0.1", "ValueError: no"], "ValueError: no"),
        ([HEADER, *FRAMES, *SOURCE, "epoch: 5", "train.NoData: no"], "train.NoData: no"),
        ([HEADER, *FRAMES, *SOURCE, "epoch: 5", "NoData"], "NoData"),
        ([HEADER, *FRAMES[:2], "Epoch: 5", *FRAMES[2:], *SOURCE, "NoData: no"], "NoData: no"),
        (
            [
                HEADER,
                *FRAMES,
                *SOURCE,
                "NoData: no",
                "epoch: 5",
                "that is all",
                "OtherError: handled",
            ],
            "NoData: no",
        ),
        ([HEADER, *FRAMES, *SOURCE, "ValueError: no", "TypeError: written late"], "ValueError: no"),
        (
            [HEADER, *FRAMES, *SOURCE, "RuntimeError:", "cannot compile", *FRAMES],
            "RuntimeError: cannot compile",
        ),
        ([HEADER, *FRAMES, *SOURCE, "socket.timeout: timed out"], "socket.timeout: timed out"),
        ([HEADER, *FRAMES, *SOURCE, "odd: no"], "odd: no"),
        (
            [
                HEADER,
                *FRAMES,
                *SOURCE,
                "ValueError: first",
                "",
                HEADER,
                *FRAMES[:2],
                "epoch: 5",
                *FRAMES[2:],
            ],
            "ValueError: first",
        ),
    ],
)
def test_lines_that_are_written_inside_of_a_traceback_are_not_the_exception(
    lines: list[str], cause: str
) -> None:
    """By hand, in the format of docs.python.org/3/library/traceback.html.

    Programs write to standard output and to standard error, and threads write at the same time.
    """
    assert find_cause(pod_log("before", *lines)) == cause


@pytest.mark.parametrize(
    "cause",
    [
        'Exception in thread "main" java.lang.IllegalStateException: no',
        "panic: no such file",
        "TypeError: x is not a function",
    ],
)
def test_exceptions_of_other_languages(cause: str) -> None:
    assert (
        find_cause(
            pod_log("/app/main:3", cause, "\tat main (main:3)", "    at main", "written late")
        )
        == cause
    )


@pytest.mark.parametrize(
    "last", ["sh: 1: train: not found", "no: Error: exit status 1", "Error in train(): no data"]
)
def test_a_program_without_an_exception_has_its_status_and_its_last_line(last: str) -> None:
    cause = find_cause(pod_log("before", last, "", status=127))

    assert cause == f"failed to execute component: exit status 127 (last line: {last})"


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_a_program_that_wrote_nothing_has_its_status(lines: list[str]) -> None:
    assert find_cause(pod_log(*lines, status=3)) == "failed to execute component: exit status 3"


def test_an_exception_that_the_program_survived_is_not_the_cause() -> None:
    """The program ended well here, and the launcher failed."""
    log = [*BEFORE, *written_by("raise ValueError('handled')"), "done"]
    log.append(
        "F1129 09:06:37.153421      14 main.go:59] failed to execute component: signal: killed"
    )

    assert find_cause(log) == "failed to execute component: signal: killed"


def test_a_name_of_a_task_is_not_taken_for_the_reason() -> None:
    line = (
        "F1129 08:56:51.942993      14 main.go:127] KFP driver: driver.Container(pipelineName=p,"
        ' taskDisplayName="it) failed: \\"really\\"", taskName="say") failed: the real reason:'
        " failed: twice"
    )

    assert find_cause([*BEFORE, line]) == "the real reason: failed: twice"


def test_lines_of_klog_of_the_program_are_its_own() -> None:
    log = pod_log("F1129 09:06:36.000000      99 main.go:7] cannot open the model", status=255)

    assert find_cause(log) == (
        "failed to execute component: exit status 255 "
        "(last line: F1129 09:06:36.000000 99 main.go:7] cannot open the model)"
    )


def test_a_log_without_lines_of_the_launcher_has_the_last_line_as_its_cause() -> None:
    """As the artifact that the launcher keeps, and logs of other servers."""
    assert find_cause(["epoch 1", "no space left", ""]) == "no space left"


@pytest.mark.parametrize("lines", [[], [""], BEFORE, [BEFORE[1]]])
def test_a_log_of_noise_alone_tells_no_cause(lines: list[str]) -> None:
    assert find_cause(lines) == ""


def test_a_pod_of_which_only_the_status_is_known() -> None:
    assert find_cause([BEFORE[0], "Error: exit status 137"]) == "exit status 137"


def test_a_cause_is_one_line_of_bounded_length() -> None:
    cause = find_cause(
        pod_log(
            "Traceback (most recent call last):", "ValueError: " + "x" * 10_000_000, "y" * 1_000_000
        )
    )

    assert len(cause) == MAX_LENGTH
    assert cause.startswith("ValueError: xxx")


def test_a_traceback_without_an_end_is_not_a_cause() -> None:
    log = pod_log("Traceback (most recent call last):", '  File "a.py", line 1')

    assert (
        find_cause(log)
        == 'failed to execute component: exit status 1 (last line: File "a.py", line 1)'
    )
