"""Separate the lines of the program in a pod's log from the lines of the software that runs it.

The log of a pod contains the lines of four writers:

- Argo's executor: `time=... argo=true`. When the pod fails, its last line is
  `Error: exit status N`.
- the driver or the launcher of Kubeflow Pipelines, in the format of the library klog:
  `I1129 08:57:08.318690 14 main.go:67] ...`
- kfp's executor inside the container: `[KFP Executor 2026-11-29 09:06:36,597 INFO]: ...`
- the program.

These formats were recorded with 2.17.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Final, TypeVar

# The last line of Argo's executor when the program failed.
EXIT_STATUS: Final = re.compile(r"Error: (?P<status>exit status \d+)")
ONLY_A_STATUS: Final = re.compile(r".*\bexit status \d+")

_ARGO: Final = re.compile(r'time="?\d{4}-.* argo=true(?: .*)?')
_KLOG: Final = re.compile(
    r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +(?P<process>\d+) (?P<file>[\w.-]+):\d+\] "
)
_KLOG_LEVELS: Final = ("I", "W", "E", "F")

# Source files of the driver and the launcher that write the first lines of a log.
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

# The messages of kfp's executor (kfp/dsl/executor_main.py). Messages that the program writes with
# the logger of kfp begin with the same prefix.
_KFP_EXECUTOR: Final = re.compile(
    r"\[KFP Executor [\d:, -]+ INFO\]: (?:Looking for component `|--component_module_path is not"
    r" specified\. "
    r'|Loading KFP component "|Got executor_input:$|Wrote executor output file to |Did not write'
    r" output file\.$)"
)

Line = TypeVar("Line")


class Source(Enum):
    """The writer of a line.

    FATAL is the last line of a launcher or driver that stops with an error. STATUS is the line
    `Error: exit status N` of Argo's executor.
    """

    PROGRAM = auto()
    LAUNCHER = auto()
    FATAL = auto()
    ARGO = auto()
    STATUS = auto()


class LineClassifier:
    """Finds the writer of each line in one log. It must get all lines, in their order."""

    def __init__(self) -> None:
        # The process number of the launcher or driver, "" before its first line.
        self._launcher_process = ""
        self._is_in_json = False
        self._value_follows = False
        self._has_argo = False

    def classify(self, line: str) -> Source:
        """Return the writer of the next line."""
        # The program writes most lines, and logs are long. A comparison of the first characters is
        # faster than a regular expression, so it comes first.
        if line.startswith("time=") and _ARGO.fullmatch(line):
            self._has_argo = True
            self._is_in_json = self._value_follows = False
            return Source.ARGO
        klog = _KLOG.match(line) if line.startswith(_KLOG_LEVELS) else None
        if klog is not None and self._is_from_launcher(klog):
            # The JSON or the value at the end of a message may continue on the next lines.
            self._is_in_json = line.endswith("{")
            self._value_follows = line.endswith("=")
            return Source.FATAL if klog["level"] == "F" else Source.LAUNCHER
        if self._value_follows:
            self._value_follows = False
            return Source.LAUNCHER
        if line.startswith("[KFP ") and _KFP_EXECUTOR.match(line):
            self._is_in_json = line.endswith(":")
            return Source.LAUNCHER
        # The program may write to standard error in the meantime. Its lines can be between the
        # lines of the JSON, which begin with a blank or a brace.
        if self._is_in_json and line.startswith((" ", "{", "}")):
            self._is_in_json = line != "}"
            return Source.LAUNCHER
        if self._has_argo and line.startswith("Error: ") and EXIT_STATUS.fullmatch(line):
            return Source.STATUS
        return Source.PROGRAM

    def _is_from_launcher(self, klog: re.Match[str]) -> bool:
        """Return whether the launcher or the driver wrote a line in the format of klog.

        A program in Go may also use klog, but has a different process number.
        """
        if not self._launcher_process and klog["file"] in _LAUNCHER_FILES:
            self._launcher_process = klog["process"]
        return klog["process"] == self._launcher_process


def remove_klog_prefix(line: str) -> str:
    """Return the message of a line in the format of klog. Other lines stay unchanged."""
    klog = _KLOG.match(line)
    return line[klog.end() :] if klog is not None else line


def without_noise(lines: Iterable[Line], get_text: Callable[[Line], str] = str) -> Iterator[Line]:
    """Yield the lines of the program.

    Also yield the last line of a launcher or driver that stops with an error, when the line
    contains more than an exit status. The lines for the beginning of a log are always the first
    lines for the whole log, because a reader that follows a log skips lines by their number.

    Args:
        lines: the lines of one log, from its beginning.
        get_text: returns the text of a line.

    Example:
        >>> list(without_noise(["time=2026-11-29T09:06:36.016Z msg=waiting argo=true", "hello"]))
        ['hello']
    """
    classifier = LineClassifier()
    # Lines with an exit status that may be from Argo's executor.
    status_lines: list[Line] = []
    is_silent = True
    for line in lines:
        text = get_text(line)
        source = classifier.classify(text)
        if source is Source.STATUS:
            status_lines.append(line)
        elif source is Source.PROGRAM:
            # Argo's executor writes its status at the end of the log. When a line of the program
            # follows, the program wrote the status lines, too.
            yield from status_lines
            yield line
            status_lines = []
            is_silent = False
        elif source is Source.FATAL and (is_silent or not ONLY_A_STATUS.fullmatch(text)):
            yield line
