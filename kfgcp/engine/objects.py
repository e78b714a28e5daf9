"""Looks at what lies in a bucket without copying it: the beginning of an object, the names below a prefix.

For `gs://`, `s3://` and `minio://`, with the clients of `kfgcp.engine.remote`. What goes wrong is one of our errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from kfgcp.deadlines import call_within
from kfgcp.engine import remote
from kfgcp.errors import AuthError, ConfigError, KfgcpError, MissingExtra, NotFound, Refused, Unreachable

SECONDS: Final = 15.0
"""How long a request to Cloud Storage is tried again: somebody waits for the answer."""

LOOK_SECONDS: Final = 60.0
"""How long reading the beginning of an object, or listing names, may take, with all repeats and pages."""

GONE: Final = "It may have been deleted, or never written."

_SIGN_IN: Final = {
    "gs": "Sign in: gcloud auth application-default login",
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    "minio": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of the MinIO server.",
}


def beginning(uri: str, size: int) -> bytes | None:
    """At most the first `size` bytes of an object, and no more are asked for; None when there is no such object.

    Raises:
        NotFound: there is no such bucket.
        MissingExtra: the library for the store is not installed.
        ConfigError: the address of the store is not known.
        BackendError: the store refused it, or cannot be reached.
    """
    _, _, key = _parts(uri)
    if not key or key.endswith("/"):
        return None
    try:
        with _our_errors(uri):
            return call_within(LOOK_SECONDS, lambda: _read_beginning(uri, size))
    except NotFound:
        return None
    except Refused as error:
        if error.status == 416:  # an empty object has no first byte
            return b""
        raise


def _read_beginning(uri: str, size: int) -> bytes:
    scheme, bucket, key = _parts(uri)
    client = remote.client(uri).client
    if scheme == "gs":
        content: bytes = client.bucket(bucket).blob(key).download_as_bytes(start=0, end=size - 1, retry=_retry())
    else:
        answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{size - 1}")
        with answer["Body"] as body:
            content = body.read(size)
    return content[:size]


def below(uri: str, most: int) -> list[str]:
    """Return the names of at most `most` objects below a prefix, without it, sorted. Raises what `beginning` does."""
    _, bucket, key = _parts(uri)
    prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
    with _our_errors(uri):
        names = call_within(LOOK_SECONDS, lambda: _list_names(uri, bucket, prefix, most + 1))
    return sorted(name.removeprefix(prefix) for name in names if name != prefix)[:most]


def _list_names(uri: str, bucket: str, prefix: str, most: int) -> list[str]:
    client = remote.client(uri).client
    if uri.startswith("gs://"):
        blobs = client.list_blobs(bucket, prefix=prefix, max_results=most, retry=_retry())
        return [str(blob.name) for blob in blobs]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = (stored for page in pages for stored in page.get("Contents") or ())
    return [str(stored["Key"]) for stored in islice(objects, most)]


def _parts(uri: str) -> tuple[str, str, str]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise NotFound(f"{uri} names no bucket.", hint=f"Its form is {scheme}://BUCKET/KEY.")
    return scheme, bucket, key


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(SECONDS)


@contextmanager
def _our_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except KfgcpError:
        raise
    except Exception as error:
        raise _ours(uri, error) from None


def _ours(uri: str, error: Exception) -> KfgcpError:
    """The error of a client library as one of ours: they tell the status of HTTP in ways of their own."""
    scheme = uri.partition("://")[0]
    if isinstance(error, ImportError):
        return MissingExtra(f"Reading {uri}", remote.EXTRAS[scheme])
    if isinstance(error, remote.NoAddressError):
        return ConfigError(f"{uri} cannot be read: {error}.", hint="Set AWS_ENDPOINT_URL=http://HOST:PORT")
    said = (" ".join(str(error).split()) or type(error).__name__)[:500]
    answer = getattr(error, "response", None)
    metadata = answer.get("ResponseMetadata") if isinstance(answer, dict) else None
    status = (metadata or {}).get("HTTPStatusCode") or getattr(error, "code", None)
    status = int(status) if isinstance(status, int) else 0
    if status == 401 or _of_sign_in(error):
        return AuthError(f"{uri} cannot be read without signing in: {said}", hint=_SIGN_IN[scheme])
    if status == 404:
        return NotFound(f"{uri} does not exist.", hint=GONE, status=404, reason="NOT_FOUND")
    if status == 403:
        hint = "Who is signed in needs a role that may read the bucket."
        return Refused(f"{uri} may not be read: {said}", hint=hint, status=403, reason="PERMISSION_DENIED")
    if 400 <= status < 500:
        return Refused(f"{uri} cannot be read: {said}", status=status)
    return Unreachable(f"{uri} cannot be read: {said}")


def _of_sign_in(error: Exception) -> bool:
    kind = type(error)
    if kind.__module__.startswith("google.auth"):
        return kind.__name__ != "TransportError"
    return "Credential" in kind.__name__  # of botocore
