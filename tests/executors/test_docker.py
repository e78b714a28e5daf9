"""Container components in real containers. Skipped, with the reason, where no Docker engine
answers."""

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kfgcp import api
from kfgcp.errors import Unsupported
from kfgcp.model import Run, RunState, TaskState
from kfgcp_command import Command
from patience import PAUSE, wait_for

if TYPE_CHECKING:
    from docker import DockerClient

Execute = Callable[..., Run]
IMAGE = "kfgcp-tests/busybox:1"
PYTHON_IMAGE = "kfgcp-tests/python:1"
HEAD = f"""
from kfp import dsl
from kfp.dsl import Dataset, Input, Output
IMAGE = {IMAGE!r}
"""


@pytest.mark.usefixtures("docker")
def test_parameters_artifacts_and_logs_pass_between_containers_and_functions(
    execute: Execute, home: Path
) -> None:
    run = execute(
        HEAD
        + """
@dsl.container_component
def make(n: int, text: str, count: dsl.OutputPath(int), data: Output[Dataset]):
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", 'printf %s "$0" > "$2"; echo "$1" > "$3"; echo out; echo err >&2'],
        args=[n, text, count, data.path],
    )

@dsl.container_component
def show(data: Input[Dataset], extra: str = None):
    return dsl.ContainerSpec(
        image=IMAGE,
        command=[
            "cat", data.path, dsl.IfPresentPlaceholder("extra", then=[extra], else_=["/dev/null"])
        ],
    )

@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset], n: int) -> str:
    return open(data.path).read() + str(n)

@dsl.pipeline(name="containers")
def pipeline(text: str) -> str:
    made = make(n=41, text=text)
    show(data=made.outputs["data"])
    return read(data=made.outputs["data"], n=made.outputs["count"]).output
""",
        params={"text": 'it\'s "quoted" {{$.x}}\nand two lines'},
    )
    assert run.state is RunState.SUCCEEDED, run.error
    assert run.outputs == {"Output": 'it\'s "quoted" {{$.x}}\nand two lines\n41'}
    assert (home / ".kfgcp" / "logs" / run.run_id / "show" / "1.log").read_text() == (
        'it\'s "quoted" {{$.x}}\nand two lines\n'
    )
    assert sorted(
        (home / ".kfgcp" / "logs" / run.run_id / "make" / "1.log").read_text().split()
    ) == ["err", "out"]


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("code", [1, 7, 255])
def test_the_exit_code_is_the_containers(execute: Execute, code: int) -> None:
    run = execute(
        HEAD
        + f"""
@dsl.container_component
def fail():
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", "echo last words; exit {code}"])

@dsl.pipeline(name="fail")
def pipeline():
    fail()
"""
    )
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error.message == f"the container of {IMAGE} exited with code {code}"
    assert run.error.log_tail == ("last words",)


@pytest.mark.usefixtures("docker")
def test_a_last_line_without_a_newline_is_kept(execute: Execute, home: Path) -> None:
    run = execute(
        HEAD
        + """
@dsl.container_component
def say(n: int):
    return dsl.ContainerSpec(
        image=IMAGE, command=["sh", "-c", 'echo one; printf "two $0"'], args=[n]
    )

@dsl.pipeline(name="say")
def pipeline():
    with dsl.ParallelFor(list(range(20))) as n:
        say(n=n)
"""
    )
    logs = sorted((home / ".kfgcp" / "logs" / run.run_id).rglob("1.log"))
    assert sorted(log.read_text() for log in logs) == sorted(f"one\ntwo {n}" for n in range(20))


def test_limits_are_enforced(execute: Execute, docker: "DockerClient") -> None:
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def watch() -> None:
        while not seen and not over.is_set():
            for container in docker.containers.list(
                filters={"label": "kfgcp.run"}, ignore_removed=True
            ):
                if container.attrs["HostConfig"]["Memory"]:
                    seen.append(container.attrs["HostConfig"])
                    container.exec_run(["sh", "-c", "echo > /tmp/seen"])
            time.sleep(PAUSE)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run = execute(
        HEAD
        + """
EATER = "until test -e /tmp/seen; do sleep 0.1; done; x=$(yes | head -c 200000000); echo done"

@dsl.container_component
def eat():
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", EATER])

@dsl.pipeline(name="limits")
def pipeline():
    eat().set_memory_limit("32Mi").set_cpu_limit("500m")
"""
    )
    over.set()
    watcher.join()
    assert seen, "the test saw no container of the task"
    assert seen[0]["Memory"] == seen[0]["MemorySwap"] == 32 * 2**20
    assert seen[0]["NanoCpus"] == 500_000_000
    assert run.state is RunState.FAILED, "the limit of 32 MiB did not stop a task that reads 200 MB"


