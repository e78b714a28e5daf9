"""Compute when a schedule is due: from a cron expression or an interval, in a time zone. Pure.

A cron expression has five fields: minute, hour, day of the month, month, day of the week. The same
expression must mean the same on all backends. So kfgcp reads it as the server of Kubeflow Pipelines
does, which uses robfig/cron 1.2.0 (kubeflow/pipelines:go.mod,
backend/src/crd/controller/scheduledworkflow/util/cron_schedule.go):

- When a day field begins with `*`, a day must fit both day fields. Otherwise it is enough that the
  day fits one of them.
- A local time that a change of the clock leaves out is not due that day. A local time that the
  change repeats is due twice.

The server misses days, or runs on a wrong day, in a zone whose clocks change at midnight or by half
an hour. kfgcp does not copy these errors: tests/recorded/cron has examples.

An interval such as `6h` counts from 1970-01-01T00:00:00Z. So `6h` is due at 00:00, 06:00, 12:00 and
18:00 UTC, also after a restart. Kubeflow Pipelines leaves these times when it has missed a whole
interval and does not catch up, see `kfgcp.cron_services.to_kubeflow`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from kfgcp.errors import UsageError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# The names of robfig/cron 1.2.0 (parser.go: parseDescriptor), as five fields.
DESCRIPTORS: Final[Mapping[str, str]] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

# A shorter interval than a minute would start runs faster than a run can start.
MIN_EVERY_SECONDS: Final = 60

# The largest interval is a year. A longer one is probably an error of a unit.
MAX_EVERY_SECONDS: Final = 366 * 86400

_UNIT_SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INTERVAL_PART: Final = re.compile(r"(\d{1,9})([smhd])")
_INTERVAL: Final = re.compile(r"(?:\d{1,9}[smhd])+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_MONTH_NAMES: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"
)  # fmt: skip
_DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONG_MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

# The days of each month in a leap year.
_MONTH_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _FieldRange:
    """The values of a field: the numbers from `low` to `high`, and names for some numbers."""

    title: str
    low: int
    high: int
    names: Mapping[str, int]


_RANGES: Final = (
    _FieldRange("minute", 0, 59, {}),
    _FieldRange("hour", 0, 23, {}),
    _FieldRange("day of the month", 1, 31, {}),
    _FieldRange("month", 1, 12, {name: 1 + index for index, name in enumerate(_MONTH_NAMES)}),
    # Sunday is 0 and 7.
    _FieldRange("day of the week", 0, 7, {name: index for index, name in enumerate(_DAY_NAMES)}),
)


class CronError(UsageError):
    """A cron expression, an interval or a time zone cannot be read, or never comes due."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule is due.

    Attributes:
        fields: minute, hour, day of the month, month and day of the week, without names, and
            Sunday is 0. Empty for an interval.
        every_seconds: the interval in seconds, None for a cron expression.
        time_zone: the IANA name of the zone, in which the fields are local times.
        text: the cron expression or interval as it was written.

    Example:
        >>> timetable = Timetable.parse(cron="0 6 * * mon-fri", time_zone="Europe/Berlin")
        >>> timetable.next(datetime(2026, 3, 27, 12, tzinfo=UTC)).isoformat()
        '2026-03-30T06:00:00+02:00'
    """

    fields: tuple[str, ...]
    every_seconds: int | None
    time_zone: str
    text: str

    @classmethod
    def parse(
        cls, *, cron: str | None = None, every: str | None = None, time_zone: str = "UTC"
    ) -> Timetable:
        """Read a cron expression or an interval.

        Args:
            cron: five fields, or a name such as `@daily`.
            every: an interval of at least a minute, such as `90m`, `6h` or `1d12h`.
            time_zone: the IANA name of a zone.

        Raises:
            CronError: one of them cannot be read, both or neither of the first two are set, or the
                expression never comes due.

        Example:
            >>> Timetable.parse(every="6h").every_seconds
            21600
        """
        if (cron is None) == (every is None):
            raise CronError(
                "A schedule has either cron or every.",
                hint='Write cron = "0 6 * * 1-5" or every = "6h".',
            )
        load_zone(time_zone)
        if every is not None:
            return cls((), _parse_interval(every), time_zone, every)
        timetable = cls(_parse_cron(cron or ""), None, time_zone, cron or "")
        reason = timetable.explain_never()
        if reason is not None:
            raise CronError(
                f"The cron expression {cron!r} is never due: {reason}.",
                hint="Correct the day of the month or the month.",
            )
        return timetable

    def next(self, after: datetime) -> datetime | None:
        """Return the first due time after a moment, None when there is none in 50 years.

        Args:
            after: a time with a zone.

        Returns:
            A time in the zone of the timetable.
        """
        return next(self._times(after), None)

    def previous(self, before: datetime) -> datetime | None:
        """Return the last due time before or at a moment, None when there is none in 50 years.

        Args:
            before: a time with a zone.

        Example:
            >>> Timetable.parse(cron="@daily").previous(datetime(2026, 3, 2, tzinfo=UTC)).day
            2
        """
        if self.every_seconds is not None:
            count = (before - _EPOCH) // timedelta(seconds=self.every_seconds)
            return self._moment(count)
        # One second later, because cronsim begins with the second before.
        start = before.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        return next(self._cron_times(start, reverse=True), None)

    def between(self, start: datetime, end: datetime, limit: int) -> list[datetime]:
        """Return the due times after `start` and not after `end`, in order.

        Args:
            start: a time with a zone.
            end: a time with a zone.
            limit: the largest number of times to return, from the first one on.

        Example:
            >>> start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
            >>> times = Timetable.parse(every="8h").between(start, end, limit=9)
            >>> [time.hour for time in times]
            [8, 16, 0]
        """
        times: list[datetime] = []
        for time in self._times(start):
            if time > end or len(times) == limit:
                break
            times.append(time)
        return times

    def explain_never(self) -> str | None:
        """Return why a cron expression is never due, None when it is due at some time.

        Example:
            >>> Timetable(("0", "6", "31", "2", "*"), None, "UTC", "0 6 31 2 *").explain_never()
            'the day 31 is not in February'
        """
        if not self.fields or not self.needs_both_days:
            return None
        days = _numbers(self.fields[2], _RANGES[2])
        months = sorted(_numbers(self.fields[3], _RANGES[3]))
        if any(min(days) <= _MONTH_DAYS[month - 1] for month in months):
            return None
        names = " or ".join(_LONG_MONTH_NAMES[month - 1] for month in months)
        return f"the day {min(days)} is not in {names}"

    @property
    def needs_both_days(self) -> bool:
        """Whether a day must fit both day fields: one of these fields begins with `*`."""
        return self.fields[2].startswith("*") or self.fields[4].startswith("*")

    def _times(self, after: datetime) -> Iterator[datetime]:
        if self.every_seconds is None:
            return self._cron_times(after)
        return self._interval_times(after, self.every_seconds)

    def _interval_times(self, after: datetime, seconds: int) -> Iterator[datetime]:
        count = (after - _EPOCH) // timedelta(seconds=seconds)
        while True:
            count += 1
            yield self._moment(count)

    def _moment(self, count: int) -> datetime:
        """Return the time after a number of intervals."""
        moment = _EPOCH + timedelta(seconds=count * (self.every_seconds or 0))
        return moment.astimezone(load_zone(self.time_zone))

    def _cron_times(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        # Imported late, because most commands compute no time.
        from cronsim import CronSim

        # With six fields, cronsim treats changes of the clock as robfig/cron does. With five, it
        # moves the times that a change leaves out, as Debian's cron does.
        expression = " ".join(("0",) + self.fields)
        return CronSim(expression, start.astimezone(load_zone(self.time_zone)), reverse)


def load_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        CronError: the name is not in the IANA database of this machine.
    """
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    # A name with a wrong form, such as an absolute path, is a ValueError. A folder is an OSError.
    except (KeyError, ValueError, OSError):
        raise CronError(
            f"The time zone {name!r} does not exist.",
            hint=f'{_suggest_zone(name)}Write a name of the IANA database: "Europe/Berlin", "UTC".',
        ) from None


