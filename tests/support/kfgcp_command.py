"""Run the real `kfgcp` command in processes of its own, as the user of the tests or as another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from patience import PROCESS

COMMAND = Path(sys.executable).with_name("kfgcp")

# A number that no user of a machine has by default.
OTHER_UID = 54321


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output, which must be one JSON value without NaN and infinities."""
        return strict_json(self.out)


def strict_json(text: str) -> Any:
    """Return the JSON value of a text, and fail the test at NaN and infinities."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not valid JSON")

    return json.loads(text, parse_constant=refuse)


class Command:
    """Runs `kfgcp` in processes of its own, in the current folder."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Result:
        """Run a command to its end and return its result."""
        process = subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            env=clean_environment(env),
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )
        return Result(process.returncode, process.stdout, process.stderr)

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (str(COMMAND),),
    ) -> subprocess.Popen[str]:
        """Start a command in its own session. It is killed when the test ends.

        Args:
            arguments: the arguments of the command.
            env: variables to add to the clean environment.
            program: the beginning of the command line, for a test that changes how `kfgcp` runs.
        """
        process = subprocess.Popen(
            [*program, *map(str, arguments)],
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> Result:
        """Wait until a started command ends by itself, and return its result."""
        kill_timer = threading.Timer(PROCESS, process.kill)
        kill_timer.start()
        # communicate() would lose what readline() has read ahead.
        with ThreadPoolExecutor() as pool:
            out, err = pool.map(_read_all, (process.stdout, process.stderr))
        code = process.wait()
        assert kill_timer.is_alive(), f"the command did not end within {PROCESS:g} s: {err}"
        kill_timer.cancel()
        return Result(code, out, err)

    def close(self) -> None:
        """Kill the commands that still run."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _read_all(stream: IO[str] | None) -> str:
    return stream.read() if stream else ""


def clean_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command whose output goes into a pipe.

    It has no variables of kfgcp and none that switch colours on or off.

    Args:
        variables: variables to add.
    """
    dropped = (
        "KFGCP_",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "PYTHONDONTWRITEBYTECODE",
        "COLUMNS",
        "LINES",
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return inherited | {"PYTHONIOENCODING": "utf-8"} | dict(variables or {})


@dataclass(frozen=True)
class Somebody:
    """A user of this machine who is not root.

    Attributes:
        folder: the home of the user and the current folder of the commands.
        become: the words before a command that run it as this user.
    """

    folder: Path
    become: list[str]

    @property
    def uid(self) -> int:
        return OTHER_UID if self.become else os.getuid()

    def kfgcp(self, *arguments: str, **env: str) -> Result:
        """Run the real command as this user and return its result."""
        return self.run(str(COMMAND), *arguments, **env)

    def run(self, *command: str, **env: str) -> Result:
        """Run a command as this user and return its result."""
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environ = clean_environment(own | env)
        # The user may not write into the folder where coverage keeps its data.
        environ.pop("COVERAGE_PROCESS_CONFIG", None)
        process = subprocess.run(
            [*self.become, *command],
            env=environ,
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )
        return Result(process.returncode, process.stdout, process.stderr)
