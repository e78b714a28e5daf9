"""Shells that run the commands of the documents line by line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

from patience import PROCESS

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shell:
    """A shell that runs each line in a new process.

    A line starts in the folder in which the line before it ended.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        folder_file = self.folder / ".where"
        result = self._run(["sh", "-c", f"{line}\ncode=$?\npwd > '{folder_file}'\nexit $code"])
        self.folder = Path(folder_file.read_text(encoding="utf-8").strip())
        return result

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
    """A shell whose output goes to a terminal of 100 columns.

    `stdout` of a result has both streams, and also the lines that were drawn again.
    """

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        screen_end, program_end = pty.openpty()
        fcntl.ioctl(program_end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        environment = {**self.environment, "TERM": "xterm"}
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=program_end,
            stderr=program_end,
        ) as process:
            os.close(program_end)
            shown = b""
            # The error EIO says that all writers have closed the terminal.
            with open(screen_end, "rb", buffering=0) as screen, suppress(OSError):
                while data := screen.read(65536):
                    shown += data
        text = ESCAPES.sub("", shown.decode("utf-8", "replace").replace("\r\n", "\n")).replace(
            "\r", "\n"
        )
        return subprocess.CompletedProcess(command, process.returncode, text, "")
