"""Locks, signals and what tasks leave behind."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.engine import lock
from kfgcp.engine.executors.venv import Builder, BuildError, _trusted_host
from kfgcp.engine.layout import Layout, file_name
from kfgcp.engine.requirements import Requirements
from kfgcp.model import Run, RunState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from kfgcp_command import Command
from patience import PROCESS, REQUEST, wait_for

KFGCP = Path(sys.executable).with_name("kfgcp")


def pipeline(folder: Path, body: str, decorator: str = "", task: str = "") -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "pipeline.py").write_text(
        "from kfp import dsl\n\n"
        f'@dsl.component(base_image="python:3.11"{decorator})\ndef task(folder: str):\n{lines}\n'
        '@dsl.pipeline(name="processes")\ndef pipeline(folder: str):\n   '
        f" task(folder=folder){task}\n",
        encoding="utf-8",
    )


def execute(folder: Path, **options: Any) -> Run:
    return (
        api.submit("pipeline.py", params={"folder": str(folder)}, **options, in_process=True)
        .wait(check=False)
        .snapshot
    )


def test_a_lock_has_one_holder_however_often_it_is_released(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
from kfgcp.engine import lock
home, held, two = Path(sys.argv[1]), sys.argv[1] + "/held", 0
end = time.monotonic() + 1.5
while time.monotonic() < end:
    found = lock.take(home, "r")
    if found is None:
        continue
    try:
        os.mkdir(held)
    except FileExistsError:
        two += 1
    else:
        os.rmdir(held)
    found.release()
print(two)
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [int(racer.communicate()[0]) for racer in racers] == [0, 0, 0, 0]


def test_the_lock_of_a_stale_file_is_not_taken_for_the_runs(tmp_path: Path) -> None:
    first = lock.take(tmp_path, "r")
    assert first is not None
    first.file.unlink()
    second = lock.take(tmp_path, "r")
    assert second is not None
    assert lock.take(tmp_path, "r") is None
    first.close()
    assert lock.take(tmp_path, "r") is None


def test_a_run_starts_although_a_dying_task_still_writes_to_its_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    layout = Layout(tmp_path / "home", "p", "aaaa00000000")
    code = (
        "import os, sys, time\nend = time.monotonic() + 0.5\nprint('up', flush=True)\n"
        "while time.monotonic() < end:\n    os.makedirs(sys.argv[1] + '/1', exist_ok=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, layout.scratch], stdout=subprocess.PIPE
    ) as task:
        assert task.stdout is not None
        task.stdout.readline()
        layout.prepare()
    assert layout.scratch.is_dir()


def test_a_run_under_nohup_survives_the_terminal(home: Path) -> None:
    pipeline(
        home,
        "import os, time\nopen(folder + '/up', 'w').close()\n"
        "while not os.path.exists(folder + '/go'):\n    time.sleep(0.01)",
    )
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            'trap "" HUP; exec "$@"',
            "sh",
            KFGCP,
            "run",
            "pipeline.py",
            "-p",
            f"folder={home}",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    wait_for((home / "up").exists)
    process.send_signal(signal.SIGHUP)
    (home / "go").touch()
    assert json.loads(process.communicate(timeout=PROCESS)[0])["state"] == "SUCCEEDED"
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their environment in /proc")
@pytest.mark.parametrize(
    "background",
    [
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open(folder + '/pid', 'w').write(str(child.pid))",
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        open(folder + '/pid', 'w').write(str(os.getpid()))\n"
        "        time.sleep(300)\n"
        "    os._exit(0)\n"
        "while not (os.path.exists(folder + '/pid') and open(folder + '/pid').read()):\n"
        "    time.sleep(0.01)",
    ],
    ids=["a program", "a fork of the task"],
)
def test_what_a_task_sent_into_the_background_ends_with_the_run(
    home: Path, background: str
) -> None:
    pipeline(home, background)
    assert execute(home).state is RunState.SUCCEEDED
    pid = int((home / "pid").read_text())
    wait_for(
        lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    )


def test_a_store_shared_by_threads_loses_nothing(tmp_path: Path) -> None:
    run = Run(
        "aaaa00000000",
        "local",
        "local",
        "p",
        "sha256:0",
        RunState.RUNNING,
        created_at="2026-01-01T00:00:00.000Z",
    )
    with Store(tmp_path) as store:
        store.add_run(run)
        problems: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(50):
                    store.apply(run.run_id, Changes(state=RunState.RUNNING))
                    store.get(run.run_id)
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert store.rev(run.run_id) == 201, (
            "the revision is not 1 for the run and 1 for each write"
        )


def test_iterations_are_recorded_with_their_item_only(home: Path) -> None:
    (home / "loop.py").write_text(
        """
from typing import List
from kfp import dsl

@dsl.component(base_image="python:3.11")
def noop(item: int):
    pass

