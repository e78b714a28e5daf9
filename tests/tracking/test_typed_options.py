"""mypy knows the options: a wrong keyword or type in a call of the API is an error before the
program runs."""

import re
import subprocess
import sys
from pathlib import Path

import kfgcp
from patience import PROCESS

ROOT = Path(kfgcp.__file__).parents[1]
PROGRAM = """
import kfgcp
from typing import Any

kfgcp.submit("p.py", env="dev", params={"lr": 0.1}, labels={"a": "b"}, cache=None)
kfgcp.submit("p.py", max_parallel=2, executor="docker")
kfgcp.run("p.py", kfgcp.RunOptions(env="dev"), timeout=3, fail_fast=True)
kfgcp.rerun("a1b2", from_task="train", params={"lr": 1}, strict_env=False)
kfgcp.submit("p.py", experimnt="churn")  # error: Unexpected keyword argument "experimnt"
kfgcp.submit("p.py", fail_fast="yes")  # error: Argument "fail_fast" has incompatible type "str"
kfgcp.run("p.py", labels={"a": 1})  # error: Dict entry 0 has incompatible type "str": "int"
kfgcp.rerun(max_parallel="3")  # error: Argument "max_parallel" has incompatible type "str"
kfgcp.submit("p.py", executor="podman")  # error: Argument "executor" has incompatible type
kfgcp.submit("p.py", {"env": "dev"})  # error: Argument 2 has incompatible type "dict[str, str]"
kfgcp.RunOptions(cache="no")  # error: Argument "cache" to "RunOptions" has incompatible type "str"
kfgcp.RunOptions().fast  # error: "RunOptions" has no attribute "fast"
"""


def test_wrong_calls_are_errors_of_mypy(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    expected = {
        number: line.partition("  # error: ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "# error: " in line
    }

    # The cache of `make lint` is used, because all of kfgcp is read.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    errors = dict(re.findall(r"program\.py:(\d+): error: (.*)", done.stdout))
    assert {int(number) for number in errors} == expected.keys(), done.stdout + done.stderr
    for number, message in expected.items():
        assert errors[str(number)].startswith(message)
