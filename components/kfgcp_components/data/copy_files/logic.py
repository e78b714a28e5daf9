"""Copy files between this machine, Cloud Storage and S3. Each file is complete or absent."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kfgcp_components.data.copy_files.checksums import ALGORITHMS, common_algorithm, compute
from kfgcp_components.data.copy_files.locations import Location, locate
from kfgcp_components.data.copy_files.stores import Cancelled, Entry
from kfgcp_components.messages import one_line
from kfgcp_components.outputs import part_path, remove, write_files
from kfgcp_components.signals import on_sigterm

# Small files wait for the network most of the time, so several are copied at once.
WORKERS = 8


@dataclass(frozen=True)
class CopiedFile:
    """A file of the source, which is in the target now.

    Attributes:
        path: the name relative to the source folder, or the name of the only file.
        size: bytes.
        checksum: the algorithm and the value in hexadecimal, such as `md5:…`.
        copied: False if the target had the same file already.
    """

    path: str
    size: int
    checksum: str
    copied: bool


class Copy:
    """A copy of a file or folder, which can be cancelled by another thread or a signal."""

    def __init__(self, source: str, target: str) -> None:
        """Find the stores.

        Raises:
            ValueError: the source or the target is not a path or URL, or one contains the other.
            ImportError: a client library is missing.
        """
        self._source = locate(source, "source")
        self._target = locate(target, "target")
        self._reject_overlap()
        self._cancelled = threading.Event()
        self._parts: set[Path] = set()

    def cancel(self) -> None:
        """Stop, and remove the unfinished files. `run` raises Cancelled."""
        self._cancelled.set()
        # A thread can wait for a slow server for a long time. Its unfinished file goes now.
        for path in list(self._parts):
            remove(path)

    def run(self) -> list[CopiedFile]:
        """Copy all files that the target does not have yet.

        Returns:
            The files of the source, sorted by path.

        Raises:
            FileNotFoundError: the source does not exist.
            ValueError: a file cannot have its name in the target, or changed on its way.
            ConnectionError: a store refuses a request, or does not answer.
            Cancelled: `cancel` was called.
        """
        with _explain_errors(self._source):
            pairs = self._plan()
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="copy")
        try:
            futures = [pool.submit(self._transfer, *pair) for pair in pairs]
            return [future.result() for future in futures]
        except BaseException as error:
            was_cancelled = self._cancelled.is_set()
            # The first error stops the other threads.
            self.cancel()
            if was_cancelled and not isinstance(error, Cancelled):
                # A thread did not find its unfinished file any more.
                raise Cancelled("the copy was cancelled") from error
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for path in self._parts:
                remove(path)

    def _reject_overlap(self) -> None:
        source, target = self._source, self._target
        if _is_inside(target, source):
            raise ValueError(
                f"the target {target.text} is the source or is inside it; choose another target"
            )

    def _plan(self) -> list[tuple[Entry, str, str]]:
        """Return each file of the source, its relative path, and its key in the target."""
        source, target = self._source, self._target
        file = None
        if source.key and not source.is_folder:
            file = source.store.find(source.key)
        if file:
            name = source.key.rpartition("/")[2]
            is_folder = target.is_folder or (target.is_local and Path(target.key).is_dir())
            return [(file, name, target.join(name) if is_folder else target.key)]
        # A file could arrive at the name of another file of the source that is not copied yet.
        if _is_inside(source, target):
            raise ValueError(
                f"the target {target.text} contains the source {source.text}; choose another target"
            )
        pairs = []
        prefix_length = len(source.key) + 1 if source.key else 0
        for entry in source.store.list(source.key):
            relative = entry.key[prefix_length:]
            pairs.append((entry, relative, target.join(relative)))
        if not pairs:
            raise FileNotFoundError(f"no file and no files below {source.text}; check the source")
        return sorted(pairs, key=lambda pair: pair[1])

    def _transfer(self, entry: Entry, relative: str, key: str) -> CopiedFile:
        if not entry.checksums and not self._source.is_local:
            entry = self._find_again(entry)
        with _explain_errors(self._target):
            existing = self._target.store.find(key)
            if existing and existing.size == entry.size:
                checksum = self._equal_checksum(entry, existing)
                if checksum:
                    return CopiedFile(relative, entry.size, checksum, copied=False)
        checksum = self._copy_one(entry, key)
        return CopiedFile(relative, entry.size, checksum, copied=True)

    def _find_again(self, entry: Entry) -> Entry:
        """Return an object of a list with its checksums. Here, several requests run at once."""
        with _explain_errors(self._source):
            current = self._source.store.find(entry.key)
        if current is None:
            raise FileNotFoundError(
                f"{one_line(repr(entry.key), 200)} disappeared from {self._source.text}; copy again"
            )
        return current

    def _equal_checksum(self, entry: Entry, existing: Entry) -> str:
        """Return the checksum that both files have, or an empty text."""
        source_sums, target_sums = entry.checksums, existing.checksums
        if self._source.is_local:
            source_sums = compute(Path(entry.key), _choose(target_sums))
        if self._target.is_local:
            target_sums = compute(Path(existing.key), _choose(source_sums))
        algorithm = common_algorithm(source_sums, target_sums)
        if algorithm and source_sums[algorithm] == target_sums[algorithm]:
            return f"{algorithm}:{source_sums[algorithm]}"
        return ""

    def _copy_one(self, entry: Entry, key: str) -> str:
        """Copy a file, and return its checksum."""
        if self._target.is_local:
            part = part_path(Path(key))
            with _explain_errors(self._target):
                part.parent.mkdir(parents=True, exist_ok=True)
            return self._copy_by(part, entry, key)
        if self._source.is_local:
            return self._upload(Path(entry.key), key, entry)
        with tempfile.TemporaryDirectory(prefix="kfgcp-copy-") as folder:
            return self._copy_by(Path(folder, "part"), entry, key)

    def _copy_by(self, part: Path, entry: Entry, key: str) -> str:
        """Copy a file with an unfinished local file on the way."""
        self._parts.add(part)
        try:
            with _explain_errors(self._source):
                self._source.store.download(entry, part, self._cancelled)
            return self._upload(part, key, entry)
        finally:
            remove(part)
            self._parts.discard(part)

    def _upload(self, path: Path, key: str, entry: Entry) -> str:
        """Put a local file into the target, and compare checksums before and after."""
        checksums = compute(path, _choose({}) if self._target.is_local else _available())
        if entry.checksums:
            algorithm = common_algorithm(entry.checksums, _available_sums(entry.checksums))
            if algorithm and algorithm not in checksums:
                checksums |= compute(path, [algorithm])
        _require_equal(entry, Entry(str(path), path.stat().st_size, checksums))
        with _explain_errors(self._target):
            self._target.store.upload(path, key, checksums, self._cancelled, entry.content)
            if not self._target.is_local:
                arrived = self._target.store.find(key)
                _require_equal(Entry(entry.key, entry.size, checksums), arrived)
        algorithm = common_algorithm(entry.checksums, checksums) or next(iter(checksums))
        return f"{algorithm}:{checksums[algorithm]}"

    @contextmanager
    def cancelled_by_signals(self) -> Iterator[None]:
        """Cancel the copy when the process gets SIGTERM, as when its pod or job is stopped."""
        with on_sigterm(self.cancel):
            yield


def _is_inside(inner: Location, outer: Location) -> bool:
    """Return whether a place is another one, or below it."""
    if inner.is_local and outer.is_local:
        # Two paths can lead to one folder by symbolic links.
        return Path(inner.key).resolve().is_relative_to(Path(outer.key).resolve())
    if inner.text.split("/")[:3] != outer.text.split("/")[:3]:
        return False
    return not outer.key or inner.key == outer.key or inner.key.startswith(f"{outer.key}/")


def write_manifest(files: list[CopiedFile], path: str | Path) -> None:
    """Write the list of files as JSON."""
    content = {"format": "kfgcp-copy-1", "files": [asdict(file) for file in files]}
    with write_files(path) as (unfinished,):
        unfinished.write_text(json.dumps(content), encoding="utf-8")


def _choose(checksums: Mapping[str, str]) -> list[str]:
    """Return the best algorithm of a file's checksums that this machine can compute."""
    algorithms = _available_sums(checksums)
    best = common_algorithm(checksums, algorithms)
    return [best] if best else ["sha256"]


