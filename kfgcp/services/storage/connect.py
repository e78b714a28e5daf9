"""Opens the bucket of a URI with the client library of its store."""

from __future__ import annotations

import os
import threading
from importlib import import_module

from kfgcp.bucket_settings import BucketSettings
from kfgcp.services.storage.bucket import Bucket
from kfgcp.services.storage.client_errors import is_answer
from kfgcp.services.storage.gcs import GcsBucket, storage_client
from kfgcp.services.storage.reachability import Contacts
from kfgcp.services.storage.s3 import S3Bucket, s3_client


class NoAddressError(Exception):
    """It is not known where a store is."""


def open_bucket(uri: str, settings: BucketSettings) -> tuple[GcsBucket | S3Bucket, str]:
    """Return the bucket of a URI, and the key in it. No request is sent.

    Raises:
        NoAddressError: it is `minio://`, and nothing says where the server is.
        ImportError: the library is missing.
    """
    scheme, _, rest = uri.partition("://")
    name, _, key = rest.partition("/")
    if scheme == "gs":
        return GcsBucket(storage_client(), name), key
    endpoint = settings.endpoint
    if scheme == "minio" and not endpoint:
        raise NoAddressError(
            "the address of the server is not known: neither s3_endpoint nor AWS_ENDPOINT_URL"
            " is set"
        )
    return S3Bucket(s3_client(endpoint, settings.s3_region, settings.s3_addressing), name), key


_CONTACTS = Contacts()
_IMPORTING = threading.Lock()


def connect_bucket(uri: str, settings: BucketSettings) -> tuple[Bucket, str]:
    """Return the bucket of a URI and the key in it, after the store has answered a first request.

    Raises:
        NoAnswerError: the store did not answer in time.
        Exception: an error of the store's client library: there is no connection, or the sign-in
            failed.
    """
    scheme, _, rest = uri.partition("://")
    # These imports are slow, so they come before the time that an answer may take. They need a
    # lock, because several threads copy at the same time, and circular imports could show a second
    # thread a module that is not complete.
    with _IMPORTING:
        import_module("google.cloud.storage" if scheme == "gs" else "boto3")
    name = rest.partition("/")[0]
    address = os.environ.get("STORAGE_EMULATOR_HOST") if scheme == "gs" else settings.endpoint
    _CONTACTS.ensure(f"{scheme}://{name} at {address}", lambda: _send_first_request(uri, settings))
    return open_bucket(uri, settings)


def _send_first_request(uri: str, settings: BucketSettings) -> None:
    """Send one request to the store of a URI. Any answer proves that the store is there, also "not
    allowed"."""
    bucket, _ = open_bucket(uri, settings)
    try:
        bucket.check()
    except Exception as error:
        if not is_answer(error):
            raise
