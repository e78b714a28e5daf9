"""Addresses: of the dashboard's own views, and those of runs that may be followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

SCHEMES: Final = ("http", "https", "gs", "s3")
"""Of addresses in runs that become links; all others stay text: `javascript:` runs code, `file:`
opens this machine."""

_AMAZON: Final = ".amazonaws.com"
"""How the names of Amazon's servers end, other than those in China, which have another console."""

PAGES: Final = {
    "runs": "views/runs.py",
    "compare": "views/compare.py",
    "run": "views/run.py",
    "launch": "views/launch.py",
    "trends": "views/trends.py",
    "versions": "views/versions.py",
    "health": "views/health.py",
}
"""The path of each page in addresses, and its file. A folder `pages` beside app.py would be served
by Streamlit without app.py, which is where people sign in."""

Query = Mapping[str, str | Sequence[str]]


def view(page: str, query: Query) -> str:
    """The address of a view below the dashboard's own, `/run?run=ab12`; what is empty is left
    out."""
    pairs = urlencode({key: value for key, value in query.items() if value}, doseq=True)
    path = "" if page == "runs" else page
    return f"/{path}{'?' if pairs else ''}{pairs}"


def outside(address: Any, s3_endpoint: str | None = None) -> str | None:
    """Return an address from a run as one that a browser may follow, None when there is none.

    `gs://` and `s3://` become the pages of their consoles.

    Args:
        address: may be anything.
        s3_endpoint: the server of `s3://`, None for Amazon's. The pages of other servers are not
            known.
    """
    if not isinstance(address, str) or any(
        character.isspace() or ord(character) < 32 for character in address
    ):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in SCHEMES or not parts.netloc:
        return None
    if parts.scheme == "gs":
        return f"https://console.cloud.google.com/storage/browser/{quote(parts.netloc)}{quote(parts.path)}"
    if parts.scheme == "s3" and not _is_of_amazon(s3_endpoint):
        return None
    if parts.scheme == "s3":
        prefix = quote(parts.path.lstrip("/"))
        return f"https://s3.console.aws.amazon.com/s3/buckets/{quote(parts.netloc)}?prefix={prefix}"
    return address


def _is_of_amazon(s3_endpoint: str | None) -> bool:
    return s3_endpoint is None or (urlsplit(s3_endpoint).hostname or "").endswith(_AMAZON)
