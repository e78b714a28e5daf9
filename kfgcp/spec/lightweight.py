"""Lightweight Python components, recognised by the command that KFP compiles them to.

The compiled command is a shell prelude that pip-installs (left out when there is nothing to
install), a shell script that writes the source to a file and runs KFP's executor module on it, and
the source text as the script's `$0` (PipelineSpec of any kfp 2.x; the executor module was
`kfp.components.executor_main` before 2.1).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kfgcp.spec.graph import Container

_EXECUTORS = ("kfp.dsl.executor_main", "kfp.components.executor_main")
_PIP_INSTALL = re.compile(r"-m pip install\b(.*?)(?=&&|\n|$)", re.DOTALL)
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]*")
_OPTIONS_WITH_VALUE = frozenset({"--index-url", "-i", "--extra-index-url", "--trusted-host"})


@dataclass(frozen=True, slots=True)
class Lightweight:
    """A Python function to run.

    `requirements` are pip requirements, kfp's own pin among them; `-e PATH` is one too.
    """

    function: str
    source: str
    requirements: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ()


def recognise(container: Container) -> Lightweight | None:
    """The Python function that a container's command runs, None when it is any other command."""
    command = container.command
    at = next((i for i, part in enumerate(command) if _runs_executor(part)), None)
    function = _argument(container.args, "--function_to_execute")
    if at is None or at + 2 != len(command) or function is None or "{{$}}" not in container.args:
        return None
    requirements, options = _requirements(command[:at])
    return Lightweight(function, command[at + 1], requirements, options)


def _runs_executor(script: str) -> bool:
    return "$program_path/ephemeral_component.py" in script and any(
        name in script for name in _EXECUTORS
    )


def _argument(args: tuple[str, ...], flag: str) -> str | None:
    if flag not in args:
        return None
    at = args.index(flag) + 1
    return args[at] if at < len(args) else None


def _requirements(prelude: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(pip requirements, index options) of the pip commands in a shell prelude, in order, each
    once."""
    requirements: dict[str, None] = {}
    options: dict[str, None] = {}
    for script in prelude:
        for match in _PIP_INSTALL.finditer(script):
            words = iter(shlex.split(match.group(1)))
            for word in words:
                if word in _OPTIONS_WITH_VALUE:
                    options[f"{word} {next(words, '')}"] = None
                elif (editable := _EDITABLE.match(word)) is not None:
                    requirements[f"-e {word[editable.end() :] or next(words, '')}"] = None
                elif not word.startswith("-"):
                    requirements[word] = None
    return tuple(requirements), tuple(options)
