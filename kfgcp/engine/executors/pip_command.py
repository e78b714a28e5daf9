"""The pip command of a component that runs in a container, without the passwords of its package
indexes.

The command line of a container can be read by every user of the machine. Its environment cannot.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

from kfgcp.spec.credentials import has_credentials

_PIP_INSTALL: Final = re.compile(
    r"(\S+[ \t]+-m[ \t]+pip[ \t]+install\b)(.*?)(?=&&|\n|$)", re.DOTALL
)
_OPTION: Final = re.compile(
    r"(?<!\S)(--index-url|-i|--extra-index-url|--trusted-host)(?:[ \t]+|=)('[^']*'|\"[^\"]*\"|\S+)["
    r" \t]*"
)
_VARIABLES: Final = {
    "--index-url": "PIP_INDEX_URL",
    "-i": "PIP_INDEX_URL",
    "--extra-index-url": "PIP_EXTRA_INDEX_URL",
    "--trusted-host": "PIP_TRUSTED_HOST",
}


def hide_index_passwords(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Move package indexes from pip's options to environment variables when one has a user or a
    password.

    pip's own variables are set only for the pip command, so other commands of the component do not
    get them.

    Args:
        command: the command of a container. KFP puts a shell script with the pip commands in it.

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

    def replace(match: re.Match[str]) -> str:
        values: dict[str, list[str]] = {}
        for name, value in _OPTION.findall(match[2]):
            values.setdefault(_VARIABLES[name], []).extend(shlex.split(value))
        if not any(has_credentials(value) for texts in values.values() for value in texts):
            return match[0]
        number = len(variables)
        assignments = []
        for variable, texts in values.items():
            name = f"KFGCP_{variable}_{number}"
            # pip uses the last of several --index-url. For the other options it takes a list.
            variables[name] = texts[-1] if variable == "PIP_INDEX_URL" else " ".join(texts)
            assignments.append(f'{variable}="${name}"')
        return " ".join([*assignments, match[1] + _OPTION.sub("", match[2])])

    return [_PIP_INSTALL.sub(replace, argument) for argument in command], variables
