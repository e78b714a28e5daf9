"""The triggers of recurring runs: which are valid, and when they are due.

The due times are those of the controller (backend/src/crd/controller/scheduledworkflow/util,
cron_schedule.go and periodic_schedule.go). A recurring run starts with the last due time that it
has fired, else with its start time, else with its creation. With catch-up, it fires one due time
after the other. Without, a cron expression fires only the last due time that has passed. An
interval of which a whole one was missed fires now, and counts from now on.

A cron expression has six fields, and the first field is the seconds. The server's library also
reads expressions with five fields: the first field is still the seconds, and the weekday is
missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from kfgcp.cron import DESCRIPTORS
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.cron import Cron
from kfgcp.testing.google import micros
from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError, invalid_input
from kfgcp.testing.kubeflow_server.messages import drop_empty, format_time, read_fields

_EVERY: Final = re.compile(r"@every (\d+)([smh])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger. Times are Unix times in whole seconds, because the tables have whole seconds.

    Attributes:
        cron: the expression, "" without one.
        interval: the interval in seconds, 0 without one.
        start: None without a start time.
        end: None without an end time.
    """

    cron: str = ""
    interval: int = 0
    start: int | None = None
    end: int | None = None

    @classmethod
    def parse(cls, trigger: JsonObject, *, lenient: bool) -> Trigger:
        """Return the trigger of a body.

        Raises:
            KfpError: it has two schedules, or an invalid one.
        """
        schedules = read_fields(trigger, ("cron_schedule", "periodic_schedule"), lenient=lenient)
        if not schedules:
            return cls()
        if len(schedules) != 1:
            raise GatewayError(INVALID, "proto: (line 1:25): oneof trigger is already set")
        kind = next(iter(schedules))
        schedule_field = "cron" if kind == "cron_schedule" else "interval_second"
        schedule = read_fields(
            schedules[kind], ("start_time", "end_time", schedule_field), lenient=lenient
        )
        start = _read_time(schedule.get("start_time"))
        end = _read_time(schedule.get("end_time"))
        if kind == "cron_schedule":
            text = str(schedule.get("cron", ""))
            _check_cron(text)
            return cls(cron=text, start=start, end=end)
        interval = read_int64(schedule.get("interval_second") or 0, "interval_second")
        if interval < 1:
            raise invalid_input(
                f"Found invalid period schedule interval {interval}. Set at interval to least 1"
                " second"
            )
        return cls(interval=interval, start=start, end=end)

    def to_json(self) -> JsonObject:
        """Return the trigger as answers have it. Without a schedule it is empty."""
        times = {"start_time": _format_time(self.start), "end_time": _format_time(self.end)}
        if self.cron:
            return {"cron_schedule": drop_empty({**times, "cron": self.cron})}
        if self.interval:
            # An int64 is text in proto JSON.
            return {
                "periodic_schedule": drop_empty({**times, "interval_second": str(self.interval)})
            }
        return {}

    def next_due(
        self, last: int | None, created: int, now: int, *, catch_up: bool, zone: tzinfo = UTC
    ) -> int | None:
        """Return the due time to fire next, None when it never fires again.

        Args:
            last: the last due time that was fired, None before the first.
            created: when the recurring run was created.
            now: the time.
            catch_up: whether each missed due time is fired.
            zone: the zone of the controller, CRON_SCHEDULE_TIMEZONE.
        """
        if self.cron:
            return self._next_of_cron(last, created, now, catch_up, zone)
        if self.interval:
            return self._next_of_interval(last, created, now, catch_up)
        return None

    def _effective_last(self, last: int | None, created: int) -> int:
        """Return the time after which the next due time is."""
        if last is not None:
            return last
        return created if self.start is None else self.start

    def _next_of_cron(
        self, last: int | None, created: int, now: int, catch_up: bool, zone: tzinfo
    ) -> int | None:
        """See getEffectiveLastJobTime and getNextScheduledTimeImp in cron_schedule.go."""
        after = self._effective_last(last, created)
        if self.start is not None:
            after = max(after, self.start)
        due = next_of_cron(self.cron, after, zone)
        if due is None or (self.end is not None and self.end < due):
            return None
        if catch_up:
            return due
        while True:
            following = next_of_cron(self.cron, due, zone)
            if following is None or following > now:
                return due
            if self.end is not None and following > self.end:
                return due
            due = following

    def _next_of_interval(
        self, last: int | None, created: int, now: int, catch_up: bool
    ) -> int | None:
        """See GetNextScheduledEpoch and GetNextScheduledEpochNoCatchup in periodic_schedule.go."""
        after = self._effective_last(last, created)
        if self.start is not None and self.start > after:
            due = self.start
        else:
            due = after + self.interval
            if self.end is not None and self.end < due:
                return None
        if catch_up or now < due + self.interval:
            return due
        if self.end is not None and self.end < now:
            return self.end
        return now


