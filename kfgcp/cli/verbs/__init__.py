"""The verbs of the command line. Each module of this package is one verb.

The module `<verb>.py` has a click command with the name `command`. The first line of its docstring
is the line of the verb in `kfgcp --help`. A new verb needs no other code.

The functions below find the verbs by the names of the files, because importing all verbs would make
`kfgcp --help` slow.
"""

from __future__ import annotations

import functools
import os
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

# A text, not a Path: nothing else in `kfgcp --help` needs pathlib, which is slow to import.
_FOLDER: Final = os.path.dirname(__file__)

# The order of verbs in the help: start runs, look at runs, change runs, compare, annotate, the
# project. A verb without an entry comes last, so a new verb works without one.
_ORDER: Final = (
    "run",
    "compile",
    "check",
    "rerun",
    "retry",
    "list",
    "show",
    "events",
    "logs",
    "watch",
    "cancel",
    "delete",
    "diff",
    "compare",
    "export",
    "tag",
    "note",
    "push",
    "version",
    "plan",
    "apply",
    "destroy",
    "dashboard",
    "doctor",
    "template",
    "init",
    "images",
    "schedule",
    "env",
    "testing",
)


@functools.cache
def verb_names() -> tuple[str, ...]:
    """Return the names of all verbs, in the order of the help."""
    verbs = []
    for file_name in os.listdir(_FOLDER):
        name, ending = os.path.splitext(file_name)
        if ending == ".py" and not name.startswith("_"):
            verbs.append(name)
    return tuple(sorted(verbs, key=_position))


def read_summary(verb: str) -> str:
    """Return the line of a verb in the help: the first line of the docstring of its module."""
    with open(os.path.join(_FOLDER, f"{verb}.py"), encoding="utf-8") as file:
        first_line = file.readline()
    return first_line.strip().strip('"')


def load_command(verb: str) -> click.Command:
    """Import the module of a verb, and return its command."""
    command: click.Command = import_module(f"{__name__}.{verb}").command
    return command


def _position(verb: str) -> tuple[int, str]:
    position = _ORDER.index(verb) if verb in _ORDER else len(_ORDER)
    return position, verb
