"""Test which permissions this machine has in a bucket of S3, for `kfgcp doctor`."""

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

# The classes of boto3's errors about credentials. boto3 raises them before it sends a request.
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
    """The error for a bucket that does not exist."""


class SignInProblem(StorageProblem):
    """The error when this machine has no credentials for a store, or cannot read them."""


def refused_permissions(root: str, settings: BucketSettings = DEFAULTS) -> dict[str, str]:
    """Return the permissions that this machine lacks for a pipeline root on S3.

    S3 has no request that tells which permissions the caller has. So this function tries requests
    that need them. The bucket does not change: an upload is started and cancelled.

    Args:
        root: `s3://BUCKET/FOLDER` or `minio://BUCKET/FOLDER`.
        settings: the environment's settings for buckets.

    Returns:
        The missing permissions by Amazon's name, such as `s3:PutObject`, each with the refusal of
        the store. {} when no permission is missing.

    Raises:
        MissingBucketError: the store has no such bucket.
        SignInProblem: this machine has no credentials for the store.
        StorageProblem: the client library is not installed, or the store does not answer.
    """
    try:
        bucket, folder = connect_bucket(root, settings)
        requests = _test_requests(bucket, folder_prefix(folder))
        refusals: dict[str, str] = {}
        for permission, request in requests.items():
            refusal = _send_test(request, settings.request_seconds)
            if refusal is not None:
                refusals[permission] = refusal
    except MissingBucketError:
        raise
    except Exception as error:
        if type(error).__name__ in _SIGN_IN_ERRORS:
            raise SignInProblem(
                f"this machine has no credentials for {root}: {describe_error(error)}"
            ) from None
        raise storage_problem(root, "checked", error) from None
    return refusals


def _test_requests(bucket: Bucket, prefix: str) -> dict[str, Callable[[], object]]:
    """Return a request for each permission that a run needs. They do not change the bucket."""
    # No object has this key. S3 answers 404 when this machine may read objects, and 403 when it may
    # not.
    unused_key = f"{prefix}kfgcp-doctor-{uuid.uuid4().hex}"
    requests: dict[str, Callable[[], object]] = {
        "s3:ListBucket": lambda: list_objects(bucket, prefix, limit=1),
        "s3:GetObject": lambda: bucket.find(unused_key),
    }
    if isinstance(bucket, MultipartBucket):
        requests["s3:PutObject"] = lambda: bucket.start_parts(unused_key).abort()
    return requests


def _send_test(request: Callable[[], object], seconds: float) -> str | None:
    """Send a request, and return the refusal of the store. None means that it is allowed.

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
