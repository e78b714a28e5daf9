"""Pass user names and passwords of git repositories to git in environment variables.

Addresses are on the command lines of git and of the programs that git starts, and every user of the
machine can read those. Only this user can read the environment variables. This is for http and
https, because ssh takes no password.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

_ADDRESS: Final = re.compile(r"(https?://)([^/?#\s'\"]*:[^/?#\s'\"]*)@([^\s#'\"]*)")
"""The scheme, the user and password, and the host and path. A user without a password is not
secret."""


def without_password(text: str) -> str:
    """Return an address of a git repository without user and password.

    Args:
        text: the address, or a requirement that names it.
    """
    return _ADDRESS.sub(r"\1\3", text)


def environment(texts: Iterable[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that give git the users and passwords of addresses.

    They set a header of requests for each repository. Another way is to let git rewrite addresses
    (`insteadOf`). But then the program that git starts for http has the password on its command
    line.

    Args:
        texts: addresses of git repositories, or requirements that name them.
        variables: the other environment variables of git. Their settings of this kind are kept.
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
