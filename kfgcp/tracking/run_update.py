"""What happens in a run, as values."""

from __future__ import annotations

from dataclasses import dataclass

from kfgcp.backends.base import LogLine
from kfgcp.model import Run, Task


@dataclass(frozen=True, slots=True)
class RunChanged:
    """The run has another state, or this is the first update.

    Attributes:
        run: the run, without its tasks and artifacts.
    """

    run: Run


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """A task started, ended, was skipped, or something else about it changed.

    Attributes:
        task: the task as it was at that moment. A task that started and ended since the last look
            has two updates, and the first one has the state RUNNING.
    """

    task: Task


@dataclass(frozen=True, slots=True)
class LogWritten:
    """A task wrote a line.

    Attributes:
        line: the line, with the path of the task.
    """

    line: LogLine


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run has ended. It is the last update.

    Attributes:
        run: the whole run.
    """

    run: Run


RunUpdate = RunChanged | TaskChanged | LogWritten | RunEnded
"""Something that happened in a run."""
