"""Measure how long whole processes take from start to end, compared with bare Python.

    .venv/bin/python benchmarks/startup.py [--rounds N]

Bytecode is cached as on the machine of a user. The first round fills the caches and does not count.
Every round runs each command once, so that a slow moment of the machine affects all of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipelines import ONE_TASK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (default: 9)")
    rounds = parser.parse_args().rounds
    kfgcp = str(Path(sys.executable).with_name("kfgcp"))
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        Path(folder, "one_task.py").write_text(ONE_TASK, encoding="utf-8")
        run_command([kfgcp, "compile", "one_task.py", "-o", "one-task.yaml"], folder)
        times = measure(
            {
                "python -c pass": [sys.executable, "-c", "pass"],
                "import kfgcp": [sys.executable, "-c", "import kfgcp"],
                "kfgcp --help": [kfgcp, "--help"],
                "kfgcp list": [kfgcp, "list"],
                "kfgcp run one-task.yaml": [kfgcp, "run", "one-task.yaml", "--no-cache"],
                "kfgcp compile one_task.py": [kfgcp, "compile", "one_task.py"],
                "import kfp": [sys.executable, "-c", "import kfp"],
            },
            folder,
            rounds,
        )
    print(f"{machine()}, median of {rounds} rounds\n")
    print_table(times)


def machine() -> str:
    """Return the Python, the system and the number of cores, for the head of a table."""
    return f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"


def measure(
    commands: Mapping[str, Sequence[str]],
    folder: str,
    rounds: int,
    on_end: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Return the seconds of each command in each round that counts.

    Args:
        commands: command lines by name.
        folder: the working directory.
        rounds: the rounds that count. One more runs first.
        on_end: called with the name of a command after each of its runs.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds = run_command(command, folder)
            on_end(name)
            if number:
                times[name].append(seconds)
    return times


def clean_environment() -> dict[str, str]:
    """Return the variables of a user's shell: nothing set for kfgcp, and bytecode is kept."""
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in os.environ:
        if name.startswith("KFGCP_"):
            del variables[name]
    return variables


def run_command(command: Sequence[str], folder: str) -> float:
    """Return the seconds of a whole process. When it fails, this program ends too."""
    start = time.perf_counter()
    process = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
    return seconds


def print_table(times: Mapping[str, Sequence[float]]) -> None:
    """Print a table. The first command is the base of the ratios."""
    base = statistics.median(next(iter(times.values())))
    width = max(len(name) for name in times)
    print(f"{'':{width}}   median      min      max   against bare Python")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        numbers = "  ".join(f"{value:5.3f} s" for value in (median, min(seconds), max(seconds)))
        print(f"{name:{width}}  {numbers}   x {median / base:.1f}")


if __name__ == "__main__":
    main()
