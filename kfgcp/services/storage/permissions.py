"""Which permissions this machine lacks for a bucket on S3."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.services.storage import transfer
from kfgcp.services.storage.bucket import UploadsInParts
from kfgcp.services.storage.client_errors import describe, status_of
from kfgcp.services.storage.connect import connect_bucket
from kfgcp.services.storage.problems import StorageProblem, storage_problem


class MissingBucketError(Exception):
    """There is no such bucket."""


class SignInProblem(StorageProblem):
    """This machine has no credentials for a store, or they cannot be read."""


_SIGN_IN_ERRORS: Final = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "CredentialRetrievalError",
        "ConfigParseError",
    }
)
"""Errors of boto3 about credentials; no request was sent."""


def refused_permissions(root: str, settings: BucketSettings = DEFAULTS) -> dict[str, str]:
    """Return the permissions that this machine lacks for a pipeline root on S3, with the answer of
    the store to each.

    Nothing is written. An upload is started and then cancelled, because S3 has no request that asks
    for permissions.

    Args:
        root: `s3://BUCKET/FOLDER` or `minio://BUCKET/FOLDER`.
        settings: where the store is.

    Returns:
        Names of permissions by Amazon's names, such as `s3:PutObject`. Empty when the bucket can be
        used.

    Raises:
        MissingBucketError: the store has no such bucket.
        SignInProblem: this machine has no credentials for the store.
        StorageProblem: the library for it is missing, or the store does not answer; one line.
    """
    try:
        bucket, folder = connect_bucket(root, settings)
        prefix = transfer.folder_prefix(folder)
        # Nobody has an object of this name. The answer is 404 to those who may read, and 403 to
        # others.
        probe = f"{prefix}kfgcp-doctor-{uuid.uuid4().hex}"
        requests: dict[str, Callable[[], object]] = {
            "s3:ListBucket": lambda: transfer.list_objects(bucket, prefix, 1),
            "s3:GetObject": lambda: bucket.find(probe),
        }
        if isinstance(bucket, UploadsInParts):
            requests["s3:PutObject"] = lambda: bucket.start_parts(probe).abandon()
        refused = {}
        for permission, request in requests.items():
            try:
                transfer.look(settings.request_seconds, request)
            except Exception as error:
                if _code(error) == "NoSuchBucket":
                    raise MissingBucketError from None
                if status_of(error) != HTTPStatus.FORBIDDEN:
                    raise
                refused[permission] = describe(error)
    except MissingBucketError:
        raise
    except Exception as error:
        if type(error).__name__ in _SIGN_IN_ERRORS:
            raise SignInProblem(
                f"this machine has no credentials for {root}: {describe(error)}"
            ) from None
        raise storage_problem(root, "checked", error) from None
    return refused


def _code(error: Exception) -> str:
    """Return the code that S3 gives an error, such as `NoSuchBucket`; "" when it is another
    error."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    return str(details.get("Code") or "") if details else ""
