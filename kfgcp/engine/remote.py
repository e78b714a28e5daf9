"""Artifacts that lie in a bucket: copied to this machine before a task that reads them starts, and from it after a
task that wrote them.

Inside a task `gs://bucket/key` is found at `/gcs/bucket/key`, and likewise for s3 and minio (semantics.md, Artifacts).
Where such a mount is not there, the copy lies at the same place below a folder of the run.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from kfgcp.deadlines import call_within
from kfgcp.engine.contact import CONNECT_SECONDS, READ_SECONDS, Contacts, google_credentials
from kfgcp.engine.placeholders import MOUNTS
from kfgcp.engine.values import ArtifactValue, ValueProblem

EXTRAS = {"gs": "gcp", "s3": "s3", "minio": "s3"}
LOOK_SECONDS = 60.0
"""How long a request to a store that copies no objects may take, with all repeats."""


def is_remote(uri: str) -> bool:
    """Whether it names something in a bucket."""
    return uri.partition("://")[0] in MOUNTS and "://" in uri


def to_copy(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that must be copied to `folder` first: in a bucket, not mounted, not copied yet."""
    uris = {artifact.uri for artifact in artifacts if is_remote(artifact.uri)}
    return sorted(uri for uri in uris if not os.path.exists(_mount(uri)) and not os.path.exists(place(uri, folder)))


def written(artifacts: Iterable[ArtifactValue], folder: Path) -> list[str]:
    """The URIs of those that were written below `folder` and belong in a bucket."""
    uris = {artifact.uri for artifact in artifacts if is_remote(artifact.uri)}
    return sorted(uri for uri in uris if os.path.exists(place(uri, folder)))


def make_folders(wire: Mapping[str, Any], folder: Path) -> None:
    """Makes the folders below `folder` for the output artifacts of an ExecutorInput that go to a bucket."""
    for output in wire["outputs"]["artifacts"].values():
        for artifact in output["artifacts"]:
            if is_remote(artifact["uri"]):
                place(artifact["uri"], folder).parent.mkdir(parents=True, exist_ok=True)


