"""Read a Dockerfile: what the image begins with, and which values it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

# The argument with the image to begin with.
BASE: Final = "BASE"

_INSTRUCTION: Final = re.compile(r"[ \t]*(ARG|COPY|FROM|RUN)[ \t]+(.*)", re.IGNORECASE)
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


@dataclass
class _Stage:
    """A stage of a Dockerfile: what it begins with, its name, and its arguments."""

    base: str
    name: str
    arguments: set[str] = field(default_factory=set)


def lasting_argument_names(text: str) -> frozenset[str]:
    """Return the arguments of the last stage, and of the stages that it begins with.

    The history of an image has only the lines of these stages.

    Args:
        text: the Dockerfile.

    Example:
        >>> lasting_argument_names("FROM a AS b\\nARG X\\nFROM c\\nARG Y\\nCOPY --from=b /x /x")
        frozenset({'Y'})
    """
    stages: list[_Stage] = []
    for instruction, rest in _lines(text):
        if instruction == "FROM":
            base, name = _read_from(rest)
            stages.append(_Stage(base, name))
        elif instruction == "ARG" and stages:
            stages[-1].arguments |= {word.partition("=")[0] for word in _split(rest)}
    names: set[str] = set()
    # The last stage counts, and each earlier stage that a stage that counts begins with.
    base_stage: str | None = None
    for stage in reversed(stages):
        if base_stage is None or stage.name == base_stage:
            names |= stage.arguments
            base_stage = stage.base
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class FixedImage:
    """An image of the project that a Dockerfile names itself.

    Attributes:
        name: the image.
        line: the start of the line that names it: `FROM shop`, `COPY --from=shop`.
    """

    name: str
    line: str


def fixed_image(text: str, names: Collection[str]) -> FixedImage | None:
    """Return the first image of the project in a line such as `FROM shop`, None without one.

    Docker would look for this name in its own registry. `COPY --from` and `RUN --mount` with `from`
    can name images too (Dockerfile reference).

    Args:
        text: the Dockerfile.
        names: the images of the project.
    """
    stages: set[str] = set()
    for instruction, rest in _lines(text):
        words = rest.split()
        options = list(takewhile(lambda word: word.startswith("--"), words))
        arguments = words[len(options) :]
        images = [(name, f"{instruction} {option}") for option in options for name in _from(option)]
        if instruction == "FROM" and arguments:
            images = [(arguments[0], f"FROM {arguments[0]}")]
        for name, line in images:
            if name in names and name not in stages:
                return FixedImage(name, line)
        # FROM IMAGE AS STAGE: later lines can name the stage.
        if instruction == "FROM" and len(arguments) == 3:
            stages.add(arguments[2].lower())
    return None


def _from(option: str) -> list[str]:
    """Return the image or stage of `--from=IMAGE` or of `--mount=type=bind,from=IMAGE`."""
    name, _, value = option.partition("=")
    if name == "--from":
        return [value]
    fields = value.split(",") if name == "--mount" else []
    return [field.removeprefix("from=") for field in fields if field.startswith("from=")]


def _words(text: str, instruction: str) -> list[str]:
    words = []
    for rest in _instructions(text, instruction):
        words += _split(rest)
    return words


def _split(rest: str) -> list[str]:
    """Return the words of a line, without their quotation marks."""
    try:
        return shlex.split(rest)
    except ValueError:
        # A quotation without an end: Docker reports it at the build.
        return rest.split()


def _read_from(rest: str) -> tuple[str, str]:
    """Return the image of a line FROM and the name of its stage, "" without one, in lower case."""
    words = [word.lower() for word in rest.split() if not word.startswith("--")]
    base = words[0] if words else ""
    name = words[2] if len(words) == 3 else ""
    return base, name


def _instructions(text: str, instruction: str) -> list[str]:
    """Return what follows an instruction, for each of its lines."""
    return [rest for name, rest in _lines(text) if name == instruction]


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction that can name an image or a value, and what follows it."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        match = _INSTRUCTION.match(line)
        if match is not None:
            yield match[1].upper(), match[2]
