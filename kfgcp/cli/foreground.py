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
from kfgcp.cli.options import StartOptions
from kfgcp.cli.results import print_results
from kfgcp.errors import RunFailed, RunTimeout
from kfgcp.model import RunState
from kfgcp.tracking.engine_thread import cancelled_on_interrupt
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotHeeded
from kfgcp.tracking.updates import RunUpdates


def start(start_run: Callable[[], RunHandle], start_options: StartOptions) -> int:
    """Start a run, show it, and return the exit code of the command.

    Args:
        start_run: starts the run and returns its handle.
        start_options: how to wait for the run and how to print it.

    Raises:
        RunTimeout: the run took longer than --timeout and was cancelled.
    """
    with warnings.catch_warnings():
        # `handle.notes` has the texts of these warnings, and is printed below.
        warnings.simplefilter("ignore", NotHeeded)
        handle = start_run()
    if not start_options.detach:
        with cancelled_on_interrupt(handle.engine):
            output.print_notes(handle.notes)
            return _follow(handle, start_options.timeout, start_options.as_json)
    output.print_notes(handle.notes)
    if start_options.as_json:
        output.print_json(handle.to_dict())
    else:
        click.echo(handle.run_id)
        output.hint(f"kfgcp watch {handle.run_id}")
    return 0


def _follow(handle: RunHandle, timeout: float | None, as_json: bool) -> int:
    """Show a run until it has ended, print its result, and return the exit code."""
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
            # Nobody reads the output any longer. Even so, execute the run to its end.
            if handle.engine is not None:
                handle.engine.finish()
            raise
    _report(handle, viewer, as_json)
    if is_overdue and handle.state is RunState.CANCELLED:
        raise RunTimeout(
            f"Run {handle.run_id} did not end within {timeout:g} s and was cancelled.",
            hint="Allow more time with --timeout, or start the run in the background with"
            " --detach.",
        )
    return 0 if handle.state is RunState.SUCCEEDED else RunFailed.exit_code


@contextmanager
def _cancel_on_signals(updates: RunUpdates) -> Iterator[None]:
    """Cancel the run at the first Ctrl-C, SIGTERM or SIGHUP.

    The second signal kills the tasks of a local run. For a remote run, it ends the waiting.
    """
    signal_count = 0

    def cancel(number: int, frame: FrameType | None) -> None:
        nonlocal signal_count
        signal_count += 1
        updates.cancel(force=signal_count > 1)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # nohup starts its command with SIGHUP ignored. The command must keep ignoring it.
    handled = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    handlers_before = [signal.signal(number, cancel) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, handlers_before, strict=True):
            signal.signal(number, handler)


def _report(handle: RunHandle, viewer: Viewer, as_json: bool) -> None:
    """Print the result of a run, why it failed, and what to type next."""
    run = handle.snapshot
    if run.state is not RunState.SUCCEEDED:
        output.print_failure(run, tail=not viewer.has_shown_log_end(run))
    if not run.state.final:
        output.note(f"run {run.run_id} is still {run.state}; kfgcp has stopped waiting for it")
    if as_json:
        output.print_json(handle.to_dict())
        return
    print_results(run)
    if run.state.final:
        output.hint(f"kfgcp show {run.run_id}   kfgcp compare   kfgcp list")
    else:
        output.hint(f"kfgcp watch {run.run_id}   kfgcp cancel {run.run_id}")
