"""Show the logs of a run while it runs.

A thread reads the log, because a page must not wait for a slow service. Pages show what the thread
has read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import streamlit as st

from kfgcp import KfgcpError, LogFilter, LogLine, LogWritten, Run, RunHandle, RunRef, Workspace
from kfgcp_dashboard import address, data, elements, text

# The largest number of lines that are kept and shown. The command `kfgcp logs` prints all.
MAX_LINES: Final = 2000

# The largest number of characters of a line that are shown.
MAX_LINE_WIDTH: Final = 2000

# Seconds that a page waits for the first lines. Logs on this machine are read by then, so the
# page does not flicker.
FIRST_WAIT: Final = 0.4

# Seconds between two readings, and between two updates of the page.
READ_SECONDS: Final = 1.0

# The thread of a log ends this many seconds after a page last showed the log.
FORGET_SECONDS: Final = 20.0

HEIGHT: Final = 520


@dataclass
class FollowedLog:
    """The end of a log that a thread reads.

    Attributes:
        lines: the last lines.
        count: how many lines were read.
        ended: whether no more lines will come.
        first_read: set after the first reading.
        error: why reading failed; empty when it did not.
        hint: what to do about the error.
        last_shown: when a page last showed the log, by the monotonic clock.
    """

    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    count: int = 0
    ended: bool = False
    first_read: threading.Event = field(default_factory=threading.Event)
    error: str = ""
    hint: str = ""
    last_shown: float = 0.0


# The logs of all visitors: the state folder, the id of the run and the filter -> the log.
_followed: Final[dict[tuple[str, str, LogFilter], FollowedLog]] = {}
_lock: Final = threading.Lock()


def follow(workspace: Workspace, run: Run, log_filter: LogFilter) -> FollowedLog:
    """Return the log of a run, as far as it was read. A thread continues to read it.

    Args:
        workspace: the project.
        run: a run of the project.
        log_filter: which lines.
    """
    key = (str(workspace.project.home), run.run_id, log_filter)
    now = time.monotonic()
    with _lock:
        _remove_unused(now)
        log = _followed.get(key)
        if log is None:
            log = FollowedLog(last_shown=now)
            _followed[key] = log
            arguments = (workspace, run, log_filter, log)
            threading.Thread(target=_read, args=arguments, daemon=True, name="logs").start()
        log.last_shown = now
    return log


def show(run: Run) -> None:
    """Show the log of all tasks or of one task, with the newest lines last."""
    attempts_by_task = {task.path: task.attempts for task in run.tasks if task.attempts}
    task_place, attempt_place, text_place = st.columns([4, 1, 2], vertical_alignment="bottom")
    task = address.widget(
        task_place.selectbox,
        "Task",
        [""] + list(attempts_by_task),
        key="task",
        default="",
        format_func=lambda path: path or "all tasks",
    )
    attempts = attempts_by_task.get(task, 0)
    attempt_numbers = list(map(str, range(1, attempts + 1)))
    attempt = address.widget(
        attempt_place.selectbox,
        "Attempt",
        [""] + attempt_numbers,
        key="attempt",
        default="",
        format_func=lambda number: number or "all",
        disabled=attempts < 2,
    )
    search_text = address.widget(
        text_place.text_input, "Filter lines", key="lines", default="", placeholder="any text"
    )
    log_filter = LogFilter(task=task or None, attempt=int(attempt) if attempt else None)
    workspace = data.workspace()
    log = follow(workspace, run, log_filter)
    log.first_read.wait(FIRST_WAIT)
    is_complete = run.state.final and log.ended

    # Only this part of the page runs again each second. Errors need their own handler, because a
    # fragment runs later than the function that contains it.
    @st.fragment(run_every=None if is_complete else READ_SECONDS)
    @elements.catch_errors
    def show_followed() -> None:
        current_log = follow(workspace, run, log_filter)
        _show_log(current_log, search_text, with_task=not task)

    show_followed()


def _remove_unused(now: float) -> None:
    """Remove the logs that no page shows any more. The caller holds the lock."""
    for key, log in list(_followed.items()):
        if now - log.last_shown > FORGET_SECONDS:
            del _followed[key]


def _read(workspace: Workspace, run: Run, log_filter: LogFilter, log: FollowedLog) -> None:
    """Read a log into `log` until it ends or no page shows it. Runs in a thread."""
    ref = RunRef(run.env, run.run_id)
    try:
        # `sync.py` asks the backend for the run, so this thread only asks for the log.
        updates = RunHandle(workspace, ref, run).updates(logs=log_filter, refresh=False)
        while not log.ended and time.monotonic() - log.last_shown <= FORGET_SECONDS:
            for update in updates.available():
                if isinstance(update, LogWritten):
                    log.lines.append(update.line)
                    log.count += 1
            log.first_read.set()
            log.ended = updates.have_ended
            if not log.ended:
                time.sleep(READ_SECONDS)
    except KfgcpError as error:
        log.error = error.message
        log.hint = error.hint
    except Exception as error:
        # The page shows it, because nobody sees the errors of a thread.
        elements.LOG.exception("reading a log failed")
        log.error = f"An internal error while reading the log: {type(error).__name__}."
    finally:
        log.ended = True
        log.first_read.set()


def _show_log(log: FollowedLog, search_text: str, *, with_task: bool) -> None:
    if log.error:
        st.warning(text.escape_markdown(log.error), icon=":material/cloud_off:")
        elements.show_hint(log.hint)
    # The thread appends to the deque while this page reads it, so this takes a copy.
    lines = list(log.lines)
    shown_lines = []
    for line in lines:
        if search_text.lower() in line.text.lower():
            formatted_line = _format_line(line, with_task)
            shown_lines.append(formatted_line)
    if log.count > len(lines):
        st.caption(f"The last {len(lines):,} of {log.count:,} lines. `kfgcp logs` prints all.")
    if not shown_lines:
        st.caption(_explain_empty(log, has_lines=bool(lines)))
        return
    with st.container(height=HEIGHT, autoscroll=True):
        st.code("\n".join(shown_lines), language=None, wrap_lines=True)
    if not log.ended:
        st.caption(":shimmer[following]")


def _explain_empty(log: FollowedLog, *, has_lines: bool) -> str:
    if has_lines:
        return "No lines with this text."
    if log.ended:
        return "The log is empty."
    return "Waiting for lines."


def _format_line(line: LogLine, with_task: bool) -> str:
    formatted = text.visible(text.strip_colors(line.text))[:MAX_LINE_WIDTH]
    if with_task:
        formatted = f"{text.visible(line.task)} │ {formatted}"
    if line.at:
        # The time of day in UTC.
        formatted = f"{line.at[11:19]} {formatted}"
    return formatted
