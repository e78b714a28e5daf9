"""Read a Dockerfile: what the image begins with, and which values it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from typing import Final

# The argument with the image to begin with.
BASE: Final = "BASE"

_INSTRUCTION: Final = re.compile(r"[ \t]*(ARG|FROM)[ \t]+(.*)", re.IGNORECASE)
_CONTINUED: Final = re.compile(r"\\[ \t]*\r?\n")


def default_base(text: str) -> str:
    """Return the image that a Dockerfile begins with by `ARG BASE=IMAGE`, "" without such a line.

    Args:
        text: the Dockerfile.
    """
    for word in _words(text, "ARG"):
        name, _, value = word.partition("=")
        if name == BASE and value:
            return value
    return ""


def argument_names(text: str) -> frozenset[str]:
    """Return the names of the arguments of a Dockerfile, without BASE."""
    names = {word.partition("=")[0] for word in _words(text, "ARG")}
    return frozenset(names - {BASE})


def fixed_parent(text: str, names: Collection[str]) -> str:
    """Return the first image of the project in a line such as `FROM shop`, "" without one.

    Docker would look for this name in its own registry.

    Args:
        text: the Dockerfile.
        names: the images of the project.
    """
    stages: set[str] = set()
    for match in _instructions(text, "FROM"):
        words = [word for word in match.split() if not word.startswith("--")]
        if words and words[0] in names and words[0] not in stages:
            return words[0]
        # FROM IMAGE AS STAGE: later lines can name the stage.
        if len(words) == 3:
            stages.add(words[2].lower())
    return ""


def _words(text: str, instruction: str) -> list[str]:
    words = []
    for rest in _instructions(text, instruction):
        try:
            words += shlex.split(rest)
        except ValueError:
            # A quotation without an end: Docker reports it at the build.
            words += rest.split()
    return words


def _instructions(text: str, instruction: str) -> list[str]:
    """Return what follows an instruction, for each of its lines."""
    rests = []
    for line in _CONTINUED.sub(" ", text).splitlines():
        match = _INSTRUCTION.match(line)
        if match is not None and match[1].upper() == instruction:
            rests.append(match[2])
    return rests
