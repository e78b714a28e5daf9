"""The interface of locks: when two processes change the same schedules, one of them stops.

A backend keeps the lock on its service, because the processes may run on different machines. The
lock names its holder, a `LockOwner`. A holder that was killed does not remove its lock. So another
process takes the lock over in two cases:

- The holder is a process of this machine that does not exist any more.
- The lock is older than the lease. A backend whose service can change a lock renews it while its
  holder runs. The age is computed from times of the service, because clocks of machines differ.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, Self, runtime_checkable

from kfgcp.errors import BackendError
from kfgcp.labels import user_name
from kfgcp.model import JsonValue
from kfgcp.services.redact import redacted_line

LEASE: Final = timedelta(minutes=2)
"""A lock that was not renewed for this time has no holder any more."""

RENEW_EVERY: Final = timedelta(seconds=20)
"""A holder renews its lock after this time, where the service can change a lock."""

# The longest time that `ps` may take, in seconds.
_PS_SECONDS: Final = 5.0

# No system has a larger id of a process. The type pid_t is a 32-bit integer on Linux and macOS.
_MAX_PID: Final = 2**31 - 1

# The most characters of `user@host` in a message. With the process and the time, the whole holder
# has at most 200 characters.
_MAX_WHERE: Final = 140


@dataclass(frozen=True, slots=True)
class LockOwner:
    """A process that holds a lock, or wants to hold it.

    Attributes:
        user: the name of its user, "" when it has none.
        host: the name of its machine, for messages.
        machine: the identity of its machine, of the machine's last start, and of the container.
        pid: its process id.
        process_start: when the process started, in a form that only this machine understands. "" on
            a system that does not tell. A later process can have the same id, but not this text.
        started_at: when it asked for the lock, by the clock of its machine.
        token: a random text. No other owner has it.
    """

    user: str
    host: str
    machine: str
    pid: int
    process_start: str
    started_at: datetime
    token: str

    @classmethod
    def of_this_process(cls, now: datetime | None = None) -> Self:
        """Return a new owner for this process.

        Args:
            now: the time with a zone, None for the clock of this machine.

        Example:
            >>> LockOwner.of_this_process().pid == os.getpid()
            True
        """
        return cls(
            user=user_name(),
            host=socket.gethostname(),
            machine=_machine_identity(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()) or "",
            started_at=(now or datetime.now(UTC)).astimezone(UTC),
            token=secrets.token_hex(16),
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the owner as JSON."""
        return {
            "user": self.user,
            "host": self.host,
            "machine": self.machine,
            "pid": self.pid,
            "process_start": self.process_start,
            "started_at": self.started_at.isoformat(),
            "token": self.token,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        """Return the owner from the JSON of `to_dict`.

        Raises:
            ValueError: a value is missing, or has another type.
        """
        pid = data.get("pid")
        if not isinstance(pid, int) or isinstance(pid, bool) or not 1 <= pid <= _MAX_PID:
            raise ValueError("pid is not the id of a process")
        started_at = datetime.fromisoformat(_text(data, "started_at"))
        if started_at.tzinfo is None:
            raise ValueError("started_at has no time zone")
        try:
            started_at = started_at.astimezone(UTC)
        except OverflowError:
            # In UTC, it would be before the year 1 or after the year 9999.
            raise ValueError("started_at is not a time in UTC") from None
        return cls(
            user=_text(data, "user"),
            host=_text(data, "host"),
            machine=_text(data, "machine"),
            pid=pid,
            process_start=_text(data, "process_start"),
            started_at=started_at,
            token=_text(data, "token"),
        )

    def has_ended(self) -> bool:
        """Return whether the process certainly does not exist any more.

        It is False for a process of another machine or of another container.
        """
        if not self.machine or self.machine != _machine_identity():
            return False
        process_start = _process_start(self.pid)
        if process_start is None:
            return True
        if not process_start or not self.process_start:
            return False
        # The id of a process is used again.
        return process_start != self.process_start

    def __str__(self) -> str:
        """Return the owner for messages: `ada@laptop, process 4711, since 2026-11-30 06:00:00Z`."""
        where = f"{self.user}@{self.host}" if self.user else self.host
        # Everybody who can write the lock chooses this text.
        where = redacted_line(where, limit=_MAX_WHERE)
        return f"{where}, process {self.pid}, since {self.started_at:%Y-%m-%d %H:%M:%SZ}"


class Locked(BackendError):
    """Another process holds the lock, or took it over.

    Attributes:
        holder: the process that holds the lock, None when the lock does not name it.
    """

    def __init__(self, message: str, *, hint: str = "", holder: LockOwner | None = None) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


def locked_error(name: str, holder: LockOwner | None) -> Locked:
    """Return the error for a lock that another process holds.

    Args:
        name: the name of the lock.
        holder: the process, None when the lock does not name it.
    """
    who = "another process" if holder is None else str(holder)
    return Locked(
        f"Another apply changes the schedules of {name} now: {who}.",
        hint=(
            "Wait until it has ended, then repeat the command. When it was killed, its lock ends"
            f" by itself after {LEASE.total_seconds() / 60:.0f} minutes."
        ),
        holder=holder,
    )


def not_renewed_error(name: str, error: BackendError | None) -> Locked:
    """Return the error for a lock that this process has but could not renew.

    Args:
        name: the name of the lock.
        error: why the last renewal failed, None when it was only late.
    """
    reason = "This machine may have been suspended." if error is None else error.message
    return Locked(
        f"The lock for the schedules of {name} could not be renewed: {reason}",
        hint="Repeat the command. It continues with what is left.",
    )


class HeldLock(Protocol):
    """A lock that this process holds."""

    def check(self) -> None:
        """Check before a write that this process still holds the lock.

        Raises:
            Locked: the lock could not be renewed for half of the lease, or another process took it
                over. A machine that was suspended for minutes loses its locks.
        """


@runtime_checkable
class SupportsLock(Protocol):
    """Keeps locks on its service."""

    def hold_lock(self, name: str, owner: LockOwner) -> AbstractContextManager[HeldLock]:
        """Hold a lock in a `with` block.

        The lock is removed at the end of the block. A failure to remove it is not an error, because
        the lock ends by itself.

        Args:
            name: the name of the lock: the name of the project. It may have any characters.
            owner: this process. Each call has an owner of its own.

        Raises:
            Locked: another process holds the lock. The error names it.
            BackendError: the service refused, or cannot be reached. Nothing is locked.
        """


def _text(data: Mapping[str, JsonValue], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    return value


def _machine_identity() -> str:
    """Return a text that no other machine has, and no other container on the same machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Two containers of one machine can have the same name, and count their processes apart.
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        # Systems other than Linux. The module takes time to import.
        import uuid

        return f"{socket.gethostname()} {uuid.getnode():x}"
    return f"{boot} {namespace}"


def _process_start(pid: int) -> str | None:
    """Return when a process of this machine started, None when it does not exist.

    The result is "" when the system does not tell.
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            # Mounted with hidepid=2, /proc hides the processes of other users (proc(5)).
            return "" if _exists(pid) else None
        except OSError:
            return ""
        # proc_pid_stat(5): the name of the program, in parentheses, may contain spaces. After it
        # come the state, field 3, and the start time in ticks, field 22.
        after_name = fields.rpartition(")")[2].split()
        # A zombie has ended, and waits for its parent.
        return None if after_name[0] in ("Z", "X") else after_name[19]
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PS_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # POSIX: `ps -p` ends with an error when it selects no process.
    return answer.stdout.strip() if answer.returncode == 0 else None


def _exists(pid: int) -> bool:
    """Return whether a process exists, also one of another user."""
    try:
        # Signal 0 only checks, see kill(2).
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
