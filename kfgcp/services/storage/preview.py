"""Looks at what lies in a bucket without copying it: the beginning of an object, the names below a
prefix.

For `gs://`, `s3://` and `minio://`. What goes wrong is one of our errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from kfgcp.services.storage import transfer
from kfgcp.services.storage.bucket import StoredObject
from kfgcp.services.storage.client_errors import describe, status_of
from kfgcp.services.storage.connect import NoAddressError, open_bucket
from kfgcp.services.storage.uris import EXTRAS, sign_in_hint

MISSING_HINT: Final = "It may have been deleted, or never written."

_ADDRESS: Final = (
    "Write s3_endpoint into the environment, or set AWS_ENDPOINT_URL=http://HOST:PORT."
)


def read_beginning(uri: str, size: int, settings: BucketSettings = DEFAULTS) -> bytes | None:
    """At most the first `size` bytes of an object, and no more are asked for; None when there is no
    such object.

    Args:
        uri: of the object.
        size: more than 0.
        settings: of the environment.

    Raises:
        NotFound: there is no such bucket.
        MissingExtra: the library for the store is not installed.
        ConfigError: the address of the store is not known.
        BackendError: the store refused it, or cannot be reached.
    """
    key = _key(uri)
    if not key or key.endswith("/"):
        return None

    def read() -> bytes:
        bucket, _ = open_bucket(uri, settings)  # signs in, which takes time too
        return bucket.beginning(key, size)

    try:
        with _our_errors(uri):
            return transfer.look(settings.request_seconds, read)
    except NotFound:
        return None
    except Refused as error:
        if error.status == 416:  # an empty object has no first byte
            return b""
        raise


def list_names(uri: str, most: int, settings: BucketSettings = DEFAULTS) -> list[str]:
    """Return the names of at most `most` objects below a prefix, without it, sorted. Raises what
    `read_beginning` does."""
    prefix = transfer.folder_prefix(_key(uri))

    def read() -> list[StoredObject]:
        bucket, _ = open_bucket(uri, settings)
        return transfer.list_objects(
            bucket, prefix, most + 1
        )  # one more, because the prefix itself may be an object

    with _our_errors(uri):
        stored = transfer.look(settings.request_seconds, read)
    names = sorted(each.key.removeprefix(prefix) for each in stored if each.key != prefix)
    return names[:most]


def _key(uri: str) -> str:
    """Return the key of a URI, which must name a bucket."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise NotFound(f"{uri} names no bucket.", hint=f"Its form is {scheme}://BUCKET/KEY.")
    return key


@contextmanager
def _our_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except KfgcpError:
        raise
    except Exception as error:
        raise _ours(uri, error) from None


def _ours(uri: str, error: Exception) -> KfgcpError:
    """The error of a client library as one of ours: they tell the status of HTTP in ways of their
    own."""
    scheme = uri.partition("://")[0]
    if isinstance(error, ImportError):
        return MissingExtra(f"Reading {uri}", EXTRAS[scheme])
    if isinstance(error, NoAddressError):
        return ConfigError(f"{uri} cannot be read: {error}.", hint=_ADDRESS)
    said = describe(error)
    status = status_of(error)
    if status == 401 or _of_sign_in(error):
        return AuthError(f"{uri} cannot be read without signing in: {said}", hint=sign_in_hint(uri))
    if status == 404:
        return NotFound(f"{uri} does not exist.", hint=MISSING_HINT, status=404, reason="NOT_FOUND")
    if status == 403:
        hint = "Who is signed in needs a role that may read the bucket."
        return Refused(
            f"{uri} may not be read: {said}", hint=hint, status=403, reason="PERMISSION_DENIED"
        )
    if 400 <= status < 500:
        return Refused(f"{uri} cannot be read: {said}", status=status)
    return Unreachable(f"{uri} cannot be read: {said}")


def _of_sign_in(error: Exception) -> bool:
    kind = type(error)
    if kind.__module__.startswith("google.auth"):
        return kind.__name__ != "TransportError"
    return "Credential" in kind.__name__  # of botocore
