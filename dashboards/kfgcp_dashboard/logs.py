"""Logs of a run that follow it: read in the background, so that a slow service holds no page up."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import streamlit as st

from kfgcp.backends.base import LogFilter, LogLine, RunRef
from kfgcp.errors import KfgcpError
from kfgcp.model import Run
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.updates import LogWritten
from kfgcp.workspace import Workspace
from kfgcp_dashboard import address, data, elements, text

LINES: Final = 2000
"""Lines that are kept and shown; the command `kfgcp logs` has all."""
WIDEST: Final = 2000
"""Characters of a line."""
FIRST: Final = 0.4
"""Seconds that a page waits for the first lines: those on this machine are there by then."""
LOOK: Final = 1.0
FORGET: Final = 20.0
"""Seconds without a reader after which following ends."""


@dataclass
class Following:
    """The end of a log that a thread reads. ended: nothing more will come."""

    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LINES))
    count: int = 0
    ended: bool = False
    first: threading.Event = field(default_factory=threading.Event)
    error: str = ""
    hint: str = ""
    wanted_at: float = 0.0


_guard: Final = threading.Lock()
_followed: Final[dict[tuple[str, str, LogFilter], Following]] = {}


def follow(workspace: Workspace, run: Run, wanted: LogFilter) -> Following:
    """The log of a run, as far as it was read; a thread goes on reading it."""
    key = (str(workspace.project.home), run.run_id, wanted)
    with _guard:
        for old in [old for old, each in _followed.items() if time.monotonic() - each.wanted_at > FORGET]:
            del _followed[old]
        found = _followed.get(key)
        if found is None:
            found = _followed[key] = Following(wanted_at=time.monotonic())
            threading.Thread(target=_read, args=(workspace, run, wanted, found), daemon=True, name="logs").start()
        found.wanted_at = time.monotonic()
    return found


def _read(workspace: Workspace, run: Run, wanted: LogFilter, into: Following) -> None:
    ref = RunRef(run.env, run.run_id)
    try:
        # The page asks the backend for the run.
        updates = RunHandle(workspace, ref, run).updates(logs=wanted, refresh=False)
        while not into.ended and time.monotonic() - into.wanted_at <= FORGET:
            for update in updates.available():
                if isinstance(update, LogWritten):
                    into.lines.append(update.line)
                    into.count += 1
            into.first.set()
            into.ended = updates.have_ended
            if not into.ended:
                time.sleep(LOOK)
    except KfgcpError as error:
        into.error, into.hint = error.message, error.hint
    except Exception as error:  # said on the page: nobody sees what a thread raises
        elements.LOG.exception("reading a log failed")
        into.error = f"Reading the log failed inside: {type(error).__name__}."
    finally:
        into.ended = True
        into.first.set()


def show(run: Run) -> None:
    """The log of all tasks or of the one that is picked, its newest lines last."""
    tasks = {task.path: task for task in run.tasks if task.attempts}
    left, middle, right = st.columns([4, 1, 2], vertical_alignment="bottom")
    path = address.widget(
        left.selectbox, "Task", ["", *tasks], key="task", default="", format_func=lambda path: path or "all tasks"
    )
    attempts = tasks[path].attempts if path else 0
    attempt = address.widget(
        middle.selectbox,
        "Attempt",
        ["", *(str(number) for number in range(1, attempts + 1))],
        key="attempt",
        default="",
        format_func=lambda number: number or "all",
        disabled=attempts < 2,
    )
    needle = address.widget(right.text_input, "Lines with", key="lines", default="", placeholder="any text")
    wanted = LogFilter(task=path or None, attempt=int(attempt) if attempt else None)
    workspace = data.workspace()
    found = follow(workspace, run, wanted)
    found.first.wait(FIRST)
    every = None if run.state.final and found.ended else LOOK

    @st.fragment(run_every=every)
    @elements.guarded
    def lines() -> None:
        _lines(follow(workspace, run, wanted), needle, all_tasks=not path)

    lines()


def _lines(found: Following, needle: str, *, all_tasks: bool) -> None:
    if found.error:
        st.warning(text.markdown(found.error), icon=":material/cloud_off:")
        if found.hint:
            st.code(text.visible_lines(found.hint), language=None)
    lines = list(found.lines)
    shown = [line for line in lines if needle.lower() in line.text.lower()] if needle else lines
    if found.count > len(lines):
        st.caption(f"The last {len(lines):,} of {found.count:,} lines; all of them: `kfgcp logs`.")
    if not shown:
        st.caption(
            "No lines with that text."
            if needle and lines
            else "Nothing was written."
            if found.ended
            else "Waiting for lines."
        )
        return
    with st.container(height=520, autoscroll=True):
        st.code("\n".join(_line(line, all_tasks) for line in shown), language=None, wrap_lines=True)
    if not found.ended:
        st.caption(":shimmer[following]")


def _line(line: LogLine, with_task: bool) -> str:
    at = f"{line.at[11:19]} " if line.at else ""
    where = f"{text.visible(line.task)} │ " if with_task else ""
    body = text.visible(text.without_colours(line.text))[:WIDEST]
    return f"{at}{where}{body}"
