"""A run that this process executes: shown as it goes on, cancelled by Ctrl-C, reported at its end."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from kfgcp.backends.base import ForegroundRun
from kfgcp.cli import output
from kfgcp.cli.live import Viewer
from kfgcp.errors import RunFailed, RunTimeout, Unreachable
from kfgcp.machine import start_thread
from kfgcp.model import RunState
from kfgcp.tracking.follow import follow
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotHeeded
from kfgcp.tracking.watched import WatchedRun


def finish(handle: RunHandle, opened: ForegroundRun, timeout: float | None, as_json: bool) -> int:
    """The exit code of a run that was executed to its end and reported.

    Raises:
        RunTimeout: it took longer than `timeout` seconds and was cancelled.
    """
    output.print_notes(handle.notes)
    over = threading.Event()
    state = _execute(handle, opened, timeout, over)
    if state.final or handle.snapshot.backend == "local":  # one that was left may not answer
        _look_again(handle)
    _report(handle, as_json)
    if over.is_set() and handle.state is RunState.CANCELLED:
        raise RunTimeout(
            f"Run {handle.run_id} did not end within {timeout:g} s and was cancelled.",
            hint="Give it longer with --timeout, or let it go on by itself with --detach.",
        )
    return 0 if handle.state is RunState.SUCCEEDED else RunFailed.exit_code


def detached(submit: Callable[[], RunHandle], as_json: bool) -> int:
    """Submits a run that is left alone, and says which it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotHeeded)  # the handle has them as notes
        handle = submit()
    output.print_notes(handle.notes)
    if as_json:
        output.print_json(handle.to_dict())
    else:
        click.echo(handle.run_id)
        output.hint(f"kfgcp watch {handle.run_id}")
    return 0


def _look_again(handle: RunHandle) -> None:
    try:
        handle.refresh()
    except Unreachable as error:
        raise Unreachable(
            f"Run {handle.run_id} may go on, it cannot be looked at: {error.message}",
            hint=f"When it can again: kfgcp watch {handle.run_id}, or kfgcp cancel {handle.run_id}",
        ) from error


def _execute(handle: RunHandle, opened: ForegroundRun, timeout: float | None, over: threading.Event) -> RunState:
    """Take a run to its end, and show it; `over` is set when it is cancelled because its time is over."""

    def time_over() -> None:
        over.set()
        opened.cancel()

    timer = threading.Timer(timeout, time_over) if timeout is not None else None
    with _interruptible(opened):
        if timer:
            timer.start()
        try:
            if not isinstance(opened, WatchedRun):
                return _execute_here(handle, opened)
            with Viewer(handle.snapshot) as viewer:
                return opened.execute(viewer.show)
        finally:
            if timer:
                timer.cancel()


def _execute_here(handle: RunHandle, opened: ForegroundRun) -> RunState:
    """Execute a run in this thread, and show it from another one, which reads only the store and the logs."""
    ended = threading.Event()
    viewer = None
    try:
        viewer = start_thread(_show, "kfgcp-viewer", handle, ended)
    except OSError as error:
        output.note(f"the run is not shown while it runs: {error.strerror}")
    try:
        return opened.execute()
    finally:
        ended.set()
        if viewer is not None:
            viewer.join()


def _show(handle: RunHandle, ended: threading.Event) -> None:
    def check() -> None:
        """After the engine's end one more look, and none after that: it may have ended without a final state."""
        if checked_after_end:
            raise _EngineEnded
        if ended.is_set():
            checked_after_end.append(True)

    checked_after_end: list[bool] = []
    store = handle.workspace.store
    with Viewer(handle.snapshot) as viewer:
        try:
            tail = handle.tail()
            for update in follow(store, handle.run_id, tail, check=check, sleep=ended.wait, notice=output.note):
                viewer.show(update)
        except _EngineEnded:
            pass


class _EngineEnded(Exception):
    pass


@contextmanager
def _interruptible(opened: ForegroundRun) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, SIGHUP) cancels the run, the second kills it."""
    times: list[float] = []

    def cancel(number: int, frame: FrameType | None) -> None:
        times.append(time.monotonic())
        opened.cancel(force=len(times) > 1)

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    before = [signal.signal(number, cancel) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _report(handle: RunHandle, as_json: bool) -> None:
    run = handle.snapshot
    if run.state is not RunState.SUCCEEDED:
        output.print_failure(run, tail=run.backend != "local")  # there the log was shown as it was written
    if not run.state.final:
        output.note(f"run {run.run_id} is {run.state} and not waited for any longer")
    if as_json:
        output.print_json(handle.to_dict())
        return
    from kfgcp.cli.show import print_results

    print_results(run)
    if not run.state.final:
        output.hint(f"kfgcp watch {run.run_id}   kfgcp cancel {run.run_id}")
        return
    output.hint(f"kfgcp show {run.run_id}   kfgcp compare   kfgcp list")
