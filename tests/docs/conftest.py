"""What tests of documents share: their blocks, and shells that run the commands in them."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from patience import PROCESS

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="session")
def blocks() -> Callable[[str, str], list[str]]:
    """The fenced blocks of a language in a text, those in lists too."""

    def find(text: str, language: str) -> list[str]:
        fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
        return [
            re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            for indent, block in fence.findall(text)
        ]

    return find


@pytest.fixture(scope="session")
def section() -> Callable[[str, str], str]:
    """What stands below a heading, `## Logs`, up to the next one of its level or a higher one."""

    def find(text: str, heading: str) -> str:
        lines = text.splitlines(keepends=True)
        start = lines.index(f"{heading}\n") + 1
        end = re.compile(f"#{{1,{heading.partition(' ')[0].count('#')}}} ")
        found: list[str] = []
        fenced = False
        for line in lines[start:]:
            fenced ^= line.startswith("```")
            if not fenced and end.match(line):
                break
            found.append(line)
        return "".join(found)

    return find


class Shell:
    """Runs lines one by one in processes of their own; the folder of one is that of the next."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        where = self.folder / ".where"
        done = self._run(["sh", "-c", f"{line}\ncode=$?\npwd > '{where}'\nexit $code"])
        self.folder = Path(where.read_text(encoding="utf-8").strip())
        return done

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )


class Terminal(Shell):
    """A shell whose output goes to a terminal of 100 columns: `stdout` has both streams, redrawn
    lines too."""

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        environment = {**self.environment, "TERM": "xterm"}
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            with (
                open(ours, "rb", buffering=0) as screen,
                suppress(OSError),
            ):  # EIO: all who wrote have gone
                while data := screen.read(65536):
                    shown += data
        text = ESCAPES.sub("", shown.decode("utf-8", "replace").replace("\r\n", "\n")).replace(
            "\r", "\n"
        )
        return subprocess.CompletedProcess(command, process.returncode, text, "")


@pytest.fixture
def shell_environment(environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The environment of a person who has `kfgcp` on the PATH."""
    return environment(
        {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            )
        }
    )


@pytest.fixture
def shell(tmp_path: Path, shell_environment: dict[str, str]) -> Shell:
    return Shell(tmp_path, shell_environment)


@pytest.fixture
def terminal(tmp_path: Path, shell_environment: dict[str, str]) -> Terminal:
    return Terminal(tmp_path, shell_environment)