def test_a_cancelled_container_is_gone(
    execute: Execute, docker: "DockerClient", home: Path, kfgcp: Command
) -> None:
    (home / "slow.py").write_text(
        HEAD
        + """
WAITER = "trap 'exit 3' TERM; while true; do sleep 0.1; done"

@dsl.container_component
def slow():
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", WAITER])

@dsl.pipeline(name="slow")
def pipeline():
    slow()
""",
        encoding="utf-8",
    )
    process = kfgcp.start("run", "slow.py", "--json")
    run_id = wait_for(lambda: [run.run_id for run in api.list()])[0]
    wait_for(lambda: docker.containers.list(filters={"label": f"kfgcp.run={run_id}"}))
    process.send_signal(signal.SIGINT)
    result = kfgcp.end(process)
    assert result.code == 6
    assert result.json["state"] == "CANCELLED"
    assert [task["state"] for task in result.json["tasks"]] == [TaskState.CANCELLED]
    assert (
        docker.containers.list(all=True, filters={"label": f"kfgcp.run={result.json['run_id']}"})
        == []
    )


@pytest.mark.usefixtures("docker")
def test_an_image_that_is_not_there_is_named(execute: Execute) -> None:
    run = execute(
        HEAD
        + """
@dsl.container_component
def gone():
    return dsl.ContainerSpec(image="127.0.0.1:9/no-such-image:9", command=["true"])

@dsl.pipeline(name="gone")
def pipeline():
    gone()
"""
    )
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error.message.startswith(
        "the image 127.0.0.1:9/no-such-image:9 is not on this machine and cannot be pulled: "
    )


@pytest.mark.usefixtures("docker")
def test_functions_run_in_containers_too_when_asked(
    execute: Execute, import_image: Callable[..., None]
) -> None:
    python = Path("/usr/bin/python3.11")
    if not (python.exists() and Path("/usr/lib/python3.11").exists()):
        pytest.skip("no system Python 3.11 to make an image of")
    import kfp

    libraries = subprocess.check_output(["ldd", python], text=True)
    needed = [Path(word) for word in libraries.split() if word.startswith("/")]
    import_image(
        PYTHON_IMAGE,
        {
            "bin/busybox": Path(shutil.which("busybox") or "/bin/busybox"),
            "usr/bin/python3": python,
            "usr/lib/python3.11": Path("/usr/lib/python3.11"),
            "usr/lib/python3/dist-packages/kfp": Path(kfp.__path__[0]),
            **{str(file)[1:]: file for file in needed},
        },
        links=("sh", "cat", "mktemp", "mkdir"),
    )
    run = execute(
        f"""
from kfp import dsl
from kfp.dsl import Dataset, Output

@dsl.component(base_image={PYTHON_IMAGE!r}, install_kfp_package=False)
def inside(n: int, data: Output[Dataset]) -> str:
    import os
    from pathlib import Path

    Path(data.path).write_text(str(n))
    return f"{{os.path.exists('/.dockerenv')}} {{n + 1}}"

@dsl.pipeline(name="inside")
def pipeline() -> str:
    return inside(n=4).outputs["Output"]
""",
        executor="docker",
    )
    assert run.outputs == {"Output": "True 5"}, run.error


def test_without_an_engine_nothing_is_started(
    execute: Execute, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/no-docker.sock")
    with pytest.raises(Unsupported) as caught:
        execute(
            HEAD
            + """
@dsl.container_component
def never():
    return dsl.ContainerSpec(image=IMAGE, command=["true"])

@dsl.pipeline(name="never")
def pipeline():
    never()
"""
        )
    assert "never" in caught.value.message
    assert "No Docker engine answers" in caught.value.message
    assert "\n" not in caught.value.message
    assert not (home / ".kfgcp" / "artifacts").exists()


@pytest.mark.usefixtures("docker")
def test_a_container_sees_the_files_that_its_parameters_name(execute: Execute, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "named.txt").write_text("named")
    (home / "data" / "other.txt").write_text("other")
    (home.parent / "outside.txt").write_text("outside")
    run = execute(
        HEAD
        + """
LOOK = 'cd "$KFGCP_SUBMIT_DIR"; cat data/named.txt; ls data; ls; ls ..; echo > data/named.txt'

@dsl.container_component
def look(inside: str, outside: str, all: str, odd: str):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", LOOK])

@dsl.pipeline(name="look")
def pipeline():
    look(inside="data/named.txt", outside="../outside.txt", all=".", odd="no such file")
""",
    )
    log = (home / ".kfgcp" / "logs" / run.run_id / "look" / "1.log").read_text()
    assert run.state is RunState.FAILED
    assert "namednamed.txt\n" in log
    assert "other.txt" not in log
    assert "outside.txt" not in log
    assert "Read-only file system" in log
