"""Keep the passwords of package indexes out of the pip command in a container.

The command line of a container can be read by every user of the machine. Its environment cannot.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp.spec.credentials import has_credentials

_PIP_INSTALL: Final = re.compile(
    r"(\S+[ \t]+-m[ \t]+pip[ \t]+install\b)(.*?)(?=&&|\n|$)", re.DOTALL
)
_OPTION: Final = re.compile(
    r"(?<!\S)(--index-url|-i|--extra-index-url|--trusted-host)(?:[ \t]+|=)"
    r"('[^']*'|\"[^\"]*\"|\S+)[ \t]*"
)
_VARIABLES: Final = {
    "--index-url": "PIP_INDEX_URL",
    "-i": "PIP_INDEX_URL",
    "--extra-index-url": "PIP_EXTRA_INDEX_URL",
    "--trusted-host": "PIP_TRUSTED_HOST",
}


def hide_index_passwords(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Move package indexes with a user or a password from pip's options to environment variables.

    pip's own variables are set only for the pip command, so other commands of the component do not
    get them.

    Args:
        command: the command of a container. One of its arguments is the shell script in which KFP
            calls pip.

    Returns:
        The command, and the variables that the container needs for it.

    Example:
        >>> script = "python3 -m pip install --index-url https://u:pw@host/simple six"
        >>> command, variables = hide_index_passwords(["sh", "-c", script])
        >>> command
        ['sh', '-c', 'PIP_INDEX_URL="$KFGCP_PIP_INDEX_URL_0" python3 -m pip install six']
        >>> variables
        {'KFGCP_PIP_INDEX_URL_0': 'https://u:pw@host/simple'}
    """
    variables: dict[str, str] = {}

    def move_indexes(pip_install: re.Match[str]) -> str:
        command_start, arguments = pip_install.groups()
        indexes = _read_indexes(arguments)
        if not _have_credentials(indexes):
            return pip_install[0]
        # A component can call pip several times. This number is different for each call.
        number = len(variables)
        words: list[str] = []
        for pip_variable, values in indexes.items():
            # pip uses the last of several --index-url. For the other options it takes a list.
            value = values[-1] if pip_variable == "PIP_INDEX_URL" else " ".join(values)
            name = f"KFGCP_{pip_variable}_{number}"
            variables[name] = value
            words.append(f'{pip_variable}="${name}"')
        words.append(command_start + _OPTION.sub("", arguments))
        return " ".join(words)

    return [_PIP_INSTALL.sub(move_indexes, argument) for argument in command], variables


def _read_indexes(arguments: str) -> dict[str, list[str]]:
    """Return the name of a variable of pip -> the values of the options that it replaces."""
    indexes: dict[str, list[str]] = {}
    for option, value in _OPTION.findall(arguments):
        indexes.setdefault(_VARIABLES[option], []).extend(shlex.split(value))
    return indexes


def _have_credentials(indexes: Mapping[str, list[str]]) -> bool:
    values = itertools.chain.from_iterable(indexes.values())
    return any(has_credentials(value) for value in values)
