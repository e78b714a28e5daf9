"""Create a run exactly once, on a service that runs two equal requests twice.

When an answer is lost, the run is looked for by the id of its submission. Its request may still be
on its way then, or the server may still work on it: the server creates the workflow first, and the
run that can be found after it (CreateRun in its resource_manager.go). So the run is looked for
several times before the request is sent again. It is looked for once more after a second request:
when both requests created a run, the older one stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.kubeflow.messages import RunAnswer, check_run
from kfgcp.errors import BackendError, BadAnswer, Unreachable
from kfgcp.services.client import ServiceClient

# How often a request is sent at most.
TRIES: Final = 4

# Seconds before each look for a run whose answer was lost.
LOOKS: Final = (0.0, 0.5, 1.0, 2.0, 4.0)

# After an error by which the server says that it stopped, nothing can come later.
_ONE_LOOK: Final = (0.0,)

# Seconds before a request is sent again after it surely created no run; twice as long each time.
PAUSE: Final = 0.5

# With these statuses the service itself says that it has stopped working on the request.
_HAS_STOPPED: Final = (500, 503)


def create(
    http: ServiceClient,
    path: str,
    body: Mapping[str, Any],
    find: Callable[[], Sequence[RunAnswer]],
) -> RunAnswer:
    """Create the run that a body describes, once, and return it.

    Args:
        http: the service.
        path: of the list of runs.
        body: of the request.
        find: returns the runs of this submission that are there, the oldest first.

    Raises:
        BackendError: the run was not created. Or it may have been created; then the error is
            `unknown` and says so.
    """
    may_exist = False
    for number in range(TRIES):
        try:
            run = _send(http, path, body)
        except BackendError as error:
            if not error.unknown:
                raise _final_error(error, body, may_exist=may_exist) from None
            has_stopped = _has_stopped(error)
            may_exist = may_exist or not has_stopped
            pauses = _ONE_LOOK if has_stopped else LOOKS
            runs = _look_for(find, pauses, error, body)
            if runs:
                return runs[0] if number == 0 else _keep_oldest(http, path, runs[0], find)
            if number == TRIES - 1:
                raise _final_error(error, body, may_exist=may_exist) from None
            if has_stopped:
                time.sleep(PAUSE * 2**number)
        else:
            return run if number == 0 else _keep_oldest(http, path, run, find)
    raise AssertionError("the last try returns or raises")


def _send(http: ServiceClient, path: str, body: Mapping[str, Any]) -> RunAnswer:
    answer = http.post(path, body=body)
    try:
        return check_run(answer)
    except BadAnswer as error:
        # The server did something, but its answer does not say what.
        raise error.amended(unknown=True) from error


def _has_stopped(error: BackendError) -> bool:
    return (
        isinstance(error, Unreachable)
        and error.answered_by_service
        and error.status in _HAS_STOPPED
    )


def _look_for(
    find: Callable[[], Sequence[RunAnswer]],
    pauses: Sequence[float],
    lost: BackendError,
    body: Mapping[str, Any],
) -> Sequence[RunAnswer]:
    """Return the runs of a submission whose answer was lost, none when no run was created.

    Args:
        find: returns the runs that are there.
        pauses: seconds before each look.
        lost: the error of the request.
        body: of the request.
    """
    try:
        for pause in pauses:
            time.sleep(pause)
            runs = find()
            if runs:
                return runs
    except BackendError as error:
        raise _final_error(lost, body, may_exist=True) from error
    return ()


def _keep_oldest(
    http: ServiceClient, path: str, created: RunAnswer, find: Callable[[], Sequence[RunAnswer]]
) -> RunAnswer:
    """Return the oldest run of a submission that was sent more than once, and remove the others."""
    try:
        runs = list(find()) or [created]
    except BackendError:
        return created
    for run in runs[1:]:
        run_path = f"{path}/{quote(run['run_id'])}"
        # Terminate it first, so that it ends even when it cannot be deleted.
        with suppress(BackendError):
            http.post(f"{run_path}:terminate", body={}, repeatable=True)
        with suppress(BackendError):
            http.delete(run_path)
    return runs[0]


def _final_error(error: BackendError, body: Mapping[str, Any], *, may_exist: bool) -> BackendError:
    """Return the error, with the information whether the run may be there."""
    if not may_exist:
        return error.amended(unknown=False)
    return error.amended(
        message=f"{error.message} It is not known whether the run '{body['display_name']}' was"
        " created.",
        hint="Before you start it again, look for it: kfgcp list",
        unknown=True,
    )