def _suggest_zone(name: str) -> str:
    from zoneinfo import available_timezones

    from kfgcp.settings import did_you_mean

    return did_you_mean(name, sorted(available_timezones()))


def _parse_interval(text: str) -> int:
    """Return the seconds of an interval such as `1d12h`."""
    if not _INTERVAL.fullmatch(text):
        raise CronError(
            f"{text!r} is not an interval.",
            hint="Write a number and s, m, h or d: 30m, 6h, 1d12h.",
        )
    parts = _INTERVAL_PART.findall(text)
    seconds = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if not MIN_EVERY_SECONDS <= seconds <= MAX_EVERY_SECONDS:
        raise CronError(
            f"The interval {text!r} is not between a minute and 366 days.",
            hint='Write an interval such as every = "6h".',
        )
    return seconds


def _parse_cron(text: str) -> tuple[str, ...]:
    """Return the five fields of a cron expression in their simplest form.

    Raises:
        CronError: the text is not a cron expression.
    """
    if text.strip().startswith("@"):
        return _parse_descriptor(text.strip())
    fields = text.split()
    if len(fields) != len(_RANGES):
        hint = "Write minute, hour, day of the month, month, day of the week: 0 6 * * 1-5"
        if len(fields) == len(_RANGES) + 1:
            hint = f"Leave out the field for seconds: {' '.join(fields[1:])}"
        if fields and "=" in fields[0]:
            hint = f'Write the zone as a key: time_zone = "{fields[0].partition("=")[2]}"'
        raise CronError(
            f"The cron expression {text!r} has {len(fields)} fields, not {len(_RANGES)}.", hint=hint
        )
    pairs = zip(fields, _RANGES, strict=True)
    return tuple(_simplify(field, limits, text) for field, limits in pairs)


