"""Making a run once on a service that cannot be told to: two equal requests make two runs.

When an answer is lost the run is looked for by what tells its submission apart. Its request may
still be on its way then, or at work: the server makes the workflow first and the run that can be
found after it (CreateRun in its resource_manager.go). So it is looked for several times before it
is sent again, and once more when it was sent again: should both have been carried out after all,
the older run stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.kubeflow.messages import read_run
from kfgcp.errors import BackendError, BadAnswer, Unreachable
from kfgcp.services.client import ServiceClient

Run = Mapping[str, Any]

TRIES: Final = 4
"""How often a run is sent at most."""
LOOKS: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look for a run whose answer was lost."""
PAUSE: Final = 0.5
"""Seconds before a run is sent again that surely was not made; twice as long each time."""
_ENDED: Final = (500, 503)
"""Statuses by which the service itself says that it works on the request no more."""


def create(
    http: ServiceClient, runs: str, sent: Mapping[str, Any], look: Callable[[], Sequence[Run]]
) -> Run:
    """The run that a body describes, made once.

    Args:
        http: the service.
        runs: the path that it is sent to.
        sent: the body.
        look: gives the runs of this submission that are there, the oldest first.

    Raises:
        BackendError: it was not made; or it may have been, and the error is `unknown` and says so.
    """
    doubt = False
    for number in range(TRIES):
        try:
            found: Sequence[Run] = [_made(http, runs, sent)]
        except BackendError as error:
            if not error.unknown:
                raise _told(error, sent, doubt) from None
            ended = isinstance(error, Unreachable) and error.told and error.status in _ENDED
            doubt = doubt or not ended
            found = _found(look, error, sent, (0.0,) if ended else LOOKS)
            if not found and number == TRIES - 1:
                raise _told(error, sent, doubt) from None
            if not found and ended:
                time.sleep(PAUSE * 2**number)
        if found:
            return found[0] if number == 0 else _only(http, runs, found[0], look)
    raise AssertionError("the last try ends it")


def _made(http: ServiceClient, runs: str, sent: Mapping[str, Any]) -> Run:
    made = http.post(runs, body=sent)
    try:
        return read_run(made)
    except BadAnswer as error:
        raise error.amended(unknown=True) from error


def _found(
    look: Callable[[], Sequence[Run]],
    lost: BackendError,
    sent: Mapping[str, Any],
    pauses: Sequence[float],
) -> Sequence[Run]:
    """The runs of a submission whose answer was lost, none when it was not made."""
    try:
        for pause in pauses:
            time.sleep(pause)
            if found := look():
                return found
    except BackendError as error:
        raise _told(lost, sent, True) from error
    return ()


def _only(http: ServiceClient, runs: str, made: Run, look: Callable[[], Sequence[Run]]) -> Run:
    """The run of a submission that was sent more than once; another one that was made too is
    removed."""
    try:
        found = [*look()] or [made]
    except BackendError:
        return made
    for other in found[1:]:
        path = f"{runs}/{quote(str(other.get('run_id')))}"
        with suppress(BackendError):
            http.post(f"{path}:terminate", body={}, repeatable=True)
        with suppress(BackendError):
            http.delete(path)
    return found[0]


def _told(error: BackendError, sent: Mapping[str, Any], doubt: bool) -> BackendError:
    """Return the error with the information whether the run may be there."""
    if not doubt:
        return error.amended(unknown=False)
    return error.amended(
        message=f"{error.message} Whether the run '{sent['display_name']}' was made is not known.",
        hint="See whether it is there before you start it again: kfgcp list",
        unknown=True,
    )
