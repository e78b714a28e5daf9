"""The pages of the dashboard, and the addresses in runs that may become links."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

# Other schemes stay text. `javascript:` runs code, and `file:` opens files of the visitor.
ALLOWED_SCHEMES: Final = ("http", "https", "gs", "s3")

# The end of the names of Amazon's servers. Those in China end with .amazonaws.com.cn, and their
# buckets are in another console.
_AMAZON_DOMAIN: Final = ".amazonaws.com"

# The path of each page in addresses, and its file. The folder must not have the name `pages`.
# Streamlit starts each script in a folder `pages` beside app.py by itself, without app.py, and
# app.py is where people sign in (streamlit/runtime/pages_manager.py, `uses_pages_directory`).
PAGES: Final = {
    "runs": "views/runs.py",
    "compare": "views/compare.py",
    "run": "views/run.py",
    "launch": "views/launch.py",
    "trends": "views/trends.py",
    "versions": "views/versions.py",
    "health": "views/health.py",
}


def external_link(address: object, s3_endpoint: str | None = None) -> str | None:
    """Return an address from a run in a form that a browser may follow, None when it may not.

    Addresses of `gs://` and `s3://` become the pages of their consoles.

    Args:
        address: any value.
        s3_endpoint: the server of `s3://`, None for Amazon's. There is no page for buckets of other
            servers.

    Example:
        >>> external_link("gs://bucket/model")
        'https://console.cloud.google.com/storage/browser/bucket/model'
        >>> external_link("javascript:alert(1)") is None
        True
    """
    if not isinstance(address, str) or _has_blanks(address):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in ALLOWED_SCHEMES or not parts.netloc:
        return None
    bucket = quote(parts.netloc)
    if parts.scheme == "gs":
        return f"https://console.cloud.google.com/storage/browser/{bucket}{quote(parts.path)}"
    if parts.scheme == "s3":
        if not _is_amazon(s3_endpoint):
            return None
        prefix = quote(parts.path.lstrip("/"))
        return f"https://s3.console.aws.amazon.com/s3/buckets/{bucket}?prefix={prefix}"
    return address


def _has_blanks(address: str) -> bool:
    """Return whether an address has blanks or control characters.

    Browsers remove some of them: `java\\nscript:` is `javascript:` to a browser, but not to
    `urlsplit`.
    """
    return any(character.isspace() or ord(character) < 32 for character in address)


def _is_amazon(s3_endpoint: str | None) -> bool:
    if s3_endpoint is None:
        return True
    host = urlsplit(s3_endpoint).hostname or ""
    return host.endswith(_AMAZON_DOMAIN)
