"""The store as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfgcp.errors import MissingExtra
from kfgcp.model import Run
from kfgcp.tracking.table import FACTS, rows

if TYPE_CHECKING:
    import pandas


def run_frame(runs: Sequence[Run]) -> pandas.DataFrame:
    """A row a run with the columns of `kfgcp.tracking.table.rows`; times are UTC, durations seconds."""
    try:
        import pandas
    except ImportError:
        raise MissingExtra("A frame of runs", "frames") from None
    frame = pandas.DataFrame(rows(runs), columns=None if runs else FACTS)
    for name in ("created_at", "started_at", "ended_at"):
        frame[name] = pandas.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame
