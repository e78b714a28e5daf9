"""Copy the file of a URL to this machine."""

from __future__ import annotations

import os
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

from kfgcp_components.messages import one_line

# The scheme of a URL -> the extra of kfgcp that is needed to read the URL.
EXTRAS = {"gs": "gcp", "s3": "s3"}

# The number of bytes in one read from a connection. The timeout is checked after each read.
CHUNK_SIZE = 1 << 20


def fetch(source: str, folder: Path, *, timeout: float) -> Path:
    """Return the path of a local copy of a source. A local source is not copied.

    Args:
        source: a path, or a file://, http(s)://, gs:// or s3:// URL.
        folder: the folder for a download.
        timeout: seconds that a download over http(s) may take.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the URL has another scheme, or the timeout is not positive.
        OSError: the file cannot be reached. The error is a TimeoutError if the timeout is over.
        ImportError: the extra that reads such URLs is not installed.
    """
    if "://" not in source:
        return _find_local_file(source)
    scheme = urlsplit(source).scheme.lower()
    if scheme == "file":
        return _find_file_of_url(source)
    if scheme in ("http", "https"):
        return _download(source, folder / "download", timeout)
    if scheme in EXTRAS:
        return _download_from_bucket(source, folder / "download", EXTRAS[scheme])
    raise ValueError(
        f"cannot read {hide_secrets(source)}: use a path, or a file, http, https, gs or s3 URL"
    )


def hide_secrets(source: str) -> str:
    """Return a source without the parts of a URL that may be secret.

    These parts are the user, the password, the query and the fragment.

    Example:
        >>> hide_secrets("https://user:password@host/table.csv?signature=abc")
        'https://host/table.csv'
    """
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _find_local_file(source: str) -> Path:
    if not source.strip():
        raise ValueError("the source of the table is empty; give a path or a URL")
    folders = [Path.cwd()]
    # The engine runs a task in a folder of its own, and sets this variable to the folder in which
    # the run was started.
    submit_folder = os.environ.get("KFGCP_SUBMIT_DIR")
    if submit_folder:
        folders.append(Path(submit_folder))
    path = Path(source).expanduser()
    # An absolute path stays as it is when it is joined to a folder.
    candidates = [folder / path for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    for candidate in candidates:
        if candidate.exists():
            raise IsADirectoryError(f"{candidate} is not a file; name one CSV or Parquet file")
    places = ""
    if not path.is_absolute():
        distinct_folders = dict.fromkeys(str(folder) for folder in folders)
        places = f" in {' or in '.join(distinct_folders)}"
    raise FileNotFoundError(f"no file {source}{places}; check the path, or give an absolute one")


def _find_file_of_url(source: str) -> Path:
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{source} names the host {parts.netloc!r}; write file:///path for a file of this"
            " machine"
        )
    return _find_local_file(url2pathname(parts.path))


def _download(url: str, target: Path, timeout: float) -> Path:
    # `not timeout > 0` is also true for NaN. `timeout <= 0` is not.
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
    display_name = hide_secrets(url)
    try:
        _write_response(url, target, timeout)
    except HTTPError as error:
        error_class = FileNotFoundError if error.code in (404, 410) else ConnectionError
        raise error_class(
            f"cannot fetch {display_name}: HTTP {error.code} {error.reason}; check the URL"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise TimeoutError(
                f"cannot fetch {display_name}: it took more than {timeout:g} seconds; try again or"
                " raise timeout"
            ) from error
        raise ConnectionError(
            f"cannot fetch {display_name}: {one_line(reason)}; check the URL"
        ) from error
    return target


def _write_response(url: str, target: Path, timeout: float) -> None:
    # The timeout of urlopen is for one read only. A slow server could send a few bytes at a time
    # for ever, so there is also a deadline for the whole download.
    deadline = time.monotonic() + timeout
    request = Request(url, headers={"User-Agent": "kfgcp"})  # noqa: S310 - fetch() lets only http and https in
    with urlopen(request, timeout=timeout) as response, target.open("wb") as file:  # noqa: S310
        expected_bytes = response.headers.get("Content-Length")
        while chunk := response.read1(CHUNK_SIZE):
            file.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError
        # If the server closes the connection too early, read1() ends without an error.
        if expected_bytes and file.tell() != int(expected_bytes):
            raise ConnectionError(
                f"the download stopped after {file.tell()} of {expected_bytes} bytes"
            )


def _download_from_bucket(url: str, target: Path, extra: str) -> Path:
    display_name = hide_secrets(url)
    try:
        from cloudpathlib import GSPath, S3Path

        remote = GSPath(url) if extra == "gcp" else S3Path(url)
        is_file = remote.is_file()
        if is_file:
            remote.download_to(target)
    except ImportError as error:
        raise ImportError(
            f"reading {display_name} needs more packages: pip install 'kfgcp[{extra}]'"
        ) from error
    # The client library of each cloud raises its own classes of errors.
    except Exception as error:
        hint = "check the URL, and that the task has credentials that may read it"
        raise ConnectionError(f"cannot read {display_name}: {one_line(error)}; {hint}") from error
    if not is_file:
        raise FileNotFoundError(f"no file {display_name}; check the URL")
    return target
