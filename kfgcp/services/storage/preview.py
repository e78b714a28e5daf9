"""Read the beginning of an object, and the names in a folder, without a download.

The URIs begin with `gs://`, `s3://` or `minio://`. Every error is an error of `kfgcp.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.errors import (
    AuthError,
    ConfigError,
    KfgcpError,
    MissingExtra,
    NotFound,
    Refused,
    Unreachable,
)
from kfgcp.services.storage.bucket import StoredObject
from kfgcp.services.storage.client_errors import describe_error, http_status
from kfgcp.services.storage.connect import NoAddressError, open_bucket
from kfgcp.services.storage.listing import folder_prefix, list_objects
from kfgcp.services.storage.retry import call_with_retries
from kfgcp.services.storage.uris import EXTRAS, sign_in_hint, split_uri

MISSING_HINT: Final = "The file may have been deleted, or was never written."

_ADDRESS_HINT: Final = (
    "Set s3_endpoint in [env.NAME] of kfgcp.toml, or the variable"
    " AWS_ENDPOINT_URL=http://HOST:PORT in your shell."
)


def read_beginning(uri: str, size: int, settings: BucketSettings = DEFAULTS) -> bytes | None:
    """Return the first bytes of an object, None when there is no such object.

    Args:
        uri: the URI of the object.
        size: the most bytes to request, more than 0.
        settings: the settings for buckets of the environment.

    Raises:
        NotFound: the URI does not contain the name of a bucket.
        MissingExtra: the client library for the store is not installed.
        ConfigError: no setting has the address of the store.
        BackendError: the store refused the request, or it cannot be reached.
    """
    key = _key_in_bucket(uri)
    if not key or key.endswith("/"):
        return None

    def open_and_read() -> bytes:
        # The sign-in takes time, too. So the bucket is opened within the time limit.
        bucket, _ = open_bucket(uri, settings)
        return bucket.read_beginning(key, size)

    try:
        with _kfgcp_errors(uri):
            return call_with_retries(settings.request_seconds, open_and_read)
    except NotFound:
        return None
    except Refused as error:
        # An empty object has no first byte. So the store answers that the range does not exist.
        if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        raise


def list_names(uri: str, limit: int, settings: BucketSettings = DEFAULTS) -> list[str]:
    """Return the names of objects in a folder, sorted.

    Args:
        uri: the URI of the folder. The names do not include it.
        limit: the most names to return.
        settings: the settings for buckets of the environment.

    Raises:
        KfgcpError: the same errors as `read_beginning`, and NotFound for a missing bucket.
    """
    prefix = folder_prefix(_key_in_bucket(uri))

    def open_and_list() -> list[StoredObject]:
        bucket, _ = open_bucket(uri, settings)
        # One more than the limit, because an object may have the prefix as its key.
        return list_objects(bucket, prefix, limit + 1)

    with _kfgcp_errors(uri):
        objects = call_with_retries(settings.request_seconds, open_and_list)
    names = sorted(stored.key.removeprefix(prefix) for stored in objects if stored.key != prefix)
    return names[:limit]


def _key_in_bucket(uri: str) -> str:
    """Return the key of a URI, and raise NotFound when the URI has no bucket."""
    scheme, bucket, key = split_uri(uri)
    if not bucket:
        raise NotFound(
            f"{uri} does not contain the name of a bucket.", hint=f"Write {scheme}://BUCKET/KEY."
        )
    return key


@contextmanager
def _kfgcp_errors(uri: str) -> Iterator[None]:
    """Convert the errors of a client library in this block to errors of kfgcp."""
    try:
        yield
    except KfgcpError:
        raise
    except Exception as error:
        raise _to_kfgcp_error(uri, error) from None


def _to_kfgcp_error(uri: str, error: Exception) -> KfgcpError:
    """Return the error of kfgcp for an error of a client library."""
    if isinstance(error, ImportError):
        scheme, _, _ = split_uri(uri)
        return MissingExtra(f"Reading {uri}", EXTRAS[scheme])
    if isinstance(error, NoAddressError):
        return ConfigError(f"{uri} cannot be read: {error}.", hint=_ADDRESS_HINT)
    description = describe_error(error)
    status = http_status(error)
    if status == HTTPStatus.UNAUTHORIZED or _is_sign_in_error(error):
        return AuthError(
            f"{uri} cannot be read without signing in: {description}", hint=sign_in_hint(uri)
        )
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(
            f"{uri} does not exist.", hint=MISSING_HINT, status=status, reason="NOT_FOUND"
        )
    if status == HTTPStatus.FORBIDDEN:
        return Refused(
            f"You are not allowed to read {uri}: {description}",
            hint="Ask for a role that allows your account to read the bucket.",
            status=status,
            reason="PERMISSION_DENIED",
        )
    if 400 <= status < 500:
        return Refused(f"{uri} cannot be read: {description}", status=status)
    return Unreachable(f"{uri} cannot be read: {description}")


def _is_sign_in_error(error: Exception) -> bool:
    """Return whether an error without a status is about missing or wrong credentials."""
    kind = type(error)
    if kind.__module__.startswith("google.auth"):
        return kind.__name__ != "TransportError"
    # botocore has NoCredentialsError, CredentialRetrievalError and others.
    return "Credential" in kind.__name__
