"""Read and write small objects below a folder URI: file, gs or s3.

`create` writes an object only when it does not exist yet, and each store decides that at one place.
So two tasks can agree on who was first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kfgcp_components.messages import one_line


class Store(Protocol):
    """A folder with objects. Keys are paths below the folder, such as `models/churn/v1.json`."""

    uri: str

    def read(self, key: str) -> bytes | None:
        """Return the content of an object, or None without the object."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Write an object, unless it exists. Return whether it was written."""
        ...

    def replace(self, key: str, file: Path) -> None:
        """Write an object with the content of a file, also when it exists."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the sorted keys of all objects whose key starts with a prefix."""
        ...

    def download(self, key: str, file: Path) -> None:
        """Write the content of an object to a file."""
        ...


def open_store(uri: str) -> Store:
    """Return the store of a folder.

    Args:
        uri: a path, or a file://, gs:// or s3:// URI.

    Raises:
        ValueError: the URI has another scheme, or no bucket.
        ImportError: the extra for this kind of store is not installed.

    Example:
        >>> open_store("file:///srv/models/").uri
        'file:///srv/models'
    """
    if not uri.strip():
        raise ValueError("the URI of the folder is empty; give a path, or a gs:// or s3:// URI")
    if "://" not in uri:
        return LocalStore(_find_folder(uri))
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return LocalStore(Path(url2pathname(urlsplit(uri).path)))
    if scheme not in ("gs", "s3"):
        raise ValueError(f"cannot use {uri}: use a path, or a file://, gs:// or s3:// URI")
    # Names of objects are taken as they are: '#' and '%20' are ordinary characters in them.
    bucket, _, path = rest.partition("/")
    if not bucket:
        raise ValueError(f"{uri} names no bucket; write {scheme}://BUCKET/FOLDER")
    if scheme == "gs":
        return GcsStore(bucket, path.strip("/"))
    return S3Store(bucket, path.strip("/"))


def _find_folder(path: str) -> Path:
    """Return the folder of a path. A relative path begins where the run was submitted.

    On a service, a relative path would be a folder of the container, which is lost with it.
    """
    folder = Path(path).expanduser()
    submit_folder = os.environ.get("KFGCP_SUBMIT_DIR")
    if folder.is_absolute():
        return folder
    if not submit_folder:
        raise ValueError(
            f"{path} is a path on your machine, and this task runs elsewhere; use a gs:// or s3://"
            " URI"
        )
    return Path(submit_folder) / folder


class LocalStore:
    """A folder of this machine, or of a mounted volume."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.uri = self._folder.as_uri()

    def read(self, key: str) -> bytes | None:
        """Return the content of a file, or None without the file."""
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, key: str, content: bytes) -> bool:
        """Write a file, unless it exists. Return whether it was written."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(path) as temporary:
            temporary.write_bytes(content)
            try:
                # A hard link fails when the name exists, and never shows half of a file.
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    def replace(self, key: str, file: Path) -> None:
        """Write a file with the content of another file."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(path) as temporary:
            temporary.write_bytes(file.read_bytes())
            temporary.replace(path)

    def keys(self, prefix: str) -> list[str]:
        """Return the sorted keys of all files whose key starts with a prefix."""
        keys = []
        # Only the folder of the prefix is read, not the whole store.
        for path in (self._folder / prefix.rpartition("/")[0]).rglob("*"):
            key = path.relative_to(self._folder).as_posix()
            if key.startswith(prefix) and path.is_file() and not path.name.startswith(".tmp-"):
                keys.append(key)
        return sorted(keys)

    def download(self, key: str, file: Path) -> None:
        """Copy a file."""
        file.write_bytes((self._folder / key).read_bytes())


class _temporary_file:  # noqa: N801 - used like a function
    """A new file name beside a path. The file is removed at the end, if it is still there."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f".tmp-{os.getpid()}-{os.urandom(4).hex()}-{path.name}")

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *error: object) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()


