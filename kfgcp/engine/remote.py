"""Input artifacts that lie in a bucket: copied to this machine before a task that reads them starts.

Inside a task `gs://bucket/key` is found at `/gcs/bucket/key`, and likewise for s3 and minio (semantics.md, Artifacts).
Where such a mount is not there, the copy lies at the same place below a folder of the run.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kfgcp.engine.placeholders import MOUNTS
from kfgcp.engine.values import ArtifactValue, ValueProblem

_EXTRAS = {"gs": "gcp", "s3": "s3", "minio": "s3"}


def to_copy(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that must be copied to `folder` first: in a bucket, not mounted, not copied yet."""
    uris = {item.uri for item in artifacts if item.uri.partition("://")[0] in MOUNTS}
    return sorted(uri for uri in uris if not _mount(uri).exists() and not place(uri, folder).exists())


def place(uri: str, folder: Path) -> Path:
    """Where the copy of a URI lies below `folder`: `gcs/bucket/key` for `gs://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    safe = "/".join(part for part in rest.split("/") if part not in ("", ".", ".."))
    return folder / MOUNTS[scheme] / safe


def copy(uri: str, folder: Path) -> None:
    """Copies an object, or all below a prefix, to its place below `folder`.

    Raises:
        ValueProblem: the library for it is missing, or the store refused; one line.
    """
    scheme = uri.partition("://")[0]
    target = place(uri, folder)
    partial = target.with_name(f".{uuid.uuid4().hex}")
    try:
        from cloudpathlib import CloudPath

        source: Any = CloudPath(uri.replace("minio://", "s3://", 1))  # type: ignore[abstract]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            source.copytree(partial)
        else:
            source.download_to(partial)
        os.rename(partial, target)
    except ImportError:
        raise ValueProblem(f"reading {uri} needs a library: pip install 'kfgcp[{_EXTRAS[scheme]}]'") from None
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():  # another task may have copied it meanwhile
            said = " ".join(str(error).split()) or type(error).__name__
            raise ValueProblem(f"{uri} cannot be read: {said[:500]}") from None


def _mount(uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return Path("/", MOUNTS[scheme], rest.partition("/")[0])
