"""`kfgcp run`: compile, submit, follow to the end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import click

from kfgcp import api, config
from kfgcp.backends.base import ForegroundRun
from kfgcp.cli import options, output
from kfgcp.cli.live import Viewer
from kfgcp.errors import RunTimeout, UsageError
from kfgcp.model import RunState
from kfgcp.spec import params as spec_params
from kfgcp.spec.load import load
from kfgcp.store.store import Store
from kfgcp.tracking.follow import follow
from kfgcp.tracking.handle import RunHandle

FAILED = 6


@click.command(epilog="Example: kfgcp run examples/train_classifier.py -p model=random_forest -p seed=3")
@click.argument("pipeline")
@click.option("-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter's value.")
@click.option("--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins.")
@click.option("--env", metavar="NAME", help="The environment to run in.")
@click.option("--experiment", metavar="NAME", help="The group of runs it belongs to.")
@click.option("--name", default="", metavar="TEXT", help="A name for the run.")
@click.option("--label", "label", multiple=True, metavar="K=V", help="A label to find the run by.")
@click.option("--cache/--no-cache", default=None, help="Caching for every task; without, as the pipeline says.")
@click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Tasks at the same time (local).")
@click.option("--fail-fast", is_flag=True, help="Start nothing new after the first failure.")
@click.option(
    "--executor",
    type=click.Choice(["auto", "process", "docker"]),
    default="auto",
    help="What runs tasks (local): Python functions in processes and other commands in Docker, or all in one.",
)
@click.option("--strict-env", is_flag=True, help="Install the very kfp that the compiled commands pin (local).")
@click.option("--detach", is_flag=True, help="Return at once; the run goes on by itself.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Cancel it after S seconds; exit 7.")
@options.as_json
def command(
    pipeline: str,
    assignments: tuple[str, ...],
    params_file: Path | None,
    env: str | None,
    experiment: str | None,
    name: str,
    label: tuple[str, ...],
    cache: bool | None,
    max_parallel: int | None,
    fail_fast: bool,
    executor: Literal["auto", "process", "docker"],
    strict_env: bool,
    detach: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Run a pipeline and wait for its end.

    PIPELINE is file.py, file.py:function, or a compiled .yaml or .json. States and logs go to stderr as the run goes
    on; the result goes to stdout. Ctrl-C cancels the run, a second one kills it.
    """
    labels = options.labels(label)
    if timeout is not None and not timeout <= threading.TIMEOUT_MAX:
        raise UsageError(f"--timeout {timeout:g} is not a number of seconds.", hint="Leave it out to wait for ever.")
    spec = load(pipeline)
    values = spec_params.read_file(params_file) if params_file else {}
    values |= spec_params.parse(spec.params, assignments)
    how = api.SubmitOptions(
        params=values,
        env=env,
        experiment=experiment,
        name=name,
        labels=labels,
        cache=cache,
        max_parallel=max_parallel,
        fail_fast=fail_fast,
        executor=executor,
        strict_env=strict_env,
    )
    if detach:
        return _detached(api.submit(spec, **how), as_json)
    handle, opened = api.open_run(spec, **how)
    timed_out = _execute(handle, opened, timeout)
    handle.refresh()
    _report(handle, as_json)
    if timed_out:
        raise RunTimeout(
            f"Run {handle.run_id} did not end within {timeout:g} s and was cancelled.",
            hint="Give it longer with --timeout, or let it go on by itself with --detach.",
        )
    return 0 if handle.state is RunState.SUCCEEDED else FAILED


def _detached(handle: RunHandle, as_json: bool) -> int:
    if as_json:
        output.print_json(handle.to_dict())
    else:
        click.echo(handle.run_id)
        output.hint(f"kfgcp watch {handle.run_id}")
    return 0


def _execute(handle: RunHandle, opened: ForegroundRun, timeout: float | None) -> bool:
    """Runs it in this thread and shows it from another. Whether it was cancelled because its time was over."""
    ended = threading.Event()
    viewer = threading.Thread(target=_show, args=(handle, ended), name="kfgcp-viewer", daemon=True)
    over = threading.Event()

    def time_over() -> None:
        over.set()
        opened.cancel()

    timer = threading.Timer(timeout, time_over) if timeout is not None else None
    with _interruptible(opened):
        viewer.start()
        if timer:
            timer.start()
        try:
            opened.execute()
        finally:
            if timer:
                timer.cancel()
            ended.set()
            viewer.join()
    return over.is_set() and handle.refresh().state is RunState.CANCELLED


def _show(handle: RunHandle, ended: threading.Event) -> None:
    home = config.load().home

    def check() -> None:
        """After the engine's end one more look, and none after that: it may have ended without a final state."""
        if checked_after_end:
            raise _EngineEnded
        if ended.is_set():
            checked_after_end.append(True)

    checked_after_end: list[bool] = []
    with Viewer(handle.snapshot) as viewer, Store(home) as store:
        try:
            for update in follow(store, home, handle.run_id, check=check, sleep=ended.wait):
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

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, cancel) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _report(handle: RunHandle, as_json: bool) -> None:
    run = handle.snapshot
    if run.state is not RunState.SUCCEEDED:
        output.print_failure(run)
    if as_json:
        output.print_json(handle.to_dict())
        return
    from kfgcp.cli.show import print_results

    print_results(run)
    output.hint(f"kfgcp show {run.run_id}   kfgcp compare   kfgcp list")
