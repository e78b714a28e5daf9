"""A run that a command waits for.

The run is shown while it is in progress, Ctrl-C cancels it, and its result is printed at the end.
"""

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
from kfgcp.cli.results import print_results
from kfgcp.errors import RunFailed, RunTimeout
from kfgcp.model import RunState
from kfgcp.tracking.engine_thread import cancelled_on_interrupt
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotHeeded
from kfgcp.tracking.updates import RunUpdates


def start(
    start_run: Callable[[], RunHandle], *, detach: bool, timeout: float | None, as_json: bool
) -> int:
    """Start a run and report it, and return the exit code of the command.

    Args:
        start_run: starts the run.
        detach: do not wait for its end.
        timeout: seconds after which the run is cancelled; None for no limit.
        as_json: print the run as JSON.

    Raises:
        RunTimeout: it took longer than `timeout` seconds and was cancelled.
    """
    with warnings.catch_warnings():
        # The handle has the same texts as notes, which are printed below.
        warnings.simplefilter("ignore", NotHeeded)
        handle = start_run()
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
    """Show a run until it has ended, report it, and return the exit code."""
    deadline = None if timeout is None else time.monotonic() + timeout
    is_overdue = False

    def on_pause() -> None:
        nonlocal is_overdue
        viewer.flush()
        if deadline is not None and not is_overdue and time.monotonic() >= deadline:
            is_overdue = True
            updates.cancel()

    updates = handle.updates(notice=output.note, on_pause=on_pause)
    with _cancel_on_signals(updates), Viewer(handle.snapshot) as viewer:
        try:
            for update in updates:
                viewer.show(update)
        except BrokenPipeError:
            # Nobody reads the output any longer. The run is still executed to its end.
            if handle.engine is not None:
                handle.engine.finish()
            raise
    _report(handle, viewer, as_json)
    if is_overdue and handle.state is RunState.CANCELLED:
        raise RunTimeout(
            f"Run {handle.run_id} did not end within {timeout:g} s and was cancelled.",
            hint="Allow more time with --timeout, or let it continue by itself with --detach.",
        )
    return 0 if handle.state is RunState.SUCCEEDED else RunFailed.exit_code


@contextmanager
def _cancel_on_signals(updates: RunUpdates) -> Iterator[None]:
    """Cancel the run at the first Ctrl-C, SIGTERM or SIGHUP.

    The second one kills the tasks of a run on this machine, and leaves a remote run.
    """
    count = 0

    def cancel(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        updates.cancel(force=count > 1)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # nohup ignores SIGHUP for its command, which must stay so.
    handled = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    handlers_before = [signal.signal(number, cancel) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, handlers_before, strict=True):
            signal.signal(number, handler)


def _report(handle: RunHandle, viewer: Viewer, as_json: bool) -> None:
    """Print the result of a run, or why it failed."""
    run = handle.snapshot
    if run.state is not RunState.SUCCEEDED:
        output.print_failure(run, tail=not viewer.has_shown_log_end(run))
    if not run.state.final:
        output.note(f"run {run.run_id} is {run.state}, and kfgcp does not wait for it any longer")
    if as_json:
        output.print_json(handle.to_dict())
        return
    print_results(run)
    if run.state.final:
        output.hint(f"kfgcp show {run.run_id}   kfgcp compare   kfgcp list")
    else:
        output.hint(f"kfgcp watch {run.run_id}   kfgcp cancel {run.run_id}")
