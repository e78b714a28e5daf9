"""Locks on Kubeflow Pipelines, see `SupportsLock`.

A lock is an experiment. The name of an experiment is unique in its namespace (index
`idx_name_namespace` in model/experiment.go), and a second one is refused with 409
(tests/recorded: experiment-create-taken). An experiment cannot be changed. So a holder renews its
lock with a second experiment, the beat, whose time of creation is the server's own:

    kfgcp-lock-shop                 the lock; its description is the holder
    kfgcp-lock-shop-beat-<token>-3  the third beat of the holder

A beat can be left behind: its answer was lost, or its holder was killed. The next holder removes
it.

Another process takes a lock over by deleting exactly this experiment, by its id, and by creating
its own. When two processes do this at once, the second creation is refused.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import quote

from kfgcp.backends.kubeflow import filters
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.names import API, CONFLICT
from kfgcp.backends.kubeflow.times import read_moment
from kfgcp.backends.locks import LEASE, RENEW_EVERY, LockOwner, locked_error, not_renewed_error
from kfgcp.backends.schedule_labels import project_label
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.model import JsonValue
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import message, read, required_text, text
from kfgcp.services.fields import time as time_kind
from kfgcp.services.server_time import read_server_time

EXPERIMENTS: Final = f"{API}/experiments"
PREFIX: Final = "kfgcp-lock-"

# The length of the column for the description (model/experiment.go, DefaultStringSize).
MAX_DESCRIPTION: Final = 255
# How often a lock is tried. Each time, another process may have taken an expired one over.
_TRIES: Final = 4
_PAGE_SIZE: Final = 200
_TOKEN_DIGITS: Final = 12
# The names of a user and of a machine are for messages only, so they may be cut.
_MAX_SHOWN_NAME: Final = 30
_OWNER_FIELDS: Final = ("user", "host", "machine", "pid", "process_start", "started_at", "token")

_EXPERIMENT: Final = message(
    {
        "experiment_id": required_text,
        "display_name": text,
        "description": text,
        "created_at": time_kind,
    },
    required=("experiment_id", "created_at"),
)


@dataclass(frozen=True, slots=True)
class _Experiment:
    id: str
    name: str
    description: str
    created_at: datetime


class KubeflowLocks:
    """The locks of a server and a namespace.

    Args:
        http: the client of the pipelines API. Threads may share it.
        namespace: the namespace of the experiments, "" when none is set.
        renew_seconds: how often a holder renews its lock.
        clock: returns a time in seconds that also runs while the machine is suspended.
    """

    def __init__(
        self,
        http: ServiceClient,
        namespace: str,
        *,
        renew_seconds: float = RENEW_EVERY.total_seconds(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._scope = {"namespace": namespace} if namespace else {}
        self._renew_seconds = renew_seconds
        self._clock = clock

    @contextmanager
    def hold_lock(self, name: str, owner: LockOwner) -> Iterator[KubeflowLock]:
        """Hold a lock in a `with` block, see `SupportsLock.hold_lock`."""
        lock_name = PREFIX + project_label(name)
        lock = self._acquire(name, lock_name, owner)
        lock.begin_to_renew(self._renew_seconds)
        try:
            with suppress(BackendError):
                self._remove_old_beats(lock_name, owner)
            yield lock
        finally:
            lock.release()

    def _acquire(self, name: str, lock_name: str, owner: LockOwner) -> KubeflowLock:
        body = {
            "display_name": lock_name,
            "description": format_owner(owner),
            **self._scope,
        }
        for _ in range(_TRIES):
            asked_at = self._clock()
            try:
                # A name is unique, so a repeated request creates no second experiment.
                answer = self._http.post(EXPERIMENTS, body=body, repeatable=True)
                experiment = _check(answer)
            except Refused as refused:
                if refused.status != CONFLICT:
                    raise
            else:
                return self._lock(name, experiment, owner, asked_at)
            experiments, now = self._list(lock_name)
            current = next((item for item in experiments if item.name == lock_name), None)
            if current is None:
                continue
            holder = parse_owner(current.description)
            if holder is not None and holder.token == owner.token:
                # The answer to the first request was lost.
                return self._lock(name, current, owner, asked_at)
            beats = _beats_of(holder, lock_name, experiments)
            if not _has_expired(holder, [current] + beats, now):
                raise locked_error(name, holder)
            for expired in [current] + beats:
                self._delete(expired.id)
        raise locked_error(name, None)

    def _remove_old_beats(self, lock_name: str, owner: LockOwner) -> None:
        """Remove the beats that earlier holders left behind."""
        experiments, _ = self._list(lock_name)
        own_prefix = _beat_prefix(lock_name, owner)
        for experiment in experiments:
            # The lock of another project may have the name of a beat, but it names its holder.
            is_beat = _is_beat(lock_name, experiment.name) and not experiment.description
            if is_beat and not experiment.name.startswith(own_prefix):
                self._delete(experiment.id)

    def _lock(
        self, name: str, experiment: _Experiment, owner: LockOwner, asked_at: float
    ) -> KubeflowLock:
        return KubeflowLock(self._http, self._scope, name, experiment, owner, self._clock, asked_at)

    def _list(self, lock_name: str) -> tuple[list[_Experiment], datetime]:
        """Return the experiments of a lock, and the time of the server."""
        predicates = [filters.predicate("display_name", "IS_SUBSTRING", lock_name)]
        params: dict[str, str | int] = {
            **self._scope,
            "filter": filters.format_filter(predicates),
            "page_size": _PAGE_SIZE,
            "sort_by": "created_at desc",
        }
        response = self._http.exchange("GET", EXPERIMENTS, params=params)
        items = response.json(may_be_empty=False).get("experiments") or []
        if not isinstance(items, list):
            raise BadAnswer(f"{SERVICE} answered with experiments that are not a list.")
        now = read_server_time(response.headers.get("date")) or datetime.now(UTC)
        return [_check(item) for item in items], now

    def _delete(self, experiment_id: str) -> None:
        with suppress(NotFound):
            self._http.delete(_path(experiment_id))


class KubeflowLock:
    """A lock that this process holds, see `HeldLock`.

    Args:
        http: the client of the pipelines API.
        scope: the namespace as a parameter, empty when none is set.
        name: the name of the lock, for messages.
        experiment: the experiment of the lock.
        owner: this process.
        clock: returns a time in seconds.
        confirmed_at: a time at which the lock was certainly held.
    """

    def __init__(
        self,
        http: ServiceClient,
        scope: dict[str, str],
        name: str,
        experiment: _Experiment,
        owner: LockOwner,
        clock: Callable[[], float],
        confirmed_at: float,
    ) -> None:
        self._http = http
        self._scope = scope
        self._name = name
        self._experiment = experiment
        self._owner = owner
        self._clock = clock
        self._confirmed_at = confirmed_at
        self._is_lost = False
        self._beat_id = ""
        self._beat_count = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin_to_renew(self, seconds: float) -> None:
        """Renew the lock in a thread, again and again, until `release`."""

        def renew_until_end() -> None:
            while not self._ended.wait(seconds):
                # The next beat tries again. `check` knows when the lease has ended.
                with suppress(BackendError):
                    self.renew()

        self._thread = threading.Thread(target=renew_until_end, name="kfgcp-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that this process still holds the lock, see `HeldLock.check`."""
        # The machine may have been suspended, so the server decides.
        if not self._is_young(2 * RENEW_EVERY):
            try:
                self.renew()
            except BackendError as error:
                raise not_renewed_error(self._name, error) from error
        if self._is_lost:
            raise locked_error(self._name, None)
        # A slow renewal may end after most of the lease.
        if not self._is_young(LEASE / 2):
            raise not_renewed_error(self._name, None)

    def _is_young(self, limit: timedelta) -> bool:
        age = self._clock() - self._confirmed_at
        return 0 <= age <= limit.total_seconds()

    def renew(self) -> None:
        """Make the lock young again.

        Raises:
            BackendError: the server refuses, or cannot be reached.
        """
        with self._guard:
            if self._is_lost or self._ended.is_set():
                return
            asked_at = self._clock()
            self._beat_count += 1
            name = f"{_beat_prefix(self._experiment.name, self._owner)}{self._beat_count}"
            body = {"display_name": name, **self._scope}
            beat = self._post_beat(body)
            before, self._beat_id = self._beat_id, beat
            try:
                self._http.get(_path(self._experiment.id))
            except NotFound:
                # Another process has taken the lock over.
                self._is_lost = True
            else:
                self._confirmed_at = asked_at
            if before:
                with suppress(BackendError):
                    self._http.delete(_path(before))

    def release(self) -> None:
        """End the lock. A failure is not an error, because the lock ends by itself."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        # The lock comes last. Without it, nobody would delete the beat.
        for experiment_id in (self._beat_id, self._experiment.id):
            if experiment_id:
                with suppress(BackendError):
                    self._http.delete(_path(experiment_id))

    def _post_beat(self, body: dict[str, str]) -> str:
        """Create a beat, and return its id."""
        return _check(self._http.post(EXPERIMENTS, body=body)).id


def format_owner(owner: LockOwner) -> str:
    """Return a holder as the description of an experiment."""
    shown = owner.to_dict()
    for length in (_MAX_SHOWN_NAME, 8, 0):
        values = [
            str(shown[name])[:length] if name in ("user", "host") else shown[name]
            for name in _OWNER_FIELDS
        ]
        description = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        if len(description) <= MAX_DESCRIPTION:
            break
    return description


def parse_owner(description: str) -> LockOwner | None:
    """Return the holder in a description, None when it does not name one."""
    try:
        values = json.loads(description)
        if not isinstance(values, list):
            return None
        fields = dict(zip(_OWNER_FIELDS, values, strict=True))
        return LockOwner.from_dict(cast("dict[str, JsonValue]", fields))
    except (ValueError, OverflowError):
        return None


def _beats_of(
    holder: LockOwner | None, lock_name: str, experiments: Sequence[_Experiment]
) -> list[_Experiment]:
    if holder is None:
        return []
    prefix = _beat_prefix(lock_name, holder)
    return [experiment for experiment in experiments if experiment.name.startswith(prefix)]


def _beat_prefix(lock_name: str, owner: LockOwner) -> str:
    return f"{lock_name}-beat-{owner.token[:_TOKEN_DIGITS]}-"


def _is_beat(lock_name: str, name: str) -> bool:
    return re.fullmatch(re.escape(lock_name) + "-beat-[0-9a-f]+-[0-9]+", name) is not None


def _has_expired(
    holder: LockOwner | None, experiments: Sequence[_Experiment], now: datetime
) -> bool:
    """Return whether a lock has no holder any more.

    Args:
        holder: the process that the lock names, None without one.
        experiments: the lock and its beats.
        now: the time of the server.
    """
    if holder is not None and holder.has_ended():
        return True
    renewed_at = max(experiment.created_at for experiment in experiments)
    return now - renewed_at > LEASE


def _check(answer: object) -> _Experiment:
    checked: dict[str, Any] = read(answer, _EXPERIMENT, service=SERVICE, thing="an experiment")
    return _Experiment(
        id=checked["experiment_id"],
        name=checked.get("display_name") or "",
        description=checked.get("description") or "",
        created_at=read_moment(checked["created_at"]),
    )


def _path(experiment_id: str) -> str:
    return f"{EXPERIMENTS}/{quote(experiment_id, safe='')}"