def place(uri: str, folder: Path) -> Path:
    """Where the copy of a URI lies below `folder`: `gcs/bucket/key` for `gs://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    safe = "/".join(part for part in rest.split("/") if part not in ("", ".", ".."))
    return folder / MOUNTS[scheme] / safe


def copy(uri: str, folder: Path) -> None:
    """Copies an object, or all below a prefix, to its place below `folder`.

    Raises:
        ValueProblem: the library for it is missing, or the store refused; one line.
    """
    target = place(uri, folder)
    partial = target.with_name(f".{uuid.uuid4().hex}")
    try:
        source = _cloud_path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        if call_within(LOOK_SECONDS, source.is_dir):
            source.copytree(partial)
        else:
            source.download_to(partial)
        os.rename(partial, target)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not os.path.exists(target):  # another task may have copied it meanwhile
            raise _problem(uri, "read", error) from None


def upload(uri: str, folder: Path) -> None:
    """Copies the file or folder at the URI's place below `folder` to the bucket.

    Raises:
        ValueProblem: the library for it is missing, or the store refused; one line.
    """
    try:
        _cloud_path(uri).upload_from(place(uri, folder), force_overwrite_to_cloud=True)
    except Exception as error:
        raise _problem(uri, "written", error) from None


def exists(uri: str) -> bool:
    """Return whether there is an object at the URI, or one below it.

    Raises:
        ValueProblem: the library for it is missing, or the store refused or does not answer; one line.
    """
    try:
        return bool(call_within(LOOK_SECONDS, _cloud_path(uri).exists))
    except Exception as error:
        raise _problem(uri, "looked at", error) from None


def check(root: str) -> None:
    """Passes a pipeline root whose bucket can be listed from here.

    Raises:
        ValueProblem: the library for it is missing, there is no such bucket, or it may not be read; one line.
    """
    try:
        folder = _cloud_path(root)
        call_within(LOOK_SECONDS, lambda: next(iter(folder.iterdir()), None))
    except Exception as error:
        raise _problem(root, "listed", error) from None


class NoAddressError(Exception):
    """It is not known where a store is."""


def client(uri: str) -> Any:
    """The cloudpathlib client for what is at a URI; `.client` of it is that of the store's own library.

    `minio://` and `s3://` are at the address that AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL says; `s3://` is at Amazon
    when neither does.

    Raises:
        NoAddressError: it is `minio://`, and they say nothing.
        ImportError: the library is missing.
    """
    if uri.startswith("gs://"):
        return _storage_client(os.environ.get("STORAGE_EMULATOR_HOST"))
    endpoint = _s3_endpoint()
    if uri.startswith("minio://") and not endpoint:
        raise NoAddressError("AWS_ENDPOINT_URL, the address of the MinIO server, is not set")
    return _s3_client(endpoint)


def _s3_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


_CONTACTS = Contacts()
_IMPORTING = threading.Lock()


def _cloud_path(uri: str) -> Any:
    """Return the path of a URI in its store, after the store has answered a first request.

    Raises:
        NoAnswerError: the store did not answer in time.
        Exception: an error of the store's client library: there is no connection, or the sign-in failed.
    """
    scheme, _, rest = uri.partition("://")
    # These imports are slow, so they come before the time that an answer may take. They need a lock, because several
    # threads copy at the same time, and circular imports could show a second thread a module that is not complete.
    with _IMPORTING:
        from cloudpathlib import CloudPath

        import_module("google.cloud.storage" if scheme == "gs" else "boto3")
    bucket = rest.partition("/")[0]
    address = os.environ.get("STORAGE_EMULATOR_HOST") if scheme == "gs" else _s3_endpoint()
    _CONTACTS.ensure(f"{scheme}://{bucket} at {address}", lambda: _send_first_request(uri, bucket))
    return CloudPath(uri.replace("minio://", "s3://", 1), client=client(uri))  # type: ignore[abstract]


def _send_first_request(uri: str, bucket: str) -> None:
    """Send one request to the store of a URI. Any answer proves that the store is there, also "not allowed"."""
    library = client(uri).client
    try:
        if uri.startswith("gs://"):
            # The result does not matter. Other methods of the library also read the bucket, but repeat the request.
            library.bucket(bucket).exists(timeout=(CONNECT_SECONDS, READ_SECONDS), retry=None)
        else:
            library.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except Exception as error:
        if not _is_answer(error):
            raise


def _is_answer(error: Exception) -> bool:
    """Return whether a library's error is the answer of the store: only then it has a response."""
    return getattr(error, "response", None) is not None


@lru_cache
def _s3_client(endpoint: str | None) -> Any:
    from cloudpathlib import S3Client

    import_module("boto3")  # without it cloudpathlib makes an error of its own
    return S3Client(endpoint_url=endpoint)


@lru_cache
def _storage_client(emulator: str | None) -> Any:
    """A client for each address, which it reads from the environment when it is made."""
    from cloudpathlib import GSClient

    import_module("google.cloud.storage")  # without it cloudpathlib makes an error of its own
    from google.cloud.storage import Client

    from kfgcp.sockets import mount_deadlines

    # An emulator asks for no sign-in, and looking for one takes seconds where there is none.
    credentials, project = (None, None) if emulator else google_credentials()
    if credentials is None:
        storage = Client.create_anonymous_client()
    else:
        storage = Client(credentials=credentials, project=project)
    # Both the session for objects and the one for tokens, because their timeouts start again with each byte.
    mount_deadlines(storage._http)
    mount_deadlines(storage._http._auth_request.session)
    return GSClient(storage_client=storage)


def _problem(uri: str, what: str, error: Exception) -> ValueProblem:
    if isinstance(error, ImportError):
        extra = EXTRAS[uri.partition("://")[0]]
        return ValueProblem(f"{uri} cannot be {what} without a library: pip install 'kfgcp[{extra}]'")
    # What `requests` says of a failed connection begins with the whole request; its reason is what matters.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, Exception):
        return ValueProblem(f"{uri} cannot be {what}: no connection, check the network and the proxy: {_line(reason)}")
    return ValueProblem(f"{uri} cannot be {what}: {_line(error)}")


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:500]


def _mount(uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return Path("/", MOUNTS[scheme], rest.partition("/")[0])