def _parse_descriptor(text: str) -> tuple[str, ...]:
    if text in DESCRIPTORS:
        return tuple(DESCRIPTORS[text].split())
    if text.startswith("@every"):
        raise CronError(
            f"The cron expression {text!r} is an interval.",
            hint=f'Write every = "{text.removeprefix("@every").strip() or "6h"}".',
        )
    raise CronError(
        f"The cron expression {text!r} does not exist.", hint=f"Write {', '.join(DESCRIPTORS)}."
    )


def _simplify(field: str, limits: _FieldRange, text: str) -> str:
    """Return a field without names, without `N/STEP`, and with 0 for Sunday.

    Services differ in these forms: robfig/cron refuses 7, and cronsim counts it in `1/2`.
    """
    if "*" in field and "," in field:
        # robfig/cron and other readers disagree about the day fields of such a list.
        raise _field_error(field, limits, text, "a list cannot contain *")
    try:
        parts = [_simplify_part(part, limits) for part in field.split(",")]
    except ValueError as error:
        raise _field_error(field, limits, text, str(error)) from None
    return ",".join(parts)


def _simplify_part(part: str, limits: _FieldRange) -> str:
    """Return one part of a list: `*`, `5` or `5-9`, and `/STEP` may follow.

    Raises:
        ValueError: the part is not valid. The message says why.
    """
    span, slash, step_text = part.partition("/")
    step = _number(step_text, {}) if slash else 1
    if step < 1:
        raise ValueError("the step must be at least 1")
    suffix = f"/{step}" if slash else ""
    if span == "*":
        return f"*{suffix}"
    start_text, dash, end_text = span.partition("-")
    start = _number(start_text, limits.names)
    if dash:
        end = _number(end_text, limits.names)
    elif slash:
        # `5/10` is from 5 to the highest number, and Sunday is not also 7 there (parser.go).
        end = min(limits.high, 6) if limits.high == 7 else limits.high
    else:
        end = start
    highest = limits.high
    if not limits.low <= start <= highest or not limits.low <= end <= highest:
        raise ValueError(f"its numbers are {limits.low} to {limits.high}")
    if start > end:
        raise ValueError(f"{start} is after {end}")
    if end == 7 and limits.high == 7:
        days = sorted({day % 7 for day in range(start, end + 1, step)})
        return ",".join(str(day) for day in days)
    # cronsim reads `5-5/2` as `5/2`.
    if start == end:
        return str(start)
    return f"{start}-{end}{suffix}"


def _number(text: str, names: Mapping[str, int]) -> int:
    name = text.lower()
    if name in names:
        return names[name]
    # int() also accepts signs, underscores, and digits of other scripts.
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _field_error(field: str, limits: _FieldRange, text: str, reason: str) -> CronError:
    return CronError(
        f"The cron expression {text!r} has {field!r} as its {limits.title}: {reason}.",
        hint="Write *, a number, a range as 1-5, a list as 1,15, or a step as */15.",
    )


def _numbers(field: str, limits: _FieldRange) -> set[int]:
    """Return the numbers of a field in its simplest form."""
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        start, _, end = span.partition("-")
        low = limits.low if span == "*" else int(start)
        high = limits.high if span == "*" else int(end or start)
        numbers.update(range(low, high + 1, int(step or 1)))
    return numbers
