"""A run that a command waits for: it is shown, Ctrl-C cancels it, and its result is printed at the
end."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from kfgcp.cli import output
from kfgcp.cli.live import Viewer
from kfgcp.errors import RunFailed, RunTimeout
from kfgcp.model import RunState
from kfgcp.tracking.engine_thread import cancelled_on_interrupt
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotHeeded
from kfgcp.tracking.updates import RunUpdates


def start(
    begin: Callable[[], RunHandle], *, detach: bool, timeout: float | None, as_json: bool
) -> int:
    """Start a run and report it, and return the exit code of the command.

    Args:
        begin: starts the run.
        detach: do not wait for its end.
        timeout: seconds after which the run is cancelled; None for no limit.
        as_json: print the run as JSON.

    Raises:
        RunTimeout: it took longer than `timeout` seconds and was cancelled.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotHeeded)  # the handle has them as notes
        handle = begin()
    if not detach:
        with cancelled_on_interrupt(handle.engine):
            output.print_notes(handle.notes)
            return _follow(handle, timeout, as_json)
    output.print_notes(handle.notes)
    if as_json:
        output.print_json(handle.to_dict())
    else:
        click.echo(handle.run_id)
        output.hint(f"kfgcp watch {handle.run_id}")
    return 0


def _follow(handle: RunHandle, timeout: float | None, as_json: bool) -> int:
    """Show a run until it has ended, and report it."""
    deadline = None if timeout is None else time.monotonic() + timeout
    is_overdue = False

    def between_looks() -> None:
        nonlocal is_overdue
        viewer.flush()
        if deadline is not None and not is_overdue and time.monotonic() >= deadline:
            is_overdue = True
            updates.cancel()

    updates = handle.updates(notice=output.note, on_pause=between_looks)
    with _interruptible(updates), Viewer(handle.snapshot) as viewer:
        try:
            for update in updates:
                viewer.show(update)
        except BrokenPipeError:
            # Nobody reads what is shown any longer. The run is executed to its end all the same.
            if handle.engine is not None:
                handle.engine.finish()
            raise
    _report(handle, viewer, as_json)
    if is_overdue and handle.state is RunState.CANCELLED:
        raise RunTimeout(
            f"Run {handle.run_id} did not end within {timeout:g} s and was cancelled.",
            hint="Give it longer with --timeout, or let it continue by itself with --detach.",
        )
    return 0 if handle.state is RunState.SUCCEEDED else RunFailed.exit_code


@contextmanager
def _interruptible(updates: RunUpdates) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM, SIGHUP) cancel the run, and the second one kill its tasks
    or leave it."""
    count = 0

    def cancel(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        updates.cancel(force=count > 1)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What nohup ignores stays ignored.
    handled = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, cancel) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, handler)


def _report(handle: RunHandle, viewer: Viewer, as_json: bool) -> None:
    run = handle.snapshot
    if run.state is not RunState.SUCCEEDED:
        output.print_failure(run, tail=not viewer.has_shown_log_end(run))
    if not run.state.final:
        output.note(f"run {run.run_id} is {run.state} and not waited for any longer")
    if as_json:
        output.print_json(handle.to_dict())
        return
    from kfgcp.cli.verbs.show import print_results

    print_results(run)
    if not run.state.final:
        output.hint(f"kfgcp watch {run.run_id}   kfgcp cancel {run.run_id}")
        return
    output.hint(f"kfgcp show {run.run_id}   kfgcp compare   kfgcp list")
