"""Turn a path or URL into a store and a key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kfgcp_components.data.copy_files.stores import LocalStore, Store
from kfgcp_components.messages import one_line

# The scheme of a URL -> the extra of kfgcp with the client library.
EXTRAS = {"gs": "gcp", "s3": "s3"}


@dataclass(frozen=True)
class Location:
    """A file or folder in a store.

    Attributes:
        text: the path or URL, as the user wrote it.
        store: the store.
        key: the absolute path, or the key in the bucket without a slash at the end.
        is_folder: whether the text ends with a slash, so that it can only mean a folder.
    """

    text: str
    store: Store
    key: str
    is_folder: bool

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine."""
        return isinstance(self.store, LocalStore)

    def join(self, relative: str) -> str:
        """Return the key of a file below this folder.

        Raises:
            ValueError: the file would be outside of the folder.
        """
        if self.is_local:
            parts = relative.split("/")
            if any(part in ("", ".", "..") or "\0" in part for part in parts):
                raise ValueError(
                    f"the name {one_line(repr(relative), 100)} cannot be a path below {self.text};"
                    " rename the object"
                )
            return str(Path(self.key, *parts))
        return f"{self.key}/{relative}" if self.key else relative


def locate(text: str, role: str) -> Location:
    """Return the store and the key of a path or URL.

    Args:
        text: a path, or a file://, gs:// or s3:// URL. A relative path is relative to the folder in
            which the run was submitted.
        role: source or target, for error messages.

    Raises:
        ValueError: the text is empty, has another scheme, or names no bucket.
        ImportError: the extra for this scheme is not installed.
    """
    if not text.strip():
        raise ValueError(f"the {role} is empty; give a path, or a gs:// or s3:// URL")
    if "://" not in text:
        return _local(text, Path(text).expanduser())
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"the {role} {text} names a host; write file:///path")
        return _local(text, Path(url2pathname(parts.path)))
    if scheme not in EXTRAS:
        raise ValueError(f"the {role} {text} is not a path and not a file, gs or s3 URL")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise ValueError(f"the {role} {text} names no bucket; write {scheme}://BUCKET/FOLDER")
    try:
        store = _open_bucket(scheme, bucket)
    except ImportError as error:
        raise ImportError(
            f"the {role} {text} needs more packages: pip install 'kfgcp[{EXTRAS[scheme]}]'"
        ) from error
    return Location(text, store, key.rstrip("/"), text.endswith("/") or not key)


def _local(text: str, path: Path) -> Location:
    # The engine runs a task in a folder of its own, and sets this variable to the folder in which
    # the run was started. An absolute path stays as it is.
    folder = os.environ.get("KFGCP_SUBMIT_DIR") or Path.cwd()
    key = os.path.abspath(Path(folder) / path)
    return Location(text, LocalStore(), key, text.endswith("/"))


def _open_bucket(scheme: str, bucket: str) -> Store:
    if scheme == "gs":
        from kfgcp_components.data.copy_files.gcs import GcsStore

        return GcsStore(bucket)
    from kfgcp_components.data.copy_files.s3 import S3Store

    return S3Store(bucket)
