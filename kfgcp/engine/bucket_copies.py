"""Local copies of the artifacts in buckets that the tasks of a run read and write.

A task finds `gs://bucket/key` at `/gcs/bucket/key`, and likewise for s3 and minio (semantics.md,
Artifacts). On a machine without this mount, the copy of the artifact is at `gcs/bucket/key` in the
copies folder of the run. The engine downloads it before a task reads it. After a task has written
to the copies folder, the engine uploads the files to the bucket.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.semantics.values import METADATA_ONLY, ArtifactValue
from kfgcp.services.storage import objects
from kfgcp.services.storage.uris import is_bucket_uri, split_uri


def uris_to_download(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """Return the URIs of artifacts that must be downloaded before a task can read them.

    Artifacts whose bucket is mounted, or that were downloaded before, are left out.

    Args:
        artifacts: the input artifacts of the task.
        folder: the copies folder of the run.
    """
    return [uri for uri in _bucket_uris(artifacts) if not _is_on_this_machine(uri, folder)]


def uris_without_files(artifacts: Iterable[ArtifactValue]) -> frozenset[str]:
    """Return the URIs in buckets where nothing may be stored, because the artifact is metadata.

    The launcher of Kubeflow starts a task whose input has no object (DownloadBlob in
    backend/src/v2/objectstore/object_store.go, KFP 2.17). Here only inputs such as metrics are
    allowed to have none: without another input, a task would fail later and less clearly.
    """
    return frozenset(artifact.uri for artifact in artifacts if artifact.type in METADATA_ONLY)


def uris_to_upload(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """Return the URIs of the artifacts that a task wrote below `folder`."""
    return [uri for uri in _bucket_uris(artifacts) if os.path.exists(copy_path(uri, folder))]


def make_output_folders(executor_input: Mapping[str, Any], folder: Path) -> None:
    """Make the folders below `folder` for the output artifacts that go to a bucket.

    Args:
        executor_input: the ExecutorInput of the task, in its JSON form.
        folder: the copies folder of the run.
    """
    for output in executor_input["outputs"]["artifacts"].values():
        for artifact in output["artifacts"]:
            uri = artifact["uri"]
            if is_bucket_uri(uri):
                copy_path(uri, folder).parent.mkdir(parents=True, exist_ok=True)


def copy_path(uri: str, folder: Path) -> Path:
    """Return the path of the copy of a URI below `folder`.

    Example:
        >>> str(copy_path("gs://bucket/key", Path("/copies")))
        '/copies/gcs/bucket/key'
    """
    scheme, _, path = uri.partition("://")
    # With ".." a URI could lead out of the folder.
    safe_parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return Path(folder, MOUNTS[scheme], *safe_parts)


def download(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy an object, or all objects below a prefix, from a bucket to their paths below `folder`.

    Raises:
        StorageProblem: the client library is not installed, or the object store refused the request
            or does not answer.
    """
    objects.download(uri, copy_path(uri, folder), settings)


def upload(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy a file or folder below `folder` to its URI in a bucket.

    Raises:
        StorageProblem: the client library is not installed, or the object store refused the request
            or does not answer.
    """
    objects.upload(uri, copy_path(uri, folder), settings)


def _bucket_uris(artifacts: Iterable[ArtifactValue]) -> list[str]:
    """Return the URIs of the artifacts that are in buckets, sorted and without duplicates."""
    return sorted({artifact.uri for artifact in artifacts if is_bucket_uri(artifact.uri)})


def _is_on_this_machine(uri: str, folder: Path) -> bool:
    """Return whether the bucket of a URI is mounted, or its copy exists."""
    scheme, bucket, _ = split_uri(uri)
    mount_point = Path("/", MOUNTS[scheme], bucket)
    return os.path.exists(mount_point) or os.path.exists(copy_path(uri, folder))
