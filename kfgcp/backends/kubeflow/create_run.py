"""Create a run exactly once, on a service that creates a second run when a request is repeated.

When an answer is lost, kfgcp looks for the run by the id of its submission. At that time, the
network may still carry the request, or the server may still process it. The server first creates
the workflow, and then the run that kfgcp can find (CreateRun in its resource_manager.go). So kfgcp
looks several times before it sends the request again. After a repeated request, kfgcp looks for
runs of the submission again. When more than one request created a run, kfgcp keeps the oldest run
and deletes the others.
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

# After a lost answer: the seconds to wait before each lookup of the run.
LOOKUP_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0)

# The lookups after an error that says that the server stopped: no run can appear later.
_ONE_LOOKUP: Final = (0.0,)

# Seconds to wait before the second request, when the first request certainly created no run. The
# pause doubles with each request.
PAUSE: Final = 0.5

# With these statuses, the service itself says that it has stopped processing the request.
_HAS_STOPPED: Final = (500, 503)


def create(
    http: ServiceClient,
    path: str,
    body: Mapping[str, Any],
    find_runs: Callable[[], Sequence[RunAnswer]],
) -> RunAnswer:
    """Create a run exactly once, and return it.

    Args:
        http: the client of the service.
        path: the path of the list of runs.
        body: the body of the request, which describes the run.
        find_runs: returns the existing runs of this submission, the oldest first.

    Raises:
        BackendError: the run was not created, or kfgcp does not know whether it was created. If
            kfgcp does not know, the attribute `unknown` is True.
    """
    may_exist = False
    for retry_number in range(TRIES):
        is_first_request = retry_number == 0
        try:
            run = _send(http, path, body)
        except BackendError as error:
            if not error.unknown:
                raise _final_error(error, body, may_exist=may_exist) from None
            has_stopped = _has_stopped(error)
            may_exist = may_exist or not has_stopped
            pauses = _ONE_LOOKUP if has_stopped else LOOKUP_PAUSES
            runs = _look_for(find_runs, pauses, error, body)
            if not runs:
                if retry_number == TRIES - 1:
                    raise _final_error(error, body, may_exist=may_exist) from None
                if has_stopped:
                    time.sleep(PAUSE * 2**retry_number)
                continue
            run = runs[0]
        # The first request creates at most one run. After a second request, several may exist.
        return run if is_first_request else _keep_oldest(http, path, run, find_runs)
    raise AssertionError("the last try returns or raises")


def _send(http: ServiceClient, path: str, body: Mapping[str, Any]) -> RunAnswer:
    """Send the request, and return the run of the answer."""
    answer = http.post(path, body=body)
    try:
        return check_run(answer)
    except BadAnswer as error:
        # The answer does not say whether the server has created the run.
        raise error.amended(unknown=True) from error


def _has_stopped(error: BackendError) -> bool:
    """Return whether the server says that it has stopped processing the request."""
    return isinstance(error, Unreachable) and error.from_service and error.status in _HAS_STOPPED


def _look_for(
    find_runs: Callable[[], Sequence[RunAnswer]],
    pauses: Sequence[float],
    request_error: BackendError,
    body: Mapping[str, Any],
) -> Sequence[RunAnswer]:
    """Return the runs of a submission whose answer was lost, empty when no run was created.

    Args:
        find_runs: returns the existing runs of the submission, the oldest first.
        pauses: the seconds to wait before each lookup.
        request_error: the error of the request whose answer was lost.
        body: the body of the request.
    """
    try:
        for pause in pauses:
            time.sleep(pause)
            runs = find_runs()
            if runs:
                return runs
    except BackendError as error:
        raise _final_error(request_error, body, may_exist=True) from error
    return ()


def _keep_oldest(
    http: ServiceClient,
    path: str,
    created: RunAnswer,
    find_runs: Callable[[], Sequence[RunAnswer]],
) -> RunAnswer:
    """Return the oldest run of a submission that was sent more than once, and remove the others.

    Args:
        http: the client of the service.
        path: the path of the list of runs.
        created: a run of the submission. It is returned when the runs cannot be listed.
        find_runs: returns the existing runs of the submission, the oldest first.
    """
    try:
        runs = list(find_runs()) or [created]
    except BackendError:
        return created
    for run in runs[1:]:
        run_path = f"{path}/{quote(run['run_id'])}"
        # Terminate the run first, so that it ends even when it cannot be deleted.
        with suppress(BackendError):
            http.post(f"{run_path}:terminate", body={}, repeatable=True)
        with suppress(BackendError):
            http.delete(run_path)
    return runs[0]


def _final_error(error: BackendError, body: Mapping[str, Any], *, may_exist: bool) -> BackendError:
    """Return the error that `create` raises. When the run may exist, the message says so."""
    if not may_exist:
        return error.amended(unknown=False)
    return error.amended(
        message=f"{error.message} kfgcp does not know whether the run '{body['display_name']}' was"
        " created.",
        hint="Before you start the run again, look for it: kfgcp list",
        unknown=True,
    )
