"""Lines of files, and the names that KFP gives to the parts of a pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_NUMBER: Final = re.compile(r"(.+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file.

    Attributes:
        file: its path, relative to the current folder if it is below that folder.
        line: the number of the line, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def sanitize(name: str) -> str:
    """Return a name as KFP writes the names of components and tasks.

    Example:
        >>> sanitize("train_Model")
        'train-model'
    """
    return _NOT_IN_NAMES.sub("-", name.lower()).strip("-")


def without_number(key: str) -> str:
    """Return a name without the number that KFP added to make it unique.

    Example:
        >>> without_number("train-2"), without_number("train")
        ('train', 'train')
    """
    match = _NUMBER.fullmatch(key)
    return match[1] if match else key
