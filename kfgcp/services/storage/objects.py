"""Download from a URI, upload to a URI, and check that a URI exists.

The URIs begin with `gs://`, `s3://` or `minio://`. Every error is a `StorageProblem`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.services.storage import downloads, listing, uploads
from kfgcp.services.storage.connect import connect_bucket
from kfgcp.services.storage.problems import NothingStored, storage_problem
from kfgcp.services.storage.retry import call_with_retries


def download(uri: str, target: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy an object to a file, or all objects below a prefix to a folder.

    The target appears only when it is complete.

    Args:
        uri: the URI of the object or of the prefix.
        target: the new file or folder.
        settings: the settings for buckets of the environment.

    Raises:
        StorageProblem: the client library is not installed, the store refused a request, or it does
            not answer.
        NothingStored: the store has nothing at this URI.
    """
    partial = target.with_name(f".{uuid.uuid4().hex}")
    try:
        bucket, key = connect_bucket(uri, settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        downloads.download(bucket, key, partial, settings.request_seconds)
        os.rename(partial, target)
    except Exception as error:
        _remove(partial)
        # Another task may have copied the same object at the same time. Then its copy is used.
        if not os.path.exists(target):
            problem = storage_problem(uri, "read", error)
            if isinstance(error, downloads.NothingThereError):
                problem = NothingStored(str(problem))
            raise problem from None


def upload(uri: str, source: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy a file or a folder to a bucket.

    Args:
        uri: the URI of the new object, or the prefix for the files of a folder.
        source: the file or the folder.
        settings: the settings for buckets of the environment.

    Raises:
        StorageProblem: see `download`.
    """
    try:
        bucket, key = connect_bucket(uri, settings)
        uploads.upload(bucket, key, source, settings.request_seconds)
    except Exception as error:
        raise storage_problem(uri, "written", error) from None


def exists(uri: str, settings: BucketSettings = DEFAULTS) -> bool:
    """Return whether a URI is the URI of an object, or of a folder with objects.

    Raises:
        StorageProblem: see `download`.
    """
    try:
        bucket, key = connect_bucket(uri, settings)
        return call_with_retries(settings.request_seconds, lambda: listing.exists(bucket, key))
    except Exception as error:
        raise storage_problem(uri, "checked", error) from None


def check_root(root: str, settings: BucketSettings = DEFAULTS) -> None:
    """Check that this machine may list the bucket of a pipeline root.

    Raises:
        StorageProblem: see `download`. Also the bucket does not exist.
    """
    try:
        bucket, key = connect_bucket(root, settings)
        prefix = listing.folder_prefix(key)
        call_with_retries(
            settings.request_seconds, lambda: listing.list_objects(bucket, prefix, limit=1)
        )
    except Exception as error:
        raise storage_problem(root, "listed", error) from None


def _remove(path: Path) -> None:
    """Remove what a failed download left."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