@dsl.pipeline(name="loop")
def pipeline(items: List[int]):
    with dsl.ParallelFor(items) as item:
        noop(item=item)
""",
        encoding="utf-8",
    )
    handle = api.submit("loop.py", params={"items": list(range(300))}, in_process=True).wait(
        check=False
    )
    run = handle.refresh().snapshot
    assert run.state is RunState.SUCCEEDED
    inputs = {task.path: task.inputs for task in run.tasks}
    [loop] = [task.path for task in run.tasks if task.kind == "loop"]
    assert list(inputs[loop].values()) == [list(range(300))]
    assert list(inputs[f"{loop}[7]"].values()) == [7]
    assert (home / ".kfgcp" / "kfgcp.db").stat().st_size < 2_000_000


def test_a_failure_before_an_interruption_counts_as_a_try(home: Path) -> None:
    pipeline(
        home,
        "open(folder + '/tries', 'a').write('x')\nraise ValueError('always')",
        task=".set_retry(num_retries=1, backoff_duration='600s')",
    )
    command = [KFGCP, "run", "pipeline.py", "-p", f"folder={home}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(
        lambda: any(
            task.state == "PENDING" for run in api.list() for task in api.show(run).snapshot.tasks
        )
    )
    process.kill()
    process.wait()
    resumed = api.resume(check=False)
    assert resumed.state is RunState.FAILED
    assert (home / "tries").read_text() == "xx"


def test_interruptions_do_not_count_as_tries(home: Path) -> None:
    pipeline(
        home,
        "import os, time\n"
        "tries = len(os.listdir(folder + '/tries'))\n"
        "open(f'{folder}/tries/{tries}', 'w').close()\n"
        "time.sleep(3600 if tries < 3 else 0)\n"
        "if tries == 3:\n"
        "    raise ValueError('the first failure')",
        task=".set_retry(num_retries=1, backoff_duration='0s')",
    )
    (home / "tries").mkdir()
    arguments = ["pipeline.py", "-p", f"folder={home}"]
    for interruption in range(3):
        process = subprocess.Popen(
            [KFGCP, "run", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for((home / "tries" / str(interruption)).exists)
        process.kill()
        process.wait()
        [run] = api.list()
        arguments = ["--resume", run.run_id]
    resumed = api.resume()
    assert resumed.state is RunState.SUCCEEDED
    assert [task.attempts for task in resumed.snapshot.tasks] == [5]


def test_fail_fast_does_not_sit_out_a_wait(home: Path) -> None:
    (home / "pipeline.py").write_text(
        """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def fails(after: float):
    import time
    time.sleep(after)
    raise ValueError("no")

@dsl.pipeline(name="fast")
def pipeline(folder: str):
    fails(after=0.0).set_retry(num_retries=3, backoff_duration="3600s")
    fails(after=0.5)
""",
        encoding="utf-8",
    )
    assert execute(home, fail_fast=True).state is RunState.FAILED


def test_stopping_does_not_wait_for_another_builder(tmp_path: Path) -> None:
    requirements = Requirements(("anything",), (), None)
    builder = Builder(requirements, tmp_path)
    problems: list[BuildError] = []

    def build() -> None:
        try:
            builder.build()
        except BuildError as error:
            problems.append(error)

    with builder._locked(tmp_path / f"{requirements.key}.lock"):
        thread = threading.Thread(target=build)
        thread.start()
        builder.stop()
        thread.join(timeout=REQUEST)
        assert not thread.is_alive()
    assert [str(problem) for problem in problems] == ["the run was stopped"]


def test_trusted_hosts_are_hosts() -> None:
    assert _trusted_host("--trusted-host http://bob:pw@127.0.0.1:9/simple") == (
        "--allow-insecure-host",
        "127.0.0.1:9",
    )
    assert _trusted_host("--trusted-host example.invalid") == (
        "--allow-insecure-host",
        "example.invalid",
    )


def test_names_of_any_length_and_script_are_different_files() -> None:
    names = ["я" * 40 + "1", "я" * 40 + "2", "." * 300, "..", ".", "a/b", "a", "a" * 300, "a" * 301]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(len(file) <= 255 and "/" not in file and file not in (".", "..") for file in files)


def test_resuming_takes_no_other_options(home: Path, kfgcp: Command) -> None:
    result = kfgcp("run", "--resume", "abcd", "-p", "a=1")
    assert result.code == 2
    assert "keeps its parameters and options" in result.err


def test_output_that_c_libraries_hold_back_is_kept(home: Path) -> None:
    pipeline(
        home,
        "import ctypes, sys\nctypes.CDLL(None).printf(b'from C\\n')\nsys.__stdout__.write('from the"
        " first stdout\\n')",
    )
    run = execute(home)
    assert sorted(line.text for line in api.logs(run.run_id)) == ["from C", "from the first stdout"]