def next_of_cron(text: str, after: int, zone: tzinfo = UTC) -> int | None:
    """Return the first due time of an expression after a time, None when there is none.

    Args:
        text: the expression.
        after: Unix time in seconds.
        zone: the zone of the expression.
    """
    every = _EVERY.fullmatch(text)
    if every is not None:
        return after + int(every[1]) * _UNIT_SECONDS[every[2]]
    seconds_field, minutes = _split(text)
    seconds = sorted(Cron.parse(f"{seconds_field} * * * *").minutes)
    _, _, day, _, weekday = minutes.split()
    # The library also sees a `*` after a comma (getRange in parser.go of robfig/cron 1.2.0).
    either_day = "*" not in day and "*" not in weekday
    cron = replace(Cron.parse(minutes), zone=zone, either_day=either_day)
    # The minute of `after` counts, because a later second of it may be due.
    minute_start = after - after % 60
    minute = cron.after(datetime.fromtimestamp(minute_start, UTC) - timedelta(seconds=1))
    while minute is not None:
        for second in seconds:
            due = int(minute.timestamp()) + second
            if due > after:
                return due
        minute = cron.after(minute)
    return None


def read_int64(value: object, field: str) -> int:
    """Return an int64, which is a number or text in proto JSON.

    Raises:
        GatewayError: it is neither.
    """
    try:
        return int(str(value))
    except ValueError:
        raise GatewayError(
            INVALID, f"proto: (line 1:25): invalid value for int64 field {field}: {value}"
        ) from None


def _format_time(seconds: int | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def _read_time(text: object) -> int | None:
    if not text:
        return None
    try:
        return micros(str(text)) // 1_000_000
    except ValueError:
        raise GatewayError(
            INVALID, "proto: (line 1:25): invalid google.protobuf.Timestamp value"
        ) from None


def _check_cron(text: str) -> None:
    try:
        # The library also accepts names such as @daily.
        if not text.startswith("@"):
            seconds, minutes = _split(text)
            # `Cron` has no field for seconds. Seconds have the range of minutes.
            Cron.parse(f"{seconds} * * * *")
            Cron.parse(minutes)
    except ValueError as error:
        problem = (
            "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)"
        )
        raise invalid_input(f"{problem}. Error: {error}") from None


def _split(text: str) -> tuple[str, str]:
    """Return the field of the seconds, and the five other fields.

    Raises:
        ValueError: the expression does not have five or six fields.
    """
    if text in DESCRIPTORS:
        return "0", DESCRIPTORS[text]
    # `?` means any value, as `*` does. The library ignores a comma without a value.
    fields = [re.sub(",+", ",", field.replace("?", "*")).strip(",") for field in text.split()]
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    weekday = _read_weekday(fields[5]) if len(fields) == 6 else "*"
    return fields[0], " ".join([*fields[1:5], weekday])


def _read_weekday(field: str) -> str:
    """Return the weekday as `Cron` takes it, which also knows 7 for Sunday.

    Raises:
        ValueError: it has a day after 6.
    """
    parts: list[str] = []
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if re.search(r"\b[7-9]\b", span):
            raise ValueError(f"End of range (7) above maximum (6): {part}")
        # `1/2` is from 1 to 6.
        if slash and span.isdigit():
            span = f"{span}-6"
        parts.append(f"{span}{slash}{step}")
    return ",".join(parts)
