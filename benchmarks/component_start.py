"""Measure the time from the start of a process to the first line of a component's code.

    .venv/bin/python benchmarks/component_start.py [--rounds 11]

`container` runs the command of the compiled component, as in an image that has kfp: a shell writes
the function to a new module, and kfp.dsl.executor_main imports and calls it. `local engine` is a
task of `kfgcp run`, which is a fork of a process that has imported kfp. `import kfp` is the whole
of that process. All figures are warm: one more round runs first. The seconds of the processor say
more than the others on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from startup import clean_environment, machine, run_command

# The kernel has the start of a process in ticks since the boot (proc(5), field 22 of stat).
PIPELINE = """
from kfp import dsl


@dsl.component(base_image="base", install_kfp_package=False)
def probe(path: str) -> None:
    import time

    now, cpu = time.clock_gettime(time.CLOCK_BOOTTIME), time.process_time()
    import os

    with open("/proc/self/stat") as stat:
        start_ticks = int(stat.read().rpartition(")")[2].split()[19])
    with open(path, "a") as file:
        file.write(f"{now} {start_ticks / os.sysconf('SC_CLK_TCK')} {cpu}\\n")


@dsl.pipeline(name="component-start")
def pipeline(path: str) -> None:
    probe(path=path)
"""


@dataclass(frozen=True)
class Start:
    """The time until the first line: in seconds, and in seconds of the processor."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="rounds that count (default: 11)")
    rounds = parser.parse_args().rounds
    starts: dict[str, list[Start]] = {"import kfp": [], "container": [], "local engine": []}
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as name:
        folder = Path(name)
        command = compile_probe(folder)
        # By turns, so that a slow moment of the machine affects all of them.
        for number in range(rounds + 1):
            figures = {
                "import kfp": import_kfp(folder),
                "container": start_in_container(command, folder),
                "local engine": start_in_engine(folder),
            }
            if number:
                for key, figure in figures.items():
                    starts[key].append(figure)
    print(f"{machine()}, median of {rounds} rounds\n")
    base = median(start.seconds for start in starts["import kfp"])
    base_cpu = median(start.cpu_seconds for start in starts["import kfp"])
    for key, values in starts.items():
        seconds = median(start.seconds for start in values)
        cpu = median(start.cpu_seconds for start in values)
        ratios = f"x {seconds / base:4.2f}   x {cpu / base_cpu:4.2f}"
        print(f"{key:14} {seconds:6.3f} s   {cpu:6.3f} s CPU   {ratios}")


def import_kfp(folder: Path) -> Start:
    """Return the time of a whole process that only imports kfp."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = run_command([sys.executable, "-c", "import kfp"], str(folder))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Start(seconds, cpu)


def compile_probe(folder: Path) -> list[str]:
    """Compile the pipeline, and return the command of its only component."""
    (folder / "probe.py").write_text(PIPELINE, encoding="utf-8")
    code = (
        "import json, probe; from kfp import compiler\n"
        "compiler.Compiler().compile(probe.pipeline, 'probe.yaml')\n"
        "container = probe.probe.component_spec.implementation.container\n"
        "print(json.dumps([*container.command, *container.args]))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    command: list[str] = json.loads(process.stdout.splitlines()[-1])
    return command


def start_in_container(command: list[str], folder: Path) -> Start:
    """Run the command of a container, and return the time to the first line of the function."""
    executor_input = {
        "inputs": {"parameterValues": {"path": str(folder / "container")}},
        "outputs": {"outputFile": str(folder / "executor_output.json")},
    }
    words = [json.dumps(executor_input) if word == "{{$}}" else word for word in command]
    environment = clean_environment()
    # The command starts python3, which has to be the Python of this environment.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    start = time.clock_gettime(time.CLOCK_BOOTTIME)
    subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=True)
    first_line, _, cpu = read_last(folder / "container")
    return Start(first_line - start, cpu)


def start_in_engine(folder: Path) -> Start:
    """Run the pipeline on this machine, and return the time of its only task's process."""
    kfgcp = str(Path(sys.executable).with_name("kfgcp"))
    path = folder / "engine"
    run_command([kfgcp, "run", "probe.yaml", "--no-cache", "-p", f"path={path}"], str(folder))
    first_line, start, cpu = read_last(path)
    return Start(first_line - start, cpu)


def read_last(path: Path) -> tuple[float, float, float]:
    """Return what the last process wrote: the times of its first line and start, and its CPU."""
    first_line, start, cpu = path.read_text(encoding="utf-8").splitlines()[-1].split()
    return float(first_line), float(start), float(cpu)


if __name__ == "__main__":
    main()
