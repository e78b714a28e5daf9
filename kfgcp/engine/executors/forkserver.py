"""The fork server: the process that forks a process for each task, after all slow imports.

The program has two kinds of arguments: the descriptor of a socket to the engine, and the names of
modules to import in addition to KFP's executor.

Through the socket, the server receives orders to start and to signal tasks, and reports when tasks
start and end. When the socket closes, the engine has ended. Then the server kills all tasks and the
processes that they started, and ends too. No code of a task runs in the server itself.

While a core is free, the server has one spare: a child that was forked in advance. The spare
prepares itself and reads its task from a pipe. Like any other child, it runs one task and ends
(decision 9).

The server has only one thread, for two reasons. `fork` copies only the calling thread, so a lock
that another thread holds would stay locked in the child for ever (fork(2)). And PR_SET_PDEATHSIG,
which ends a task together with its server, reacts to the end of the thread that has forked the task
(prctl(2)).
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
"""A number above all descriptors of the server. The server itself and the libraries that it imports
have only a few."""


def _count_cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        # A container or `taskset` may allow fewer cores than the machine has.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CORES: Final = _count_cores()


@dataclass(frozen=True, slots=True)
class _Spare:
    """A child that waits for its task.

    Attributes:
        pid: the process id of the child.
        message_pipe: the descriptor to which the server writes the start message of the task.
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
        # Process id of a task -> id of the attempt.
        self._attempts_by_pid: dict[int, int] = {}
        self._spare: _Spare | None = None
        self._needs_spare = True

    def serve(self) -> None:
        """Handle messages and the ends of tasks until the engine closes its end of the socket."""
        # SIGCHLD must end the wait in `select`. Python repeats a `select` that a signal interrupts
        # (PEP 475), so a handler alone does not end it. Instead, the signal writes a byte to
        # `wake_write`, and `select` returns because `wake_read` has data. Python writes the byte
        # only for signals with a handler, so SIGCHLD has a handler that does nothing.
        # When the socket is full, a byte is lost. But then `select` returns anyway, and `_reap`
        # handles all children that have ended.
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        decoder = process_messages.MessageDecoder()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                # The spare is forked only when there is nothing else to do. Until then, `select`
                # does not wait.
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
                    for message in decoder.feed(data):
                        self._handle(message)

    def _handle(self, message: StartMessage | SignalMessage) -> None:
        if message["do"] == "start":
            self._start(message)
            return
        for pid, attempt_id in self._attempts_by_pid.items():
            if attempt_id == message["id"]:
                _signal_group(pid, message["signal"])

    def _fork_spare(self) -> None:
        self._needs_spare = False
        child_end, own_end = os.pipe()
        try:
            pid = _fork(lambda: task_process.wait_and_run(child_end, self._pid), keep=child_end)
            self._spare = _Spare(pid, own_end)
        except OSError:
            # The system cannot start another process. If it still cannot do so later, the start of
            # the next task reports the error.
            os.close(own_end)
        os.close(child_end)

    def _start(self, message: StartMessage) -> None:
        spare = self._spare
        self._spare = None
        try:
            if spare is not None and _send_to_spare(spare, message):
                pid = spare.pid
            else:
                pid = _fork(lambda: task_process.run(message, self._pid))
        except OSError as error:
            problem = f"cannot start a process: {error.strerror}"
            self._send({"id": message["id"], "status": None, "error": problem})
            return
        self._attempts_by_pid[pid] = message["id"]
        # The engine needs the process id to kill the task while this server is stopped (SIGSTOP).
        self._send({"id": message["id"], "pid": pid})
        # While every core runs a task, a spare gains nothing: its preparation costs the same time,
        # only earlier.
        self._needs_spare = len(self._attempts_by_pid) < _CORES

    def _reap(self) -> None:
        """Report the ends of all tasks that have ended.

        Signals of one kind are not queued (signal(7)). So one SIGCHLD can mean that several
        children have ended.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt_id = self._attempts_by_pid.pop(pid, None)
            if attempt_id is None:
                # This child was a spare, and somebody has killed it.
                continue
            # The task may have left processes in the background. They are killed before the report,
            # because after it the engine reads and removes the files of the task. The id is safe to
            # use: while processes of the group exist, the system gives its id to no other process
            # (POSIX, "Process ID Reuse").
            _signal_group(pid, signal.SIGKILL)
            self._send({"id": attempt_id, "status": status})

    def _send(self, message: Mapping[str, object]) -> None:
        with suppress(ConnectionError):
            self._connection.sendall(process_messages.encode(message))

    def _kill_all(self) -> None:
        for pid in self._attempts_by_pid:
            _signal_group(pid, signal.SIGKILL)


def _fork(run: Callable[[], NoReturn], *, keep: int = _HIGHEST_FD) -> int:
    """Fork a child and return its process id.

    Args:
        run: the code of the child.
        keep: the only descriptor of the server that stays open in the child, beside 0, 1 and 2. The
            default keeps none.

    Raises:
        OSError: the system cannot start another process.
    """
    pid = os.fork()
    if pid == 0:
        # The child has a copy of the wake-up descriptor. Without this line, a signal to the child
        # would wake the server.
        signal.set_wakeup_fd(-1)
        # A copy of the socket would keep the connection to the engine open after the end of the
        # server. A copy of the server's end of a pipe would keep the spare at its other end waiting
        # after the end of the server.
        os.closerange(3, keep)
        os.closerange(keep + 1, _HIGHEST_FD)
        run()
    # The child makes the same call. Both do, because either may run first, and the group must exist
    # before the server sends a signal to it (GNU C Library manual, "Launching Jobs").
    with suppress(OSError):
        os.setpgid(pid, pid)
    return pid


def _send_to_spare(spare: _Spare, message: StartMessage) -> bool:
    """Send a start message to a spare; return False when somebody has killed the spare."""
    try:
        with open(spare.message_pipe, "wb") as pipe:
            marshal.dump(cast("dict[str, Any]", message), pipe)
    except BrokenPipeError:
        return False
    return True


def _signal_group(pid: int, signal_number: int) -> None:
    """Send a signal to a task and all processes in its group.

    Do nothing when the group has ended, or has only processes of another user (kill(2)), such as a
    program with the set-user-ID bit.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def main() -> None:
    """Import modules, and serve until the engine ends. This function never returns."""
    # Somebody may send these signals to all processes of a run. The server ignores them: it ends
    # when the engine closes the socket, and so tasks end in order. Tasks do not ignore the signals.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    task_process.preload(sys.argv[2:])
    # A garbage collection writes to every object that it visits. In a child, each memory page with
    # these objects would then be copied. After `freeze`, garbage collections do not visit the
    # objects that exist now, such as imported modules (Python documentation, `gc.freeze`).
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.sendall(process_messages.encode({"id": None}))
        ForkServer(connection).serve()
    # The engine waits for the end of this process, and the normal end of the interpreter takes
    # longer than a small task.
    os._exit(0)
