"""Open the bucket of a URI with the client library of its store."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Final

from kfgcp.bucket_settings import BucketSettings
from kfgcp.services.storage.client_errors import has_response
from kfgcp.services.storage.gcs import GcsBucket, storage_client
from kfgcp.services.storage.reachability import ReachabilityChecks
from kfgcp.services.storage.s3 import S3Bucket, s3_client
from kfgcp.services.storage.uris import split_uri

_REACHABILITY: Final = ReachabilityChecks()

_IMPORT_LOCK: Final = threading.Lock()


class NoAddressError(Exception):
    """The error for a store whose address kfgcp does not know."""


def open_bucket(uri: str, settings: BucketSettings) -> tuple[GcsBucket | S3Bucket, str]:
    """Return the bucket of a URI, and the key in the URI. No request goes to the bucket yet.

    Raises:
        NoAddressError: the URI is a `minio://` URI, and no setting has the address of the server.
        ImportError: the client library is not installed.
    """
    scheme, name, key = split_uri(uri)
    if scheme == "gs":
        return GcsBucket(storage_client(), name), key
    endpoint = settings.endpoint
    if scheme == "minio" and not endpoint:
        raise NoAddressError(
            "kfgcp does not know the address of the server, because s3_endpoint and"
            " AWS_ENDPOINT_URL are not set"
        )
    return S3Bucket(s3_client(endpoint, settings.s3_region, settings.s3_addressing), name), key


def connect_bucket(uri: str, settings: BucketSettings) -> tuple[GcsBucket | S3Bucket, str]:
    """Check that the store of a URI answers, and return the same as `open_bucket`.

    Raises:
        NoAnswerError: the store did not answer in time.
        NoAddressError: as for `open_bucket`.
        ImportError: the client library is not installed.
        Exception: an error of the client library: the connection or the sign-in failed.
    """
    scheme, name, _ = split_uri(uri)
    library = "boto3"
    address = settings.endpoint
    if scheme == "gs":
        library = "google.cloud.storage"
        address = os.environ.get("STORAGE_EMULATOR_HOST")
    # The import is slow, so it comes before the time limit of the first request begins. It needs a
    # lock, because several threads copy at the same time. The libraries have circular imports, with
    # which a second thread could get a module that is not complete.
    with _IMPORT_LOCK:
        import_module(library)
    store_name = f"{scheme}://{name} at {address}"
    _REACHABILITY.ensure_reachable(store_name, lambda: _send_first_request(uri, settings))
    return open_bucket(uri, settings)


def _send_first_request(uri: str, settings: BucketSettings) -> None:
    """Send one request to the store of a URI. Raise an error when the store does not answer."""
    bucket, _ = open_bucket(uri, settings)
    try:
        bucket.send_first_request()
    except Exception as error:
        # Any answer proves that the store can be reached, also the answer "not allowed".
        if not has_response(error):
            raise
