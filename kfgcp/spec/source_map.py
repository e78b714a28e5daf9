"""Where the parts of a pipeline are written: the lines of its components and tasks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file.

    Attributes:
        file: its path, as the user would write it from the current folder.
        line: the number of the line, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"
