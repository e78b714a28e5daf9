"""Copies objects and folders between a bucket and this machine, and looks whether they are there.

For `gs://`, `s3://` and `minio://`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.services.storage import transfer
from kfgcp.services.storage.connect import connect_bucket
from kfgcp.services.storage.problems import storage_problem


def download(uri: str, target: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy an object to a file, or all below a prefix to a folder.

    The copy appears when it is whole.

    Args:
        uri: of the object or the prefix.
        target: the file or the folder.
        settings: of the environment.

    Raises:
        StorageProblem: the library for it is missing, or the store refused; one line.
    """
    partial = target.with_name(f".{uuid.uuid4().hex}")
    try:
        bucket, key = connect_bucket(uri, settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer.download(bucket, key, partial, settings.request_seconds)
        os.rename(partial, target)
    except Exception as error:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        if not os.path.exists(target):  # another task may have copied it meanwhile
            raise storage_problem(uri, "read", error) from None


def upload(uri: str, source: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copy a file or a folder to a bucket.

    Raises:
        StorageProblem: the library for it is missing, or the store refused; one line.
    """
    try:
        bucket, key = connect_bucket(uri, settings)
        transfer.upload(bucket, key, source, settings.request_seconds)
    except Exception as error:
        raise storage_problem(uri, "written", error) from None


def exists(uri: str, settings: BucketSettings = DEFAULTS) -> bool:
    """Return whether there is an object at the URI, or one below it.

    Raises:
        StorageProblem: the library for it is missing, or the store refused or does not answer; one
            line.
    """
    try:
        bucket, key = connect_bucket(uri, settings)
        return transfer.look(settings.request_seconds, lambda: transfer.exists(bucket, key))
    except Exception as error:
        raise storage_problem(uri, "looked at", error) from None


def check_root(root: str, settings: BucketSettings = DEFAULTS) -> None:
    """Passes a pipeline root whose bucket can be listed from here.

    Raises:
        StorageProblem: the library for it is missing, there is no such bucket, or it may not be
            read; one line.
    """
    try:
        bucket, key = connect_bucket(root, settings)
        prefix = transfer.folder_prefix(key)
        transfer.look(settings.request_seconds, lambda: transfer.list_objects(bucket, prefix, 1))
    except Exception as error:
        raise storage_problem(root, "listed", error) from None
