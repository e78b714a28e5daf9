"""Warnings about answers that could not be read, so that the rest is still shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

from kfgcp.backends.service import FetchedRun
from kfgcp.errors import BadAnswer, NotWhole


def warn_incomplete(note: str) -> None:
    """Warn that a part of a run or of a list is missing. Do nothing when the note is empty."""
    # Python shows a warning with the same text from the same line only once. So all of these
    # warnings come from here.
    if note:
        warnings.warn(note, NotWhole, stacklevel=1)


def readable_runs(
    items: Iterable[object], read: Callable[[object], FetchedRun], *, identity: str, env_name: str
) -> Iterator[FetchedRun]:
    """Yield the runs of a list. Leave out runs that cannot be read, with a warning.

    Args:
        items: the items of the list.
        read: reads one item.
        identity: the field that shows that an item is a run, even when the rest cannot be read.
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


def _is_run(item: object, identity: str) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get(identity), str)
