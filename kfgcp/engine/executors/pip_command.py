"""Keep the passwords of package indexes out of the command line of a container.

Every user of the machine can read the command line of a container. Other users cannot read its
environment variables.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp.spec.credentials import has_credentials

# Two groups: `python3 -m pip install`, and its arguments up to the next command of the script.
_PIP_INSTALL: Final = re.compile(
    r"(\S+[ \t]+-m[ \t]+pip[ \t]+install\b)(.*?)(?=&&|\n|$)", re.DOTALL
)
# Two groups: an option about package indexes, and its value, perhaps in quotes.
_INDEX_OPTION: Final = re.compile(
    r"(?<!\S)(--index-url|-i|--extra-index-url|--trusted-host)(?:[ \t]+|=)"
    r"('[^']*'|\"[^\"]*\"|\S+)[ \t]*"
)
_PIP_VARIABLES: Final = {
    "--index-url": "PIP_INDEX_URL",
    "-i": "PIP_INDEX_URL",
    "--extra-index-url": "PIP_EXTRA_INDEX_URL",
    "--trusted-host": "PIP_TRUSTED_HOST",
}


def hide_index_passwords(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Move package indexes with a user or a password from pip's options to environment variables.

    The variables of the container have names that only this function uses. In the script, pip's own
    variables get their values for the pip command only. So other commands of the component do not
    see pip's variables.

    Args:
        command: the command of a container. One of its arguments is the shell script in which KFP
            calls pip.

    Returns:
        The new command, and the environment variables that the container needs for it.

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
        # A script can call pip several times. This number is different for each call.
        number = len(variables)
        words: list[str] = []
        for pip_variable, values in indexes.items():
            # pip uses the last of several --index-url. For the other options it takes a list.
            value = values[-1] if pip_variable == "PIP_INDEX_URL" else " ".join(values)
            name = f"KFGCP_{pip_variable}_{number}"
            variables[name] = value
            words.append(f'{pip_variable}="${name}"')
        words.append(command_start + _INDEX_OPTION.sub("", arguments))
        return " ".join(words)

    new_command = [_PIP_INSTALL.sub(move_indexes, argument) for argument in command]
    return new_command, variables


def _read_indexes(arguments: str) -> dict[str, list[str]]:
    """Return the values of pip's index options, by the pip variable that replaces the option."""
    indexes: dict[str, list[str]] = {}
    for option, quoted_value in _INDEX_OPTION.findall(arguments):
        values = indexes.setdefault(_PIP_VARIABLES[option], [])
        values += shlex.split(quoted_value)
    return indexes


def _have_credentials(indexes: Mapping[str, list[str]]) -> bool:
    values = itertools.chain.from_iterable(indexes.values())
    return any(has_credentials(value) for value in values)
