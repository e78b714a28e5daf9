"""Which lines of a pod's log the program wrote, and which came from what runs it.

The log of a pod has the lines of Argo's executor (`time=... argo=true`), those of the driver or the
launcher of Kubeflow Pipelines (klog: `I1129 08:57:08.318690 14 main.go:67] ...`), those of kfp's
executor inside the container (`[KFP Executor 2026-11-29 09:06:36,597 INFO]: ...`) and those of the
program. The log of a pod that fails ends with the line `Error: exit status N` of Argo's executor.
The forms are those of recorded logs of 2.17.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Final, TypeVar

# The last line of Argo's executor, when the program failed.
EXIT_STATUS: Final = re.compile(r"Error: (?P<status>exit status \d+)")
ONLY_A_STATUS: Final = re.compile(r".*\bexit status \d+")

_ARGO: Final = re.compile(r'time="?\d{4}-.* argo=true(?: .*)?')
_KLOG: Final = re.compile(
    r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +(?P<process>\d+) (?P<file>[\w.-]+):\d+\] "
)
_KLOG_LEVELS: Final = ("I", "W", "E", "F")

# Files of the driver and the launcher that write the first lines of a log.
_LAUNCHER_FILES: Final = frozenset(
    {
        "main.go",
        "cache.go",
        "client.go",
        "importer_launcher.go",
        "launcher_v2.go",
        "object_store.go",
        "registry.go",
    }
)

# What kfp writes itself (kfp/dsl/executor_main.py). The program's own messages have the same
# beginning.
_KFP_EXECUTOR: Final = re.compile(
    r"\[KFP Executor [\d:, -]+ INFO\]: (?:Looking for component `|--component_module_path is not"
    r" specified\. "
    r'|Loading KFP component "|Got executor_input:$|Wrote executor output file to |Did not write'
    r" output file\.$)"
)

Line = TypeVar("Line")


class Source(Enum):
    """Who wrote a line.

    FATAL is the last line of a launcher or driver that gives up. STATUS is `Error: exit status N`
    of Argo's executor.
    """

    PROGRAM = auto()
    LAUNCHER = auto()
    FATAL = auto()
    ARGO = auto()
    STATUS = auto()


class LineSources:
    """Tells who wrote each line of one log, from its beginning on."""

    def __init__(self) -> None:
        # The process of the launcher, empty before its first line.
        self._launcher = ""
        self._is_in_json = False
        self._value_follows = False
        self._has_argo = False

    def source_of(self, line: str) -> Source:
        """Return who wrote the next line."""
        # Most lines are of the program, and logs are long. Comparing the beginning is fast, so it
        # comes before the regular expressions.
        if line.startswith("time=") and _ARGO.fullmatch(line):
            self._has_argo = True
            self._is_in_json = self._value_follows = False
            return Source.ARGO
        klog = _KLOG.match(line) if line.startswith(_KLOG_LEVELS) else None
        if klog is not None and self._is_of_launcher(klog):
            # A message may end in the JSON that the following lines contain.
            self._is_in_json = line.endswith("{")
            self._value_follows = line.endswith("=")
            return Source.FATAL if klog["level"] == "F" else Source.LAUNCHER
        if self._value_follows:
            self._value_follows = False
            return Source.LAUNCHER
        if line.startswith("[KFP ") and _KFP_EXECUTOR.match(line):
            self._is_in_json = line.endswith(":")
            return Source.LAUNCHER
        # Standard error is not buffered, so lines of it may be between those of the JSON.
        if self._is_in_json and line.startswith((" ", "{", "}")):
            self._is_in_json = line != "}"
            return Source.LAUNCHER
        if self._has_argo and line.startswith("Error: ") and EXIT_STATUS.fullmatch(line):
            return Source.STATUS
        return Source.PROGRAM

    def _is_of_launcher(self, klog: re.Match[str]) -> bool:
        """Return whether the launcher wrote a line of klog.

        A program in Go may write such lines, too. It has another process number.
        """
        if not self._launcher and klog["file"] in _LAUNCHER_FILES:
            self._launcher = klog["process"]
        return klog["process"] == self._launcher


def message_of(line: str) -> str:
    """Return the message of a line of klog; other lines as they are."""
    klog = _KLOG.match(line)
    return line[klog.end() :] if klog is not None else line


def without_noise(lines: Iterable[Line], text: Callable[[Line], str] = str) -> Iterator[Line]:
    """Yield the lines of the program.

    Also yield the reason of a launcher or driver that gives up, when it says more than a status.
    The lines that are yielded for the beginning of a log are also yielded for the whole log, in the
    same order: who follows a log counts them.

    Args:
        lines: of one log, from its beginning on.
        text: returns the text of a line.

    Example:
        >>> list(without_noise(["time=2026-11-29T09:06:36.016Z msg=waiting argo=true", "hello"]))
        ['hello']
    """
    sources = LineSources()
    statuses: list[Line] = []
    is_silent = True
    for line in lines:
        source = sources.source_of(text(line))
        if source is Source.STATUS:
            # Only the last line is that of Argo's executor. A program may write such a line, too.
            statuses.append(line)
        elif source is Source.PROGRAM:
            yield from statuses
            yield line
            statuses = []
            is_silent = False
        elif source is Source.FATAL and (is_silent or not ONLY_A_STATUS.fullmatch(text(line))):
            yield line