def _available_sums(checksums: Mapping[str, str]) -> dict[str, str]:
    available = _available()
    return {name: value for name, value in checksums.items() if name in available}


def _available() -> list[str]:
    try:
        import google_crc32c  # noqa: F401
    except ImportError:
        return [name for name in ALGORITHMS if name != "crc32c"]
    return list(ALGORITHMS)


def _require_equal(entry: Entry, copy: Entry | None) -> None:
    name = one_line(repr(entry.key), 200)
    if copy is None or copy.size != entry.size:
        size = "nothing" if copy is None else f"{copy.size} bytes"
        raise ValueError(f"{size} of {entry.size} bytes of {name} arrived; copy again")
    algorithm = common_algorithm(entry.checksums, copy.checksums)
    if algorithm and entry.checksums[algorithm] != copy.checksums[algorithm]:
        raise ValueError(
            f"{name} has another {algorithm} after the copy; it changed on its way, so copy again"
        )


@contextmanager
def _explain_errors(location: Location) -> Iterator[None]:
    """Give the errors of client libraries one line that names the place."""
    try:
        yield
    except (Cancelled, ValueError, FileNotFoundError):
        raise
    except OSError as error:
        raise type(error)(f"cannot copy at {location.text}: {one_line(error)}") from error
    # The client library of each cloud raises its own classes of errors.
    except Exception as error:
        hint = "check the URL, and that the task has credentials for it"
        raise ConnectionError(
            f"cannot copy at {location.text}: {one_line(error)}; {hint}"
        ) from error
