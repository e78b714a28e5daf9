"""List the public names, which kfgcp promises to keep. docs/compatibility.md says for how long.

    python tools/public_names.py            # print the list as JSON
    python tools/public_names.py --update   # write it to tests/unit/public_names.json

The list has the names of the Python API with their parameters, the commands with their options and
arguments, and the exit codes. `tests/unit/test_public_names.py` compares the list with the file. So
each change of a public name is also a change of the file, which reviewers see.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import sys
from pathlib import Path
from typing import Final

import click

import kfgcp
import kfgcp.testing
from kfgcp.cli.main import cli

FILE: Final = Path(__file__).resolve().parents[1] / "tests" / "unit" / "public_names.json"

# Attributes that each exception and each enum inherits from Python.
_INHERITED: Final = frozenset(dir(Exception)) | frozenset(dir(enum.Enum)) | frozenset(dir(str))


def list_public_names() -> dict[str, dict[str, list[str] | int]]:
    """Return the lists by kind, and in each kind by name."""
    modules = (kfgcp, kfgcp.testing)
    python: dict[str, list[str] | int] = {}
    exit_codes: dict[str, list[str] | int] = {}
    for module in modules:
        for name in sorted(_names_of(module)):
            value = getattr(module, name)
            python[f"{module.__name__}.{name}"] = _members(value)
            if isinstance(value, type) and issubclass(value, kfgcp.KfgcpError):
                exit_codes[name] = value.exit_code
    return {"python": python, "commands": _commands(), "exit codes": exit_codes}


def _names_of(module: object) -> list[str]:
    # `compile`, `list` and `open` are not in __all__, because `import *` would replace Python's own
    # functions.
    names: list[str] = module.__dir__() if module is kfgcp else module.__all__  # type: ignore[attr-defined]
    return [name for name in names if not name.startswith("_")]


def _members(value: object) -> list[str]:
    """Return the parameters of a function, or the attributes and parameters of a class."""
    if not isinstance(value, type):
        return _parameters(value)
    if issubclass(value, enum.Enum):
        return [member.name for member in value]
    members = {f".{name}" for name in dir(value) if not name.startswith("_")}
    if issubclass(value, BaseException | str):
        members -= {f".{name}" for name in _INHERITED}
    if dataclasses.is_dataclass(value):
        members |= {f".{field.name}" for field in dataclasses.fields(value)}
    return sorted(members)


def _parameters(function: object) -> list[str]:
    if not callable(function):
        return []
    result = []
    for name, parameter in inspect.signature(function).parameters.items():
        optional = "" if parameter.default is inspect.Parameter.empty else "="
        stars = _STARS.get(str(parameter.kind), "")
        result.append(f"{stars}{name}{optional}")
    return result


_STARS: Final = {
    str(inspect.Parameter.VAR_POSITIONAL): "*",
    str(inspect.Parameter.VAR_KEYWORD): "**",
}


def _commands() -> dict[str, list[str] | int]:
    commands: dict[str, list[str] | int] = {}
    pending: list[tuple[str, click.Command]] = [("kfgcp", cli)]
    while pending:
        name, command = pending.pop()
        commands[name] = sorted(_options(command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for verb in command.list_commands(context):
                inner = command.get_command(context, verb)
                if inner is not None:
                    pending.append((f"{name} {verb}", inner))
    return dict(sorted(commands.items()))


def _options(command: click.Command) -> list[str]:
    options: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            options.append(str(parameter.name).upper())
        else:
            options += parameter.opts + parameter.secondary_opts
    return options


def main(arguments: list[str]) -> int:
    """Print the list or write it into the file, and return the exit status."""
    text = json.dumps(list_public_names(), indent=1) + "\n"
    if "--update" in arguments:
        FILE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
