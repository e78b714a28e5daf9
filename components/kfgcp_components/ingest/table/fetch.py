"""Getting a file onto this machine, from wherever its URL points."""

from __future__ import annotations

import os
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

from kfgcp_components.messages import one_line

EXTRAS = {"gs": "gcp", "s3": "s3"}
CHUNK = 1 << 20  # bytes


def fetch(source: str, folder: Path, *, timeout: float) -> Path:
    """The path of a local copy of the source; a source that is local already is not copied.

    Args:
        source: Path, or file://, http(s)://, gs:// or s3:// URL.
        folder: Where a download goes.
        timeout: Seconds that a download over http(s) may take.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the URL is of another kind, or the timeout is not positive.
        OSError: If the file cannot be reached; TimeoutError if that took too long.
        ImportError: If the extra that reads such URLs is not installed.
    """
    if "://" not in source:
        return _local(source)
    scheme = urlsplit(source).scheme.lower()
    if scheme == "file":
        return _local_url(source)
    if scheme in ("http", "https"):
        return _download(source, folder / "download", timeout)
    if scheme in EXTRAS:
        return _from_bucket(source, folder / "download", EXTRAS[scheme])
    raise ValueError(
        f"cannot read {displayed(source)}: use a path, or a file, http, https, gs or s3 URL"
    )


def displayed(source: str) -> str:
    """The source without the parts of a URL that may be secret: user, password, query and
    fragment."""
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _local(source: str) -> Path:
    if not source.strip():
        raise ValueError("the source of the table is empty; give a path or a URL")
    folders = [Path.cwd()]
    if submitted_from := os.environ.get("KFGCP_SUBMIT_DIR"):
        folders.append(Path(submitted_from))
    path = Path(source).expanduser()
    candidates = [folder / path for folder in folders]  # an absolute path stays as it is
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    for candidate in candidates:
        if candidate.exists():
            raise IsADirectoryError(f"{candidate} is not a file; name one CSV or Parquet file")
    where = (
        ""
        if path.is_absolute()
        else f" in {' or in '.join(str(folder) for folder in dict.fromkeys(folders))}"
    )
    raise FileNotFoundError(f"no file {source}{where}; check the path, or give an absolute one")


def _local_url(source: str) -> Path:
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{source} names the host {parts.netloc!r}; write file:///path for a file of this"
            " machine"
        )
    return _local(url2pathname(parts.path))


def _download(url: str, target: Path, timeout: float) -> Path:
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
    shown = displayed(url)
    try:
        _stream(url, target, timeout)
    except HTTPError as error:
        kind = FileNotFoundError if error.code in (404, 410) else ConnectionError
        raise kind(
            f"cannot fetch {shown}: HTTP {error.code} {error.reason}; check the URL"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise TimeoutError(
                f"cannot fetch {shown}: it took more than {timeout:g} seconds; try again or raise"
                " timeout"
            ) from error
        raise ConnectionError(f"cannot fetch {shown}: {one_line(reason)}; check the URL") from error
    return target


def _stream(url: str, target: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    request = Request(url, headers={"User-Agent": "kfgcp"})  # noqa: S310 - fetch() lets only http and https in
    with urlopen(request, timeout=timeout) as response, target.open("wb") as file:  # noqa: S310
        expected = response.headers.get("Content-Length")
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError
        if expected and file.tell() != int(expected):
            raise ConnectionError(f"the download stopped after {file.tell()} of {expected} bytes")


def _from_bucket(url: str, target: Path, extra: str) -> Path:
    shown = displayed(url)
    try:
        from cloudpathlib import GSPath, S3Path

        remote = GSPath(url) if extra == "gcp" else S3Path(url)
        found = remote.is_file()
        if found:
            remote.download_to(target)
    except ImportError as error:
        raise ImportError(
            f"reading {shown} needs more packages: pip install 'kfgcp[{extra}]'"
        ) from error
    except Exception as error:  # every client has its own tree of errors
        hint = "check the URL, and that the task has credentials that may read it"
        raise ConnectionError(f"cannot read {shown}: {one_line(error)}; {hint}") from error
    if not found:
        raise FileNotFoundError(f"no file {shown}; check the URL")
    return target