class GcsStore:
    """A folder in a bucket of Cloud Storage."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.uri = f"gs://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            from google.cloud import storage
        except ImportError:
            raise ImportError(
                "gs:// needs google-cloud-storage: pip install 'kfgcp[gcp]'"
            ) from None
        # The emulator of tests takes no credentials.
        with _errors_name(self.uri):
            if os.environ.get("STORAGE_EMULATOR_HOST"):
                client = storage.Client.create_anonymous_client()
            else:
                client = storage.Client()
        self._bucket = client.bucket(bucket)
        self._has_bucket = False

    def read(self, key: str) -> bytes | None:
        """Return the content of an object, or None without the object."""
        from google.api_core.exceptions import NotFound

        with _errors_name(f"{self.uri}/{key}"):
            try:
                content: bytes = self._blob(key).download_as_bytes()
            except NotFound:
                self._require_bucket()
                return None
        return content

    def create(self, key: str, content: bytes) -> bool:
        """Write an object, unless it exists. Return whether it was written."""
        from google.api_core.exceptions import PreconditionFailed

        with _errors_name(f"{self.uri}/{key}"):
            try:
                # Generation 0 means that the object must not exist.
                self._blob(key).upload_from_string(content, if_generation_match=0)
            except PreconditionFailed:
                # The client repeats a request whose answer was lost. Then the object is ours.
                return self.read(key) == content
        return True

    def replace(self, key: str, file: Path) -> None:
        """Upload a file."""
        with _errors_name(f"{self.uri}/{key}"):
            self._blob(key).upload_from_filename(str(file))

    def keys(self, prefix: str) -> list[str]:
        """Return the sorted keys of all objects whose key starts with a prefix."""
        with _errors_name(self.uri):
            blobs = list(self._bucket.list_blobs(prefix=self._prefix + prefix))
        keys = [blob.name[len(self._prefix) :] for blob in blobs]
        # Cloud Storage FUSE and the console mark a folder with an empty object.
        return sorted(key for key in keys if key and not key.endswith("/"))

    def download(self, key: str, file: Path) -> None:
        """Download an object."""
        with _errors_name(f"{self.uri}/{key}"):
            self._blob(key).download_to_filename(str(file))

    def _require_bucket(self) -> None:
        """Raise the error of the client if the bucket does not exist.

        The answer to a read is 404 both without the bucket and without the object.
        """
        if not self._has_bucket:
            list(self._bucket.list_blobs(prefix=self._prefix, max_results=1))
            self._has_bucket = True

    # Any, because the client has no types.
    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._prefix + key)


class S3Store:
    """A folder in a bucket of S3 or of a store that speaks its protocol."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        try:
            import boto3
        except ImportError:
            raise ImportError("s3:// needs boto3: pip install 'kfgcp[s3]'") from None
        # boto3 takes the address of another store from AWS_ENDPOINT_URL.
        with _errors_name(self.uri):
            self._client = boto3.session.Session().client("s3")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def read(self, key: str) -> bytes | None:
        """Return the content of an object, or None without the object."""
        with _errors_name(f"{self.uri}/{key}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.NoSuchKey:
                return None
            content: bytes = answer["Body"].read()
        return content

    def create(self, key: str, content: bytes) -> bool:
        """Write an object, unless it exists. Return whether it was written."""
        from botocore.exceptions import ClientError

        with _errors_name(f"{self.uri}/{key}"):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + key, Body=content, IfNoneMatch="*"
                )
            except ClientError as error:
                # 409: another request is creating the object at the same moment.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                    raise
                return self.read(key) == content
        return True

    def replace(self, key: str, file: Path) -> None:
        """Upload a file."""
        with _errors_name(f"{self.uri}/{key}"):
            self._client.upload_file(str(file), self._bucket, self._prefix + key)

    def keys(self, prefix: str) -> list[str]:
        """Return the sorted keys of all objects whose key starts with a prefix."""
        # The console of S3 marks a folder with an empty object.
        with _errors_name(self.uri):
            return sorted(key for key in self._list(prefix) if key and not key.endswith("/"))

    def download(self, key: str, file: Path) -> None:
        """Download an object."""
        with _errors_name(f"{self.uri}/{key}"):
            self._client.download_file(self._bucket, self._prefix + key, str(file))

    def _list(self, prefix: str) -> Iterator[str]:
        paginator = self._client.get_paginator("list_objects_v2")
        for page in paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
            for item in page.get("Contents", []):
                yield item["Key"][len(self._prefix) :]


# What a write to a file answers when the disk is full, damaged or read-only: errno(3).
_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class StorageError(OSError):
    """A store does not exist, refuses a request, or does not answer. The message is one line."""


@contextmanager
def _errors_name(uri: str) -> Iterator[None]:
    """Give the errors of client libraries one line that names a URI.

    Raises:
        StorageError: the block raised an error.
    """
    try:
        yield
    except StorageError:
        raise
    # The libraries raise errors of their own, of their sign-in and of their HTTP client.
    except Exception as error:
        if _is_local(error):
            raise StorageError(f"cannot use {uri}: {one_line(error)}, on this machine") from error
        hint = "check the URI, the network, and that the task has credentials for it"
        raise StorageError(f"cannot use {uri}: {one_line(error)}; {hint}") from error


def _is_local(error: Exception) -> bool:
    """Return whether an error is about a file or the disk of this machine."""
    if not isinstance(error, OSError):
        return False
    # A write to a full disk has no name of a file.
    return error.filename is not None or error.errno in _DISK_ERRNOS
