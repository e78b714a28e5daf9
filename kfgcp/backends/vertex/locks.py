"""Locks for Vertex AI: objects in the bucket of the pipeline root, see `SupportsLock`.

The lock of the project `shop` is the object `kfgcp/locks/PROJECT/LOCATION/shop.json` in the bucket
of the pipeline root. Its name has the place of the schedules, and not the folder of the pipeline
root: two environments with other folders can have the same schedules. Cloud Storage changes an
object only when its generation is the one that the request names (`ifGenerationMatch`); the
generation 0 means that the object does not exist
(cloud.google.com/storage/docs/request-preconditions). So of two processes that write the object at
the same time, one is refused with 412.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from kfgcp.backends.locks import (
    LEASE,
    RENEW_EVERY,
    HeldLock,
    LockOwner,
    locked_error,
    not_renewed_error,
)
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.config import Environment
from kfgcp.errors import BackendError, NotFound, Refused
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import message, read, required_text
from kfgcp.services.fields import time as time_field

SERVICE: Final = "Cloud Storage"
ADDRESS: Final = "https://storage.googleapis.com"

# How often a process tries to get a lock that others take and free at the same time.
MAX_TRIES: Final = 5

# How long a request may take with all its tries. It must be much shorter than the lease.
REQUEST_SECONDS: Final = 15.0

_NOT_MET: Final = 412
_OBJECT: Final = message(
    {"generation": required_text, "updated": time_field}, required=("generation", "updated")
)


@dataclass(frozen=True, slots=True)
class StoredLock:
    """A lock as the bucket has it.

    Attributes:
        generation: the generation of the object.
        owner: the process in it, None when it cannot be read.
        age: how long ago the object was written, by the clock of the service.
    """

    generation: str
    owner: LockOwner | None
    age: timedelta


class VertexLocks:
    """The locks in the bucket of an environment.

    Args:
        env: the environment.
        settings: its settings.
        lease: a lock that was not renewed for this time has no holder any more.
        renew_every: a holder renews its lock after this time.
    """

    def __init__(
        self,
        env: Environment,
        settings: VertexSettings,
        *,
        lease: timedelta = LEASE,
        renew_every: timedelta = RENEW_EVERY,
    ) -> None:
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        tokens = Anonymous() if emulator else token_source(env)
        seconds = min(settings.request_seconds, REQUEST_SECONDS)
        self._http = ServiceClient(emulator or ADDRESS, tokens, service=SERVICE, seconds=seconds)
        self._settings = settings
        self._lease = lease
        self._renew_every = renew_every

    @contextmanager
    def hold_lock(self, name: str, owner: LockOwner) -> Iterator[HeldLock]:
        """Hold a lock in a `with` block, see `SupportsLock.hold_lock`."""
        store = LockObject(self._http, self._settings, name)
        generation = self._acquire(store, owner)
        held = RenewedLock(store, owner, generation, self._lease, self._renew_every)
        try:
            yield held
        finally:
            held.release()

    def _acquire(self, store: LockObject, owner: LockOwner) -> str:
        """Write the lock, and return its generation.

        Raises:
            Locked: another process holds it.
        """
        holder: LockOwner | None = None
        for _ in range(MAX_TRIES):
            generation = store.write(owner, "0")
            if generation is not None:
                return generation
            stored = store.read()
            if stored is None:
                # Its holder has just removed or renewed it.
                continue
            holder = stored.owner
            if holder == owner:
                # The answer to an earlier try was lost.
                return stored.generation
            has_ended = holder is not None and holder.has_ended()
            if not has_ended and stored.age <= self._lease:
                break
            generation = store.write(owner, stored.generation)
            if generation is not None:
                return generation
        raise locked_error(store.name, holder)


class LockObject:
    """The object of a lock.

    Args:
        http: the client of Cloud Storage.
        settings: the bucket, and the place of the schedules.
        name: the name of the lock.
    """

    def __init__(self, http: ServiceClient, settings: VertexSettings, name: str) -> None:
        bucket = settings.pipeline_root.removeprefix("gs://").partition("/")[0]
        parts = [_quote_part(part) for part in (settings.project, settings.location, name)]
        key = f"kfgcp/locks/{'/'.join(parts)}.json"
        self.name = name
        self._key = key
        self._http = http
        self._upload_path = f"upload/storage/v1/b/{quote(bucket, safe='')}/o"
        self._path = f"storage/v1/b/{quote(bucket, safe='')}/o/{quote(key, safe='')}"

    def write(self, owner: LockOwner, generation: str) -> str | None:
        """Write the lock, and return its new generation.

        Args:
            owner: the holder.
            generation: the generation that the object must have, "0" when it must not exist.

        Returns:
            None when the object has another generation. That may be the result of an earlier try of
            this request whose answer was lost.
        """
        params = {"uploadType": "media", "name": self._key, "ifGenerationMatch": generation}
        data = json.dumps(owner.to_dict()).encode()
        try:
            response = self._http.exchange(
                "POST",
                self._upload_path,
                params=params,
                data=data,
                # The emulator of Cloud Storage parses JSON, and then cannot store it.
                content_type="text/plain; charset=utf-8",
                repeatable=True,
            )
        except Refused as refused:
            if refused.status != _NOT_MET:
                raise
            return None
        answer = read(response.json(), _OBJECT, service=SERVICE, thing="an object")
        return str(answer["generation"])

    def read(self) -> StoredLock | None:
        """Return the lock, None when the object does not exist or was just written again."""
        try:
            response = self._http.exchange("GET", self._path)
            answer = read(response.json(), _OBJECT, service=SERVICE, thing="an object")
            generation = str(answer["generation"])
            # The object may be written between the two requests.
            params = {"alt": "media", "ifGenerationMatch": generation}
            content = self._http.exchange("GET", self._path, params=params).body
        except NotFound:
            return None
        except Refused as refused:
            if refused.status != _NOT_MET:
                raise
            return None
        updated = datetime.fromisoformat(answer["updated"])
        age = _service_time(response.headers.get("date", "")) - updated.astimezone(UTC)
        return StoredLock(generation, _parse_owner(content), age)

    def delete(self, generation: str) -> None:
        """Delete the object, unless it has another generation."""
        try:
            self._http.delete(self._path, params={"ifGenerationMatch": generation})
        except NotFound:
            return
        except Refused as refused:
            if refused.status != _NOT_MET:
                raise


class RenewedLock:
    """A lock that this process holds. A thread renews it until it is released.

    Args:
        store: the object of the lock.
        owner: this process.
        generation: the generation of the object that this process wrote.
        lease: see `VertexLocks`.
        renew_every: see `VertexLocks`.
        clock: returns seconds.
    """

    def __init__(
        self,
        store: LockObject,
        owner: LockOwner,
        generation: str,
        lease: timedelta,
        renew_every: timedelta,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._generation = generation
        self._lease = lease.total_seconds()
        self._pause = renew_every.total_seconds()
        self._clock = clock or _boot_clock
        self._renewed_at = self._clock()
        self._holder: LockOwner | None = None
        self._is_lost = False
        self._last_error: BackendError | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._renew_until_end, name="kfgcp-lock", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Check that this process still holds the lock, see `HeldLock.check`."""
        if self._is_lost:
            raise locked_error(self._store.name, self._holder)
        # The write after this check takes time, too.
        if self._clock() - self._renewed_at >= self._lease / 2:
            raise not_renewed_error(self._store.name, self._last_error)

    def release(self) -> None:
        """Remove the lock. A failure is not an error, because the lock ends by itself."""
        self._end.set()
        self._thread.join()
        if self._is_lost:
            return
        with suppress(BackendError):
            self._store.delete(self._generation)

    def _renew_until_end(self) -> None:
        pause = self._pause
        while not self._end.wait(pause):
            # The lease begins when the service writes the object, which is after this moment.
            started_at = self._clock()
            try:
                is_renewed = self._renew()
            except BackendError as error:
                # `check` counts the time without a renewal.
                self._last_error = error
                pause = self._pause / 4
                continue
            if not is_renewed:
                self._is_lost = True
                return
            self._renewed_at = started_at
            self._last_error = None
            pause = self._pause

    def _renew(self) -> bool:
        """Write the object again, and return whether this process still holds the lock."""
        generation = self._store.write(self._owner, self._generation)
        if generation is None:
            stored = self._store.read()
            if stored is None or stored.owner != self._owner:
                self._holder = None if stored is None else stored.owner
                return False
            # An earlier write succeeded, and its answer was lost.
            generation = stored.generation
        self._generation = generation
        return True


def _quote_part(text: str) -> str:
    """Return a text as one part of the name of an object."""
    # `quote` leaves dots, and a part `..` of a path could mean another object.
    return quote(text, safe="").replace(".", "%2E") or "%"


def _boot_clock() -> float:
    """Return seconds that also pass while the machine is suspended, where the system has them."""
    # The monotonic clock of Linux stands still during a suspend (clock_gettime(2)).
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


def _service_time(date: str) -> datetime:
    """Return the time in a Date header, the time of this machine when it cannot be read."""
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return datetime.now(UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _parse_owner(content: bytes) -> LockOwner | None:
    try:
        data = json.loads(content)
        return LockOwner.from_dict(data) if isinstance(data, dict) else None
    except (ValueError, RecursionError):
        return None
