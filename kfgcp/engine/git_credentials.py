"""User names and passwords of git repositories, given to git by its environment instead of in addresses.

An address is on the command lines of git and of the programs that git starts, which every user of the machine can read.
A variable is for the processes of this user only. Addresses of http and https are meant: ssh takes no password.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

_ADDRESS: Final = re.compile(r"(https?://)([^/?#\s'\"]*:[^/?#\s'\"]*)@([^\s#'\"]*)")
"""The scheme, the user and password, and the host and path. A user alone is nothing secret, and git asks for more."""


def without_password(text: str) -> str:
    """Return an address of a git repository, or a requirement that names one, without user and password."""
    return _ADDRESS.sub(r"\1\3", text)


def environment(texts: Iterable[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which git learns of the users and passwords that addresses have.

    They are headers of requests, each for one repository. git also rewrites addresses (`insteadOf`), but then the
    program that it starts for http has the password on its command line.

    Args:
        texts: addresses of git repositories, or requirements that name them.
        variables: those that git gets otherwise, which may have settings of this kind.
    """
    headers: dict[str, str] = {}
    for text in texts:
        address = _ADDRESS.search(text)
        if address is not None:
            scheme, user_and_password, place = address.groups()
            pair = base64.b64encode(unquote(user_and_password).encode()).decode()
            headers[f"{scheme}{_without_branch(place)}"] = f"Authorization: Basic {pair}"
    if not headers:
        return {}
    count = _number(variables.get("GIT_CONFIG_COUNT", ""))
    added = {"GIT_CONFIG_COUNT": str(count + len(headers))}
    for number, (repository, header) in enumerate(headers.items(), count):
        added[f"GIT_CONFIG_KEY_{number}"] = f"http.{repository}.extraHeader"
        added[f"GIT_CONFIG_VALUE_{number}"] = header
    return added


def _without_branch(place: str) -> str:
    host, slash, path = place.partition("/")
    return f"{host}{slash}{path.partition('@')[0]}"


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
