"""Convert between URIs of files on this machine and paths."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

_SCHEME = "file://"
_THIS_MACHINE = "localhost/"


def is_file_uri(uri: str) -> bool:
    """Return whether a text is a `file://` URI.

    Example:
        >>> is_file_uri("file:///data/a"), is_file_uri("/data/a")
        (True, False)
    """
    return uri.startswith(_SCHEME)


def to_path(uri: str) -> str:
    """Return the path that a `file://` URI means, and any other text unchanged.

    Escapes such as `%5B` are decoded only in URIs: in a path, `%5B` is part of a name. The host of
    a URI may be `localhost` (RFC 8089). `#` and `?` have no meaning of their own, because names of
    files may contain them.

    Example:
        >>> to_path("file:///data/a%20b"), to_path("/data/a%20b")
        ('/data/a b', '/data/a%20b')
    """
    if not uri.startswith(_SCHEME):
        return uri
    path = uri.removeprefix(_SCHEME)
    if path.startswith(_THIS_MACHINE):
        path = path.removeprefix("localhost")
    if "%" not in path:
        return path
    try:
        return os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError:
        # The text contains half of a surrogate pair, which cannot be part of a file name.
        return path


def to_uri(path: str) -> str:
    """Return the `file://` URI of an absolute path, and any other text unchanged.

    Example:
        >>> to_uri("/data/a b"), to_uri("gs://bucket/data")
        ('file:///data/a%20b', 'gs://bucket/data')
    """
    if not path.startswith("/"):
        return path
    return Path(path).as_uri()
