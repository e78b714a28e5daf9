"""Which lines of a pod's log the program wrote, and which came from what runs it.

A pod's log has the lines of Argo's executor (`time=... argo=true`), those of the driver or the
launcher of Kubeflow Pipelines (klog: `I1129 08:57:08.318690 14 main.go:67] ...`), those of kfp's
executor inside of the container (`[KFP Executor 2026-11-29 09:06:36,597 INFO]: ...`) and those of
the program. A pod that fails ends with the line `Error: exit status N` of Argo's executor. The
forms are those of recorded logs of 2.17.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Final, TypeVar

EXIT_STATUS: Final = re.compile(r"Error: (exit status \d+)")
"""The last line of Argo's executor, when the program failed."""
ONLY_A_STATUS: Final = re.compile(r".*\bexit status \d+")
_ARGO: Final = re.compile(r'time="?\d{4}-.* argo=true(?: .*)?')
_KLOG: Final = re.compile(
    r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +(?P<process>\d+) (?P<file>[\w.-]+):\d+\] "
)
_LEVELS: Final = ("I", "W", "E", "F")
_FILES: Final = frozenset(
    (
        "main.go",
        "cache.go",
        "client.go",
        "importer_launcher.go",
        "launcher_v2.go",
        "object_store.go",
        "registry.go",
    )
)
"""Files of the driver and the launcher that write the first lines of a log."""
_KFP_EXECUTOR: Final = re.compile(
    r"\[KFP Executor [\d:, -]+ INFO\]: (?:Looking for component `|--component_module_path is not"
    r" specified\. "
    r'|Loading KFP component "|Got executor_input:$|Wrote executor output file to |Did not write'
    r" output file\.$)"
)
"""What kfp writes itself (kfp/dsl/executor_main.py). The program's own messages have the same
beginning."""

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


class Lines:
    """Tells the sources of the lines of one log, from its beginning on."""

    def __init__(self) -> None:
        self._launcher = ""
        self._in_json = False
        self._value_follows = False
        self._has_argo = False

    def source_of(self, line: str) -> Source:
        """Return who wrote the next line."""
        # Most lines are of the program, and logs are long: the beginning tells them apart fast.
        if line.startswith("time=") and _ARGO.fullmatch(line):
            self._has_argo, self._in_json, self._value_follows = True, False, False
            return Source.ARGO
        klog = _KLOG.match(line) if line.startswith(_LEVELS) else None
        if klog is not None and self._is_of_launcher(klog):
            # A message may end in the JSON that the following lines hold.
            self._in_json = line.endswith("{")
            self._value_follows = line.endswith("=")
            return Source.FATAL if klog["level"] == "F" else Source.LAUNCHER
        if self._value_follows:
            self._value_follows = False
            return Source.LAUNCHER
        if line.startswith("[KFP ") and _KFP_EXECUTOR.match(line):
            self._in_json = line.endswith(":")
            return Source.LAUNCHER
        # Standard error is not buffered, so lines of it may stand in between those of the JSON.
        if self._in_json and line[:1] in (" ", "{", "}"):
            self._in_json = line != "}"
            return Source.LAUNCHER
        if self._has_argo and line.startswith("Error: ") and EXIT_STATUS.fullmatch(line):
            return Source.STATUS
        return Source.PROGRAM

    def _is_of_launcher(self, klog: re.Match[str]) -> bool:
        """Return whether a line of klog is of the launcher: a program in Go may write such lines,
        too."""
        if not self._launcher and klog["file"] in _FILES:
            self._launcher = klog["process"]
        return klog["process"] == self._launcher


def message_of(line: str) -> str:
    """Return the text of a line of klog without what stands before it."""
    klog = _KLOG.match(line)
    return line[klog.end() :] if klog else line


def without_noise(lines: Iterable[Line], text: Callable[[Line], str] = str) -> Iterator[Line]:
    """Yield the lines of the program, and the reason of the launcher or driver when that tells more
    than a status.

    What is yielded of the beginning of a log is the beginning of what is yielded of the whole.

    Args:
        lines: of one log, from its beginning on.
        text: returns the text of a line.

    Example:
        >>> list(without_noise(["time=2026-11-29T09:06:36.016Z msg=waiting argo=true", "hello"]))
        ['hello']
    """
    log = Lines()
    statuses: list[Line] = []
    is_silent = True
    for line in lines:
        source = log.source_of(text(line))
        if source is Source.STATUS:
            # Only the last line is that of Argo's executor.
            statuses.append(line)
        elif source is Source.PROGRAM:
            yield from statuses
            yield line
            is_silent, statuses = False, []
        elif source is Source.FATAL and (is_silent or not ONLY_A_STATUS.fullmatch(text(line))):
            yield line
