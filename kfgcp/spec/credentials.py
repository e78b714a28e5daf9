"""User names and passwords in URLs, such as `https://bob:pw@index.acme.example/simple`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

# Up to the last `@` before the path, because a password may contain `@` too.
_CREDENTIALS: Final = re.compile(r"(?<=//)[^/?#\s'\"]*@")

# Characters. A shorter password may also be a part of ordinary words. So it is masked only together
# with its user, and not alone.
_MIN_SECRET_LENGTH: Final = 6

# The characters that end the host of a URL.
_ENDS_OF_HOST: Final = re.compile(r"[/?#\s]")

# `index.acme.example:8080/`, which looks like the user and the password in `bob:pw@`.
_HOST_AND_PORT: Final = re.compile(r"[^/?#\s:]*:\d*(?:[/?#]|$)")
_USER_AND_PASSWORD: Final = re.compile(r"[^/?#\s:]+:")
_REPOSITORY: Final = re.compile(r"\b(?:git|hg|svn|bzr)\+")

# The end of a URL whose password contains a blank: the end of the password, the host and the path.
_END_OF_URL: Final = re.compile(r"[^\s@/]+@[\w-]*[.:][\w.:-]*/")


def has_credentials(value: str) -> bool:
    """Return whether an index URL, or a requirement with a URL, may have a user or a password.

    Example:
        >>> has_credentials("https://token@index.acme.example/simple")
        True
    """
    return bool(_user_parts(value))


def has_password(value: str) -> bool:
    """Return whether an index URL, or a requirement with a URL, may have a password.

    Example:
        >>> has_password("https://bob:pw@index.acme.example/simple")
        True
        >>> has_password("git+ssh://git@git.acme.example/team/tools")
        False
    """
    return any(":" in part for part in _user_parts(value))


def mask_credentials(text: str, sources: Iterable[str] = ()) -> str:
    """Return a text with `***` instead of the user and password of each URL in it.

    Args:
        text: a text that will be shown.
        sources: index URLs, and requirements with addresses. Their passwords are masked everywhere
            in the text, also outside a URL. These passwords may contain characters that must be
            escaped in a URL.

    Example:
        >>> mask_credentials("error: https://bob:pw@index.acme.example/simple")
        'error: https://***@index.acme.example/simple'
    """
    for secret in _secrets(sources):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub("***@", text)


def _secrets(values: Iterable[str]) -> list[str]:
    """Return all texts to mask for index URLs and requirements.

    Longer texts come first, because a short text may be a part of a longer one.
    """
    secrets: set[str] = set()
    for value in values:
        for user_part in _user_parts(value):
            secrets |= _spellings(user_part)
    return sorted(secrets, key=len, reverse=True)


def _user_parts(value: str) -> list[str]:
    """Return the texts that may be the user and password of the address in a value.

    `/`, `#`, `?`, `@` and blanks should be escaped in a URL. When a password contains one of them,
    its end is not certain. So every text from the `//` to an `@` may be the user and password. A
    text that can only be a host and the start of a path is left out.
    """
    _, slashes, address = value.partition("//")
    if not slashes:
        # The shell splits an index URL at a blank. This value may be the part after the blank.
        if not _END_OF_URL.match(value):
            return []
        return [value.partition("@")[0]]
    parts = [address[: match.start()] for match in re.finditer("@", address)]
    if not parts and _has_password(address):
        # The value may be the part before a blank at which the shell has split the URL.
        return [address]
    if not _REPOSITORY.search(value):
        return parts
    # The address of a repository has another `@` before the name of the branch.
    parts_before_host = [part for part in parts if not _ENDS_OF_HOST.search(part)]
    return parts_before_host or [part for part in parts if _has_password(part)]


def _has_password(text: str) -> bool:
    """Return whether a text begins with a user and a colon, and not with a host and a port."""
    return bool(_USER_AND_PASSWORD.match(text)) and not _HOST_AND_PORT.match(text)


def _spellings(user_part: str) -> set[str]:
    """Return all texts that would reveal a user and password, escaped for a URL or not."""
    user, colon, password = user_part.partition(":")
    if not colon:
        # A token may be in the position of the user.
        password = user
    texts = {password, unquote(password), quote(password, safe=""), quote(password)}
    if _has_password(user_part):
        texts.update(_ENDS_OF_HOST.split(password))
    secrets = {text for text in texts if len(text) >= _MIN_SECRET_LENGTH}
    if colon or _ENDS_OF_HOST.search(user_part):
        secrets |= {user_part, unquote(user_part)}
    return secrets
