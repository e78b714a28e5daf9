"""Logs of any size and content: kept on disk as they were written, read in bounded memory, their
end in the error."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp import api
from kfgcp.model import Run
from patience import PROCESS
from trials import Trial

KFGCP = Path(sys.executable).with_name("kfgcp")


@pytest.fixture
def execute(home: Path) -> Callable[[str], Run]:
    """Runs a pipeline of one task with that body."""

    def run(body: str) -> Run:
        write(home, body)
        return api.submit("pipeline.py", in_process=True).wait(check=False).snapshot

    return run


def write(folder: Path, body: str) -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "pipeline.py").write_text(
        "from kfp import dsl\n\n"
        f'@dsl.component(base_image="python:3.11")\ndef task():\n{lines}\n'
        '@dsl.pipeline(name="logs")\ndef pipeline():\n    task()\n',
        encoding="utf-8",
    )


def log_of(home: Path, run: Run) -> Path:
    return home / ".kfgcp" / "logs" / run.run_id / "task" / "1.log"


@pytest.mark.trial("bytes of a log that a run keeps and shows")
def test_a_log_larger_than_the_memory_of_kfgcp_is_kept_and_shown(home: Path, trial: Trial) -> None:
    lines = trial.size(sample=5 * 1024, proof=16 * 1024)
    write(
        home,
        f'import sys\nline = "x" * 65535 + "\\n"\nfor _ in range({lines}):\n   '
        ' sys.stdout.write(line)\nraise ValueError("at the end")',
    )
    measure = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:], stderr=subprocess.DEVNULL)\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", measure, KFGCP, "run", "pipeline.py", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PROCESS,
    )
    code, peak = (int(word) for word in process.stderr.split())
    run = json.loads(process.stdout)
    assert code == 6
    assert run["error"]["message"] == "ValueError: at the end"
    assert run["error"]["log_tail"][-1] == "ValueError: at the end"
    assert max(map(len, run["error"]["log_tail"])) <= 2000
    log = home / ".kfgcp" / "logs" / run["run_id"] / "task" / "1.log"
    assert log.stat().st_size > lines * 2**16
    trial.count("bytes", lines * 2**16)
    kilobytes = peak if sys.platform == "linux" else peak // 1024
    assert kilobytes < 250 * 1024, (
        "compiling the pipeline takes 120 MB; the log must not be held in memory"
    )
    log.unlink()


def test_a_hundred_thousand_lines_keep_their_order(
    execute: Callable[[str], Run], home: Path
) -> None:
    run = execute(
        "import sys\nfor n in range(100_000):\n    print(n, file=sys.stderr if n % 3 else"
        " sys.stdout)",
    )
    assert [line.text for line in api.logs(run.run_id)] == [str(n) for n in range(100_000)]


def test_binary_output_is_kept_to_the_byte(execute: Callable[[str], Run], home: Path) -> None:
    run = execute(
        "import sys\nsys.stdout.buffer.write(bytes(range(256)) *"
        " 4)\nsys.stdout.flush()\nprint('end')"
    )
    assert log_of(home, run).read_bytes() == bytes(range(256)) * 4 + b"end\n"
    assert [line.text for line in api.logs(run.run_id)][-1].endswith("end")


def test_a_last_line_without_newline_is_shown(execute: Callable[[str], Run], home: Path) -> None:
    run = execute("print('one')\nprint('two', end='')\nraise SystemExit(3)")
    assert [line.text for line in api.logs(run.run_id)] == ["one", "two"]
    assert run.error is not None
    assert (run.error.message, run.error.log_tail) == (
        "the process exited with code 3",
        ("one", "two"),
    )


def test_a_line_of_ten_megabytes_fits(execute: Callable[[str], Run], home: Path) -> None:
    run = execute("print('y' * 10_000_000)")
    assert sum(len(line.text) for line in api.logs(run.run_id)) == 10_000_000


def test_a_task_that_closes_its_output_still_ends(
    execute: Callable[[str], Run], home: Path
) -> None:
    run = execute("import os\nprint('before')\nos.close(1)\nos.close(2)")
    assert [line.text for line in api.logs(run.run_id)] == ["before"]
