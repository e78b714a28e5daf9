"""Write a timetable as Vertex AI and Kubeflow Pipelines take it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kfgcp.cron import Timetable
from kfgcp.errors import Unsupported


@dataclass(frozen=True, slots=True)
class KubeflowTrigger:
    """The trigger of a recurring run. One of the two is set.

    Attributes:
        cron: six fields, the first one for seconds.
        interval_seconds: the time between two runs.
        start: one interval before the first due time. Without an earlier run, the server takes the
            start plus the interval as the first due time
            (kubeflow/pipelines:backend/src/crd/controller/scheduledworkflow/util/
            periodic_schedule.go, GetNextScheduledEpoch). None for a cron expression.
    """

    cron: str | None = None
    interval_seconds: int | None = None
    start: datetime | None = None


def to_vertex(timetable: Timetable) -> str:
    """Return a timetable as the field `cron` of a schedule on Vertex AI.

    The time zone comes first, as `CRON_TZ=Area/City` (google.cloud.aiplatform_v1: Schedule.cron).

    Raises:
        Unsupported: it is an interval that cron cannot express.

    Example:
        >>> to_vertex(Timetable.parse(cron="0 6 * * mon-fri", time_zone="Europe/Berlin"))
        'CRON_TZ=Europe/Berlin 0 6 * * 1-5'
        >>> to_vertex(Timetable.parse(every="6h"))
        'CRON_TZ=UTC 0 */6 * * *'
    """
    if timetable.every_seconds is None:
        return f"CRON_TZ={timetable.time_zone} {' '.join(timetable.fields)}"
    # Intervals count from midnight UTC.
    return f"CRON_TZ=UTC {_interval_as_cron(timetable.every_seconds)}"


def format_interval(seconds: int) -> str:
    """Return an interval as the key `every` of kfgcp.toml has it.

    Example:
        >>> format_interval(25200), format_interval(129600), format_interval(5400)
        ('7h', '1d12h', '1h30m')
    """
    parts: list[str] = []
    rest = seconds
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def to_kubeflow(
    timetable: Timetable, now: datetime, server_zone: str = "UTC", env: str = "NAME"
) -> KubeflowTrigger:
    """Return a timetable as the trigger of a recurring run of Kubeflow Pipelines.

    A recurring run has no time zone. The controller reads all expressions in one zone, which is its
    variable CRON_SCHEDULE_TIMEZONE; the manifests of Kubeflow Pipelines set UTC.

    An interval drifts on the server. Without catch-up, the server starts a run at once when it has
    missed a whole interval, for example during a pause, and then counts from that moment
    (periodic_schedule.go, GetNextScheduledEpochNoCatchup). So an interval that divides an hour or a
    day is sent as a cron expression, when the server reads expressions in UTC.

    Args:
        timetable: the timetable.
        now: a time with a zone. The first run of an interval is at the first due time after it.
        server_zone: the zone of the controller. The server does not report it.
        env: the name of the environment, for the hint of an error.

    Raises:
        Unsupported: the timetable has another zone, or the server would never start a run.

    Example:
        >>> from datetime import UTC
        >>> now = datetime(2026, 3, 1, tzinfo=UTC)
        >>> to_kubeflow(Timetable.parse(cron="0 6 * * 7"), now).cron
        '0 0 6 * * 0'
        >>> to_kubeflow(Timetable.parse(every="6h"), now).cron
        '0 0 */6 * * *'
    """
    if timetable.every_seconds is not None:
        fields = _divisor_as_cron(timetable.every_seconds)
        if fields is not None and server_zone == "UTC":
            return KubeflowTrigger(cron=f"0 {fields}")
        first_due = timetable.next(now)
        if first_due is None:
            raise ValueError("an interval is always due")
        start = first_due - timedelta(seconds=timetable.every_seconds)
        return KubeflowTrigger(interval_seconds=timetable.every_seconds, start=start)
    if timetable.time_zone != server_zone:
        raise Unsupported(
            f'time_zone = "{timetable.time_zone}" is not possible on a server of Kubeflow Pipelines'
            f" that reads cron expressions in {server_zone}.",
            hint=f'Write the times in {server_zone} and time_zone = "{server_zone}". Or, if'
            f" CRON_SCHEDULE_TIMEZONE of the server's controller is {timetable.time_zone}, write"
            f' schedule_time_zone = "{timetable.time_zone}" in [env.{env}].',
        )
    return KubeflowTrigger(cron=" ".join(("0",) + timetable.fields))


def _interval_as_cron(seconds: int) -> str:
    fields = _divisor_as_cron(seconds)
    if fields is not None:
        return fields
    raise Unsupported(
        f'every = "{format_interval(seconds)}" is not possible on Vertex AI, which has only cron'
        " expressions.",
        hint="Choose an interval that divides an hour or a day, such as 30m or 6h, or write cron.",
    )


def _divisor_as_cron(seconds: int) -> str | None:
    """Return an interval from midnight UTC as five fields, None when they cannot express it."""
    minutes, rest = divmod(seconds, 60)
    if rest == 0 and minutes <= 60 and 60 % minutes == 0:
        return "0 * * * *" if minutes == 60 else f"*/{minutes} * * * *"
    hours, rest = divmod(seconds, 3600)
    if rest == 0 and hours <= 24 and 24 % hours == 0:
        return "0 0 * * *" if hours == 24 else f"0 */{hours} * * *"
    return None
