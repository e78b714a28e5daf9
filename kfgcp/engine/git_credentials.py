"""Pass user names and passwords of git repositories to git in environment variables.

Git and the programs that it starts have the address of the repository on their command lines. Every
user of the machine can read command lines, but only this user can read environment variables. Only
addresses with http and https can have a password.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

_ADDRESS: Final = re.compile(r"(https?://)([^/?#\s'\"]*:[^/?#\s'\"]*)@([^\s#'\"]*)")
"""Three groups: the scheme, the user and password, and the host with the path. An address with a
user but no password does not match, because it is not secret."""


def without_password(text: str) -> str:
    """Return the address of a git repository without its user and password.

    Args:
        text: the address, or a requirement that contains it. Other text in it stays.
    """
    return _ADDRESS.sub(r"\1\3", text)


def environment(texts: Iterable[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables that give git the users and passwords of repositories.

    The variables are settings of git: for each repository, git sends a header with its requests.
    The setting `insteadOf`, which rewrites addresses, would not be safe. With it, the program that
    git starts for http has the password on its command line.

    Args:
        texts: addresses of git repositories, or requirements that contain them.
        variables: the other environment variables of git. If some of them are settings too, the new
            settings are numbered after them.
    """
    headers: dict[str, str] = {}
    for text in texts:
        address = _ADDRESS.search(text)
        if address is not None:
            scheme, user_and_password, host_and_path = address.groups()
            credentials = base64.b64encode(unquote(user_and_password).encode()).decode()
            repository = f"{scheme}{_without_branch(host_and_path)}"
            headers[repository] = f"Authorization: Basic {credentials}"
    if not headers:
        return {}
    old_count = _parse_count(variables.get("GIT_CONFIG_COUNT", ""))
    settings = {"GIT_CONFIG_COUNT": str(old_count + len(headers))}
    for number, (repository, header) in enumerate(headers.items(), old_count):
        settings[f"GIT_CONFIG_KEY_{number}"] = f"http.{repository}.extraHeader"
        settings[f"GIT_CONFIG_VALUE_{number}"] = header
    return settings


def _without_branch(host_and_path: str) -> str:
    host, slash, path = host_and_path.partition("/")
    return f"{host}{slash}{path.partition('@')[0]}"


def _parse_count(text: str) -> int:
    return int(text) if text.isdecimal() else 0
