"""Copies of artifacts in buckets: made before a task that reads them starts, and copied to the
bucket after a task that wrote them.

Inside a task `gs://bucket/key` is found at `/gcs/bucket/key`, and likewise for s3 and minio
(semantics.md, Artifacts). Where such a mount is not there, the copy lies at the same place below a
folder of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.semantics.values import ArtifactValue
from kfgcp.services.storage import objects
from kfgcp.services.storage.uris import is_bucket_uri


def uris_to_download(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that must be copied to `folder` first: in a bucket, not mounted, not copied
    yet."""
    uris = {artifact.uri for artifact in artifacts if is_bucket_uri(artifact.uri)}
    return sorted(
        uri
        for uri in uris
        if not os.path.exists(_mount(uri)) and not os.path.exists(copy_path(uri, folder))
    )


def uris_to_upload(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that were written below `folder` and belong in a bucket."""
    uris = {artifact.uri for artifact in artifacts if is_bucket_uri(artifact.uri)}
    return sorted(uri for uri in uris if os.path.exists(copy_path(uri, folder)))


def make_output_folders(wire: Mapping[str, Any], folder: Path) -> None:
    """Makes the folders below `folder` for the output artifacts of an ExecutorInput that go to a
    bucket."""
    for output in wire["outputs"]["artifacts"].values():
        for artifact in output["artifacts"]:
            if is_bucket_uri(artifact["uri"]):
                copy_path(artifact["uri"], folder).parent.mkdir(parents=True, exist_ok=True)


def copy_path(uri: str, folder: Path) -> Path:
    """Where the copy of a URI lies below `folder`: `gcs/bucket/key` for `gs://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    safe = "/".join(part for part in rest.split("/") if part not in ("", ".", ".."))
    return folder / MOUNTS[scheme] / safe


def download(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy an object, or all below a prefix, to its place below `folder`.

    Raises:
        StorageProblem: the library for it is missing, or the store refused; one line.
    """
    objects.download(uri, copy_path(uri, folder), settings)


def upload(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy the file or folder at the URI's place below `folder` to the bucket.

    Raises:
        StorageProblem: the library for it is missing, or the store refused; one line.
    """
    objects.upload(uri, copy_path(uri, folder), settings)


def _mount(uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return Path("/", MOUNTS[scheme], rest.partition("/")[0])
