"""Shows the logs of a run while it runs. A thread reads them, so that no page waits for a slow
service."""

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
"""The largest number of lines that are kept and shown. The command `kfgcp logs` shows all."""
WIDEST: Final = 2000
"""The largest number of characters of a line that are shown."""
FIRST: Final = 0.4
"""Seconds that a page waits for the first lines. Logs on this machine are read by then."""
LOOK: Final = 1.0
"""Seconds between two looks at the run."""
FORGET: Final = 20.0
"""Seconds after which a log that no page shows is not followed any longer."""


@dataclass
class Following:
    """The end of a log that a thread reads.

    Attributes:
        lines: the last lines.
        count: how many lines were read.
        ended: whether no more lines will come.
        first: set when the lines of the first look are there.
        error: why reading failed; empty when it did not.
        hint: what to do about the error.
        wanted_at: when a page last showed the log, by the monotonic clock.
    """

    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LINES))
    count: int = 0
    ended: bool = False
    first: threading.Event = field(default_factory=threading.Event)
    error: str = ""
    hint: str = ""
    wanted_at: float = 0.0


_guard: Final = threading.Lock()
_followed: Final[dict[tuple[str, str, LogFilter], Following]] = {}


def follow(workspace: Workspace, run: Run, log_filter: LogFilter) -> Following:
    """Return the log of a run, as far as it was read. A thread continues to read it."""
    key = (str(workspace.project.home), run.run_id, log_filter)
    with _guard:
        now = time.monotonic()
        unused_keys = [
            key for key, following in _followed.items() if now - following.wanted_at > FORGET
        ]
        for unused_key in unused_keys:
            del _followed[unused_key]
        following = _followed.get(key)
        if following is None:
            following = _followed[key] = Following(wanted_at=now)
            arguments = (workspace, run, log_filter, following)
            threading.Thread(target=_read, args=arguments, daemon=True, name="logs").start()
        following.wanted_at = now
    return following


def _read(workspace: Workspace, run: Run, log_filter: LogFilter, into: Following) -> None:
    ref = RunRef(run.env, run.run_id)
    try:
        # The page asks the backend for the run.
        updates = RunHandle(workspace, ref, run).updates(logs=log_filter, refresh=False)
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
    except Exception as error:
        # Shown on the page: nobody sees what a thread raises.
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
        left.selectbox,
        "Task",
        ["", *tasks],
        key="task",
        default="",
        format_func=lambda path: path or "all tasks",
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
    needle = address.widget(
        right.text_input, "Lines with", key="lines", default="", placeholder="any text"
    )
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
        st.warning(text.escape_markdown(found.error), icon=":material/cloud_off:")
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
    body = text.visible(text.strip_colors(line.text))[:WIDEST]
    return f"{at}{where}{body}"
