"""Warnings about runs that could not be read. The other runs are still shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

from kfgcp.backends.service import FetchedRun
from kfgcp.errors import BadAnswer, NotWhole


def warn_incomplete(note: str) -> None:
    """Warn that a part of a run or of a list is missing. Do nothing when the note is empty."""
    # Python shows a warning once when its text and its line are the same. All callers warn from
    # this line, so the same note is shown once.
    if note:
        warnings.warn(note, NotWhole, stacklevel=1)


def readable_runs(
    items: Iterable[object],
    read_item: Callable[[object], FetchedRun],
    *,
    id_field: str,
    env_name: str,
) -> Iterator[FetchedRun]:
    """Yield the runs of a list. Leave out runs that cannot be read, with a warning.

    Args:
        items: the items of the list.
        read_item: reads one item, or raises BadAnswer.
        id_field: the field with the id of a run. An item that has this field is a run, even when
            its other fields cannot be read.
        env_name: the name of the environment, for the warnings.

    Raises:
        BadAnswer: the list has items, and none of them is a run.
    """
    has_runs = False
    problems: list[str] = []
    error_without_run: BadAnswer | None = None
    for item in items:
        try:
            fetched = read_item(item)
        except BadAnswer as error:
            if not _is_run(item, id_field):
                error_without_run = error_without_run or error
                continue
            has_runs = True
            problems.append(error.message)
            if len(problems) == 1:
                # Warn at once, because the caller may stop before the end of the list.
                warn_incomplete(f"A run of {env_name} is left out: {error.message}")
            continue
        has_runs = True
        yield fetched
    if error_without_run is not None:
        if not has_runs:
            raise error_without_run
        warn_incomplete(
            f"An item in a list of runs of {env_name} is left out: {error_without_run.message}"
        )
    if len(problems) > 1:
        warn_incomplete(
            f"{len(problems)} runs of {env_name} are left out. The last problem: {problems[-1]}"
        )


def _is_run(item: object, id_field: str) -> bool:
    """Return whether an item of a list has the id of a run."""
    return isinstance(item, Mapping) and isinstance(item.get(id_field), str)
