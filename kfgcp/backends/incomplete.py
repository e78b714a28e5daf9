"""Notes on what services say that could not be read, so that the rest is still shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kfgcp.backends.service import FetchedRun
from kfgcp.errors import BadAnswer, NotWhole


def warn_incomplete(note: str) -> None:
    """Warn that something is missing, or wrong with a run. Do nothing when the note is empty.

    All such warnings come from this line, so that Python shows the same text only once.
    """
    if note:
        warnings.warn(note, NotWhole, stacklevel=1)


def readable_runs(
    items: Iterable[Any], read: Callable[[Any], FetchedRun], *, identity: str, env_name: str
) -> Iterator[FetchedRun]:
    """Yield the runs of a list. Leave out a run that cannot be read, with a note, so that the
    others are shown.

    Args:
        items: the items of the list.
        read: reads one item.
        identity: the field that shows that an item is a run, even if the rest of it cannot be read.
        env_name: the environment, for the notes.

    Raises:
        BadAnswer: no item is a run.
    """
    has_runs = False
    left_out: list[str] = []
    not_a_run: BadAnswer | None = None
    for item in items:
        try:
            fetched = read(item)
        except BadAnswer as error:
            if not _is_run(item, identity):
                not_a_run = not_a_run or error
                continue
            has_runs = True
            left_out.append(error.message)
            if len(left_out) == 1:
                # Warn at once, because the caller may stop before the end of the list.
                warn_incomplete(f"A run of {env_name} is left out: {error.message}")
            continue
        has_runs = True
        yield fetched
    if not_a_run is not None and not has_runs:
        raise not_a_run
    if not_a_run is not None:
        warn_incomplete(f"An item in a list of runs of {env_name} is left out: {not_a_run.message}")
    if len(left_out) > 1:
        warn_incomplete(
            f"{len(left_out)} runs of {env_name} are left out, the last one: {left_out[-1]}"
        )


def _is_run(item: Any, identity: str) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get(identity), str)
