"""What starting costs: whole processes side by side, the median of several rounds, and each against
bare Python.

    .venv/bin/python benchmarks/startup.py [--rounds N]

Bytecode is cached as on a user's machine, and the first round, which fills the caches, is not
counted. Every round runs each command once, so that a slow moment of the machine falls on all of
them.
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
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds that are counted (default: 9)"
    )
    rounds = parser.parse_args().rounds
    kfgcp = str(Path(sys.executable).with_name("kfgcp"))
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        Path(folder, "one_task.py").write_text(ONE_TASK, encoding="utf-8")
        once([kfgcp, "compile", "one_task.py", "-o", "one-task.yaml"], folder)
        found = measure(
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
    print_table(found)


def machine() -> str:
    return f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"


def measure(
    commands: Mapping[str, Sequence[str]],
    folder: str,
    rounds: int,
    ended: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Seconds of each command, a value a round. ended: is told of each that was run."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds = once(command, folder)
            ended(name)
            if number:
                found[name].append(seconds)
    return found


def clean_environment() -> dict[str, str]:
    """Return the variables of a user's shell: nothing set for kfgcp, and bytecode is kept."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("KFGCP_")
    }


def once(command: Sequence[str], folder: str) -> float:
    """The seconds of one whole process, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return seconds


def print_table(found: Mapping[str, Sequence[float]]) -> None:
    base = statistics.median(next(iter(found.values())))
    width = max(map(len, found))
    print(f"{'':{width}}   median      min      max   against bare Python")
    for name, seconds in found.items():
        median = statistics.median(seconds)
        numbers = "  ".join(f"{value:5.3f} s" for value in (median, min(seconds), max(seconds)))
        print(f"{name:{width}}  {numbers}   x {median / base:.1f}")


if __name__ == "__main__":
    main()
