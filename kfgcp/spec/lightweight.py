"""Recognize lightweight Python components by the command that KFP compiles them to.

The compiled command has three parts:

- a shell prelude that installs packages with pip; it is missing when there is nothing to install;
- a shell script that writes the source to a file and runs KFP's executor module on this file;
- the source, which the script gets as its `$0`.

Each kfp 2.x compiles to this command. Before 2.1 the executor module was
`kfp.components.executor_main`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from kfgcp.spec.graph import Container

_EXECUTOR_MODULES: Final = ("kfp.dsl.executor_main", "kfp.components.executor_main")
_PIP_INSTALL: Final = re.compile(r"-m pip install\b(.*?)(?=&&|\n|$)", re.DOTALL)
_EDITABLE: Final = re.compile(r"(?:-e|--editable)[ =]*")

# The options of pip that the KFP compiler writes for pip_index_urls and pip_trusted_hosts.
_OPTIONS_WITH_VALUE: Final = frozenset({"--index-url", "-i", "--extra-index-url", "--trusted-host"})


@dataclass(frozen=True, slots=True)
class Lightweight:
    """A Python function to run.

    Attributes:
        function: its name.
        source: the Python source that defines it.
        requirements: the pip requirements in their order, each once. They include the requirement
            of kfp itself. An editable requirement has the form `-e PATH`.
        index_options: options of pip with their values, such as `--index-url URL`.
    """

    function: str
    source: str
    requirements: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ()


def recognise(container: Container) -> Lightweight | None:
    """Return the Python function that a container's command runs, None for any other command.

    Example:
        >>> script = 'printf "%s" "$0" > "$program_path/ephemeral_component.py" && '
        >>> script += '_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "$@"'
        >>> container = Container(
        ...     image="python:3.12",
        ...     command=("sh", "-ec", script, "def add(a: int, b: int) -> int: ..."),
        ...     args=("--executor_input", "{{$}}", "--function_to_execute", "add"),
        ...     env={},
        ...     resources={},
        ... )
        >>> recognise(container).function
        'add'
    """
    script_index = _find_script(container.command)
    function = _argument_after("--function_to_execute", container.args)
    if script_index is None or function is None or "{{$}}" not in container.args:
        return None
    # In a command of KFP, the source is the only word after the script.
    if len(container.command) != script_index + 2:
        return None
    requirements, index_options = _read_pip_commands(container.command[:script_index])
    return Lightweight(function, container.command[-1], requirements, index_options)


def _find_script(command: Sequence[str]) -> int | None:
    """Return the index of the script that runs KFP's executor module, None without one."""
    for index, word in enumerate(command):
        if "$program_path/ephemeral_component.py" not in word:
            continue
        if any(module in word for module in _EXECUTOR_MODULES):
            return index
    return None


def _argument_after(flag: str, args: Sequence[str]) -> str | None:
    """Return the argument after a flag, None without the flag or an argument after it."""
    if flag not in args:
        return None
    index = args.index(flag) + 1
    return args[index] if index < len(args) else None


# Most components of a pipeline have the same prelude, and splitting it takes most of the time.
@lru_cache(maxsize=256)
def _read_pip_commands(prelude: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the requirements and the index options of the pip commands in a shell prelude."""
    # The keys of a dictionary keep their order, unlike a set, and each of them occurs once.
    requirements: dict[str, None] = {}
    options: dict[str, None] = {}
    for script in prelude:
        for match in _PIP_INSTALL.finditer(script):
            words = iter(_split_words(match[1]))
            for word in words:
                editable = _EDITABLE.match(word)
                if word in _OPTIONS_WITH_VALUE:
                    options[f"{word} {next(words, '')}"] = None
                elif editable is not None:
                    path = word[editable.end() :] or next(words, "")
                    requirements[f"-e {path}"] = None
                elif not word.startswith("-"):
                    requirements[word] = None
    return tuple(requirements), tuple(options)


def _split_words(command: str) -> list[str]:
    """Return the words of a shell command."""
    try:
        return shlex.split(command)
    except ValueError:
        # A quotation without an end. The compiler of KFP writes none, but a file may contain one.
        return command.split()
