"""The markers of a schedule: the last line of the description of a recurring run. Pure.

    kfgcp: project=shop schedule=churn-daily version=… entry=… applied=…

The description is a column of 255 characters (model/job.go, DefaultStringSize in
client_manager.go). The server writes this row after it has created the object that starts runs. So
a longer description would leave a schedule that starts runs and that no list shows (CreateJob in
resource_manager.go). That is why the line is short, and its length is checked before it is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.versions import MARKER_DIGITS
from kfgcp.errors import Unsupported

MAX_DESCRIPTION: Final = 255

# The value of `account` when the environment leaves the service account to the server.
_DEFAULT_ACCOUNT: Final = "default"
_LINE: Final = re.compile(r"^kfgcp: (?P<pairs>project=\S+ schedule=.*)$")
_PAIR: Final = re.compile(r"([a-z]+)=(\S*)")


@dataclass(frozen=True, slots=True)
class ScheduleMarkers:
    """The markers of a schedule.

    Attributes:
        project: the name of the project as the value of a label.
        name: the name of the schedule.
        version: the first digits of the version of the pipeline.
        entry: digits that identify the text of the pipeline, see `schedule_body`.
        default_account: whether the environment leaves the service account to the server.
        applied: see `kfgcp.backends.applied`, "" in a line that is not complete yet.
    """

    project: str
    name: str
    version: str
    entry: str
    default_account: bool = False
    applied: str = ""


NO_MARKERS: Final = ScheduleMarkers("", "", "", "")
"""The markers of a recurring run that kfgcp did not make."""


def format_markers(markers: ScheduleMarkers) -> str:
    """Return the description of a recurring run.

    Raises:
        Unsupported: the names are too long together.

    Example:
        >>> format_markers(ScheduleMarkers("shop", "daily", "0a", "1b", applied="2c"))
        'kfgcp: project=shop schedule=daily version=0a entry=1b applied=2c'
    """
    pairs = [
        f"project={quote(markers.project, safe='')}",
        f"schedule={quote(markers.name, safe='')}",
        f"version={markers.version[:MARKER_DIGITS]}",
        f"entry={markers.entry}",
    ]
    if markers.default_account:
        pairs.append(f"account={_DEFAULT_ACCOUNT}")
    pairs.append(f"applied={markers.applied}")
    line = f"kfgcp: {' '.join(pairs)}"
    if len(line) <= MAX_DESCRIPTION:
        return line
    raise Unsupported(
        f"The names of the project and of the schedule {markers.name!r} are"
        f" {len(line) - MAX_DESCRIPTION} characters too long for {SERVICE}.",
        hint="Choose a shorter [project] name, or a shorter name in [schedule.NAME].",
    )


def parse_markers(description: str | None) -> ScheduleMarkers | None:
    """Return the markers in a description, None when kfgcp did not write it.

    People may have added text before the last line.

    Example:
        >>> parse_markers("kfgcp: project=shop schedule=daily version=0a entry=1b").name
        'daily'
        >>> parse_markers("Written by people.")
    """
    lines = (description or "").rstrip().splitlines()
    match = _LINE.match(lines[-1]) if lines else None
    if match is None:
        return None
    values = dict(_PAIR.findall(match["pairs"]))
    return ScheduleMarkers(
        project=unquote(values.get("project", "")),
        name=unquote(values.get("schedule", "")),
        version=values.get("version", ""),
        entry=values.get("entry", ""),
        default_account=values.get("account") == _DEFAULT_ACCOUNT,
        applied=values.get("applied", ""),
    )
