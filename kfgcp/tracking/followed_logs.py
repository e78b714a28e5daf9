"""The logs of a run that is followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kfgcp.backends.base import LogLine, LogTail
from kfgcp.errors import BackendError
from kfgcp.model import Task

# Seconds between two readings of the logs of a run that has ended.
LATE_INTERVAL: Final = 1.0


class FollowedLogs:
    """The logs of a run. A service may refuse them, or may not be reached for a while.

    Args:
        tail: reads the logs, None when nobody wants them.
        notice: called with a line of text when the logs are refused.
    """

    def __init__(self, tail: LogTail | None, notice: Callable[[str], None]) -> None:
        self._tail = tail
        self._notice = notice
        # The reader of some services looks for the log of a task only after a change of the task.
        # So changes are kept until it was called without an error.
        self._changed_tasks: dict[str, Task] = {}

    @property
    def late_looks(self) -> int:
        """How often to read the logs after the end of the run: its last lines can be late."""
        if self._tail is None:
            return 0
        return math.ceil(self._tail.late_seconds / LATE_INTERVAL)

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        """Yield the new lines.

        Args:
            tasks: the tasks that have changed since the last look.
        """
        if self._tail is None:
            return
        for task in tasks:
            self._changed_tasks[task.path] = task
        try:
            yield from self._tail.read(list(self._changed_tasks.values()))
            self._changed_tasks.clear()
        except BackendError as error:
            if error.passing:
                # The next look may succeed.
                return
            self._tail = None
            self._notice(f"the logs cannot be followed: {error.message} {error.hint}".rstrip())
