"""The process that forks the processes of tasks, with KFP's executor already imported.

`main` takes as arguments the descriptor of a socket and the names of more modules to import.

The server reads from the socket which tasks to start and to signal, and reports which tasks started
and ended. It ends with the engine: when the socket closes, it kills every task and all that the
task started. No code of a task runs in this process.

While a core is free, one child is forked ahead, the spare: it prepares itself and reads its task
from a pipe. Like any other child it runs one task and ends (decision 9).

The server has one thread. `fork` copies only the calling thread, so a lock that another thread
holds would stay locked in the child for ever (fork(2)). And PR_SET_PDEATHSIG, which ends a task
with its server, means the end of the thread that forked (prctl(2)).
"""

from __future__ import annotations

import gc
import marshal
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

from kfgcp.engine.executors import process_messages, task_process
from kfgcp.engine.executors.process_messages import SignalMessage, StartMessage

_HIGHEST_FD: Final = 64
"""Higher than any descriptor of the server: it has a handful, and the libraries that it imports
open few."""


def _count_cores() -> int:
    if sys.platform == "linux":
        # A container or `taskset` may allow fewer cores than the machine has.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CORES: Final = _count_cores()


@dataclass(frozen=True, slots=True)
class _Spare:
    """A process that waits for its task.

    Attributes:
        pid: its process id.
        message_pipe: the end of a pipe where the start message of the task is written.
    """

    pid: int
    message_pipe: int


class ForkServer:
    """The loop that reads messages, forks tasks, and reports their ends.

    Args:
        connection: the socket to the engine.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._attempt_of: dict[int, int] = {}  # by process id
        self._spare: _Spare | None = None
        self._needs_spare = True

    def serve(self) -> None:
        """Serve until the engine closes its end."""
        wake_read, wake_write = socket.socketpair()
        # Python repeats a `select` that a signal interrupts (PEP 475), so a handler alone would not
        # end it. The wake-up descriptor makes the selector return. It gets a byte only for signals
        # with a handler in Python, so SIGCHLD has one that does nothing.
        # A full socket already wakes the selector, so no byte is missed: `_reap` asks for all ends.
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        lines = process_messages.Lines()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                # The spare is forked only when there is nothing else to do.
                timeout = 0 if self._needs_spare else None
                ready = selector.select(timeout)
                if not ready:
                    self._fork_spare()
                for key, _ in ready:
                    if key.fileobj is wake_read:
                        wake_read.recv(4096)
                        self._reap()
                        continue
                    data = process_messages.receive(self._connection)
                    if not data:
                        self._kill_all()
                        return
                    for message in lines.feed(data):
                        self._handle(message)

    def _handle(self, message: StartMessage | SignalMessage) -> None:
        if message["do"] == "start":
            self._start(message)
            return
        for pid, attempt_id in self._attempt_of.items():
            if attempt_id == message["id"]:
                _signal_group(pid, message["signal"])

    def _fork_spare(self) -> None:
        self._needs_spare = False
        child_end, own_end = os.pipe()
        try:
            pid = _fork(lambda: task_process.wait_and_run(child_end, self._pid), keep=child_end)
            self._spare = _Spare(pid, own_end)
        except OSError:
            # The system has no process left. If that lasts, the next start reports it.
            os.close(own_end)
        os.close(child_end)

    def _start(self, message: StartMessage) -> None:
        spare = self._spare
        self._spare = None
        try:
            if spare is not None and _send_task(spare, message):
                pid = spare.pid
            else:
                pid = _fork(lambda: task_process.run(message, self._pid))
        except OSError as error:
            problem = f"cannot start a process: {error.strerror}"
            self._send({"id": message["id"], "status": None, "error": problem})
            return
        self._attempt_of[pid] = message["id"]
        # The engine needs the id to kill the task when this server is stopped.
        self._send({"id": message["id"], "pid": pid})
        # With a task on every core, forking ahead gains nothing: the work is the same, only
        # earlier.
        self._needs_spare = len(self._attempt_of) < _CORES

    def _reap(self) -> None:
        """Report all children that have ended.

        Signals of one kind are not queued (signal(7)): one SIGCHLD can stand for several children.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt_id = self._attempt_of.pop(pid, None)
            if attempt_id is None:
                # A spare that somebody has killed.
                continue
            # The task may have left processes in the background. They are killed before the end is
            # reported, because the engine then reads and removes the files of the task. The id is
            # safe to use: it is not given to another process while its group exists (POSIX,
            # "Process ID Reuse").
            _signal_group(pid, signal.SIGKILL)
            self._send({"id": attempt_id, "status": status})

    def _send(self, message: Mapping[str, object]) -> None:
        with suppress(ConnectionError):
            self._connection.sendall(process_messages.encode(message))

    def _kill_all(self) -> None:
        for pid in self._attempt_of:
            _signal_group(pid, signal.SIGKILL)


def _fork(run: Callable[[], NoReturn], *, keep: int = _HIGHEST_FD) -> int:
    """Return the id of a new child.

    Args:
        run: the code of the child.
        keep: the only descriptor of the server that the child keeps.

    Raises:
        OSError: the system cannot start another process.
    """
    pid = os.fork()
    if pid == 0:
        # The wake-up descriptor is shared with the server, which a signal to the child must not
        # wake.
        signal.set_wakeup_fd(-1)
        # With a copy of the socket, a child would keep the connection to the engine open after the
        # server's death. With the other end of a pipe, it would keep a spare waiting.
        os.closerange(3, keep)
        os.closerange(keep + 1, _HIGHEST_FD)
        run()
    # The child does the same. Whichever comes first, the group exists before a signal is sent to
    # it (GNU C Library manual, "Launching Jobs").
    with suppress(OSError):
        os.setpgid(pid, pid)
    return pid


def _send_task(spare: _Spare, message: StartMessage) -> bool:
    """Send a task to a spare; return False when somebody has killed the spare."""
    try:
        with open(spare.message_pipe, "wb") as pipe:
            marshal.dump(cast("dict[str, Any]", message), pipe)
    except BrokenPipeError:
        return False
    return True


def _signal_group(pid: int, number: int) -> None:
    """Send a signal to a task and all processes in its group.

    Nothing happens when the group has ended, or has only processes of another user (kill(2)), such
    as a program with the set-user-ID bit.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main() -> None:
    """Import modules and serve. This function never returns to its caller."""
    # Somebody may send these to every process of a run. Only the engine ends the server, by
    # closing the socket, so that tasks end in order. Tasks restore the default actions.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    task_process.preload(sys.argv[2:])
    # A garbage collection writes to every object that it looks at, and then the child needs its own
    # copy of the page. After `freeze` it leaves out what was imported (Python documentation,
    # `gc.freeze`).
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.sendall(process_messages.encode({"id": None}))
        ForkServer(connection).serve()
    # The engine waits for the end of this process. Ending the interpreter in the normal way takes
    # longer than a small task.
    os._exit(0)
