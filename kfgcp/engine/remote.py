"""Artifacts that lie in a bucket: copied to this machine before a task that reads them starts, and
from it after a task that wrote them.

Inside a task `gs://bucket/key` is found at `/gcs/bucket/key`, and likewise for s3 and minio
(semantics.md, Artifacts). Where such a mount is not there, the copy lies at the same place below a
folder of the run.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.engine.buckets import transfer
from kfgcp.engine.buckets.base import (
    Bucket,
    UploadsInParts,
    describe,
    is_answer,
    is_changed,
    status_of,
)
from kfgcp.engine.buckets.gcs import GcsBucket, storage_client
from kfgcp.engine.buckets.s3 import S3Bucket, s3_client
from kfgcp.engine.contact import Contacts
from kfgcp.errors import MissingExtra
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.semantics.values import ArtifactValue, ValueProblem

EXTRAS = {"gs": "gcp", "s3": "s3", "minio": "s3"}

_SIGN_IN: Final = {
    "gs": "Sign in: gcloud auth application-default login",
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    "minio": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of the MinIO server.",
}


def sign_in_hint(uri: str) -> str:
    """Return how to sign in to the store of a URI."""
    return _SIGN_IN[uri.partition("://")[0]]


def is_remote(uri: str) -> bool:
    """Whether it names something in a bucket."""
    return uri.partition("://")[0] in MOUNTS and "://" in uri


def to_copy(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that must be copied to `folder` first: in a bucket, not mounted, not copied
    yet."""
    uris = {artifact.uri for artifact in artifacts if is_remote(artifact.uri)}
    return sorted(
        uri
        for uri in uris
        if not os.path.exists(_mount(uri)) and not os.path.exists(place(uri, folder))
    )


def written(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that were written below `folder` and belong in a bucket."""
    uris = {artifact.uri for artifact in artifacts if is_remote(artifact.uri)}
    return sorted(uri for uri in uris if os.path.exists(place(uri, folder)))


def make_folders(wire: Mapping[str, Any], folder: Path) -> None:
    """Makes the folders below `folder` for the output artifacts of an ExecutorInput that go to a
    bucket."""
    for output in wire["outputs"]["artifacts"].values():
        for artifact in output["artifacts"]:
            if is_remote(artifact["uri"]):
                place(artifact["uri"], folder).parent.mkdir(parents=True, exist_ok=True)


def place(uri: str, folder: Path) -> Path:
    """Where the copy of a URI lies below `folder`: `gcs/bucket/key` for `gs://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    safe = "/".join(part for part in rest.split("/") if part not in ("", ".", ".."))
    return folder / MOUNTS[scheme] / safe


def copy(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copies an object, or all below a prefix, to its place below `folder`.

    The copy appears when it is whole.

    Args:
        uri: of the object or the prefix.
        folder: where copies are.
        settings: of the environment.

    Raises:
        ValueProblem: the library for it is missing, or the store refused; one line.
    """
    target = place(uri, folder)
    partial = target.with_name(f".{uuid.uuid4().hex}")
    try:
        bucket, key = _answering_bucket(uri, settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer.download(bucket, key, partial, settings.request_seconds)
        os.rename(partial, target)
    except Exception as error:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        if not os.path.exists(target):  # another task may have copied it meanwhile
            raise _problem(uri, "read", error) from None


def upload(uri: str, folder: Path, settings: BucketSettings = DEFAULTS) -> None:
    """Copies the file or folder at the URI's place below `folder` to the bucket.

    Raises:
        ValueProblem: the library for it is missing, or the store refused; one line.
    """
    try:
        bucket, key = _answering_bucket(uri, settings)
        transfer.upload(bucket, key, place(uri, folder), settings.request_seconds)
    except Exception as error:
        raise _problem(uri, "written", error) from None


def exists(uri: str, settings: BucketSettings = DEFAULTS) -> bool:
    """Return whether there is an object at the URI, or one below it.

    Raises:
        ValueProblem: the library for it is missing, or the store refused or does not answer; one
            line.
    """
    try:
        bucket, key = _answering_bucket(uri, settings)
        return transfer.look(settings.request_seconds, lambda: transfer.exists(bucket, key))
    except Exception as error:
        raise _problem(uri, "looked at", error) from None


def check(root: str, settings: BucketSettings = DEFAULTS) -> None:
    """Passes a pipeline root whose bucket can be listed from here.

    Raises:
        ValueProblem: the library for it is missing, there is no such bucket, or it may not be read;
            one line.
    """
    try:
        bucket, key = _answering_bucket(root, settings)
        prefix = transfer.folder_prefix(key)
        transfer.look(settings.request_seconds, lambda: transfer.list_objects(bucket, prefix, 1))
    except Exception as error:
        raise _problem(root, "listed", error) from None


class MissingBucketError(Exception):
    """There is no such bucket."""


class SignInProblem(ValueProblem):
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
        ValueProblem: the library for it is missing, or the store does not answer; one line.
    """
    try:
        bucket, folder = _answering_bucket(root, settings)
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
        raise _problem(root, "checked", error) from None
    return refused


def _code(error: Exception) -> str:
    """Return the code that S3 gives an error, such as `NoSuchBucket`; "" when it is another
    error."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    return str(details.get("Code") or "") if details else ""


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


def _answering_bucket(uri: str, settings: BucketSettings) -> tuple[Bucket, str]:
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


def _problem(uri: str, what: str, error: Exception) -> ValueProblem:
    if isinstance(error, ImportError):
        extra = EXTRAS[uri.partition("://")[0]]
        return ValueProblem(
            f"{uri} cannot be {what} without a library: {MissingExtra.installing(extra)}"
        )
    if is_changed(error):
        return ValueProblem(f"{uri} cannot be {what}: it was changed at the same time")
    # What `requests` says of a failed connection begins with the whole request; its reason is what
    # matters.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, Exception):
        return ValueProblem(
            f"{uri} cannot be {what}: no connection, check the network and the proxy:"
            f" {describe(reason)}"
        )
    return ValueProblem(f"{uri} cannot be {what}: {describe(error)}")


def _mount(uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return Path("/", MOUNTS[scheme], rest.partition("/")[0])
