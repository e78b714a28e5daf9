"""Tests which permissions this machine has in a bucket on S3."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.services.storage.bucket import Bucket, MultipartBucket
from kfgcp.services.storage.client_errors import describe_error, http_status, s3_error_code
from kfgcp.services.storage.connect import connect_bucket
from kfgcp.services.storage.listing import folder_prefix, list_objects
from kfgcp.services.storage.problems import StorageProblem, storage_problem
from kfgcp.services.storage.retry import call_with_retries

# Errors of boto3 about credentials. With them no request was sent.
_SIGN_IN_ERRORS: Final = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "CredentialRetrievalError",
        "ConfigParseError",
    }
)


class MissingBucketError(Exception):
    """There is no such bucket."""


class SignInProblem(StorageProblem):
    """This machine has no credentials for a store, or they cannot be read."""


def refused_permissions(root: str, settings: BucketSettings = DEFAULTS) -> dict[str, str]:
    """Return the permissions that this machine lacks for a pipeline root on S3.

    Nothing is written. An upload is started and then cancelled, because S3 has no request that asks
    for permissions.

    Args:
        root: `s3://BUCKET/FOLDER` or `minio://BUCKET/FOLDER`.
        settings: where the store is.

    Returns:
        The answer of the store for each missing permission, by Amazon's name, such as
        `s3:PutObject`. Empty when the bucket can be used.

    Raises:
        MissingBucketError: the store has no such bucket.
        SignInProblem: this machine has no credentials for the store.
        StorageProblem: the library is missing, or the store does not answer.
    """
    try:
        bucket, folder = connect_bucket(root, settings)
        requests = _test_requests(bucket, folder_prefix(folder))
        refused: dict[str, str] = {}
        for permission, request in requests.items():
            answer = _refusal(request, settings.request_seconds)
            if answer is not None:
                refused[permission] = answer
    except MissingBucketError:
        raise
    except Exception as error:
        if type(error).__name__ in _SIGN_IN_ERRORS:
            raise SignInProblem(
                f"this machine has no credentials for {root}: {describe_error(error)}"
            ) from None
        raise storage_problem(root, "checked", error) from None
    return refused


def _test_requests(bucket: Bucket, prefix: str) -> dict[str, Callable[[], object]]:
    """Return a request for each permission that a run needs. They change nothing in the bucket."""
    # No object has this name. S3 answers 404 to those who may read it, and 403 to others.
    unused_key = f"{prefix}kfgcp-doctor-{uuid.uuid4().hex}"
    requests: dict[str, Callable[[], object]] = {
        "s3:ListBucket": lambda: list_objects(bucket, prefix, limit=1),
        "s3:GetObject": lambda: bucket.find(unused_key),
    }
    if isinstance(bucket, MultipartBucket):
        requests["s3:PutObject"] = lambda: bucket.start_parts(unused_key).abort()
    return requests


def _refusal(request: Callable[[], object], seconds: float) -> str | None:
    """Return the answer to a request that needs a missing permission, None when it is allowed.

    Raises:
        MissingBucketError: the store has no such bucket.
        Exception: another error of the client library.
    """
    try:
        call_with_retries(seconds, request)
    except Exception as error:
        if s3_error_code(error) == "NoSuchBucket":
            raise MissingBucketError from None
        if http_status(error) != HTTPStatus.FORBIDDEN:
            raise
        return describe_error(error)
    return None
