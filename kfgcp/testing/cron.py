"""Compute when a cron expression is due next.

An expression has five fields: minute, hour, day of the month, month, day of the week. A time zone
may come before the fields, as `TZ=Area/City` or `CRON_TZ=Area/City`. The rules are in the comment
of Schedule.cron in aiplatform_v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_MONTH_NAMES: Final = (
    "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
)
_DAY_NAMES: Final = "sun mon tue wed thu fri sat".split()  # noqa: SIM905
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_DAYS: Final = {name: number for number, name in enumerate(_DAY_NAMES)}


@dataclass(frozen=True, slots=True)
class _FieldRange:
    """The values that a field may have: the numbers from `low` to `high`, and names for some."""

    low: int
    high: int
    names: Mapping[str, int]


_RANGES: Final = (
    _FieldRange(0, 59, {}),
    _FieldRange(0, 23, {}),
    _FieldRange(1, 31, {}),
    _FieldRange(1, 12, _MONTHS),
    # Sunday is 0 and 7.
    _FieldRange(0, 7, _DAYS),
)

# The longest time between two days of 29 February is 8 years, for example from 2096 to 2104.
_DAYS_AHEAD: Final = 8 * 366


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression.

    Attributes:
        minutes: from 0 to 59.
        hours: from 0 to 23.
        days: of the month, from 1 to 31.
        months: from 1 to 12.
        weekdays: from 0, which is Sunday, to 6.
        either_day: True if it is enough that a day fits `days` or `weekdays`. False if a day must
            fit both.
        zone: the time zone of the expression.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Parse an expression.

        Raises:
            ValueError: the text is not a cron expression. The message has one line.
        """
        zone, fields = _split_zone(text)
        if len(fields) != len(_RANGES):
            raise ValueError(f'"{text}" has {len(fields)} fields, not {len(_RANGES)}')
        minutes, hours, days, months, weekdays = map(_parse_field, fields, _RANGES)
        # As in the cron of Unix: when both day fields are restricted, one of them is enough.
        either_day = not fields[2].startswith("*") and not fields[4].startswith("*")
        weekdays = frozenset(day % 7 for day in weekdays)
        return cls(minutes, hours, days, months, weekdays, either_day, zone)

    def after(self, moment: datetime) -> datetime | None:
        """Return the first due time after a moment, in UTC.

        Return None if the expression is not due in the next eight years.

        Example:
            >>> Cron.parse("30 6 * * mon").after(datetime(2026, 1, 1, tzinfo=UTC)).isoformat()
            '2026-01-05T06:30:00+00:00'
        """
        day = moment.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(_DAYS_AHEAD):
            if self._is_due_on(day):
                due = self._first_time_on(day, moment)
                if due is not None:
                    return due
            day += timedelta(days=1)
        return None

    def _is_due_on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        date_fits = day.day in self.days
        weekday_fits = day.isoweekday() % 7 in self.weekdays
        if self.either_day:
            return date_fits or weekday_fits
        return date_fits and weekday_fits

    def _first_time_on(self, day: datetime, moment: datetime) -> datetime | None:
        """Return the first due time of `day` that is later than `moment`, in UTC."""
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                due = day.replace(hour=hour, minute=minute).astimezone(UTC)
                if due > moment:
                    return due
        return None


def _split_zone(text: str) -> tuple[tzinfo, list[str]]:
    """Return the time zone of an expression, UTC without one, and its fields."""
    fields = text.split()
    if not fields or "=" not in fields[0]:
        return UTC, fields
    name, _, area = fields[0].partition("=")
    # Imported here, because few expressions have a time zone.
    from zoneinfo import ZoneInfo

    if name in ("TZ", "CRON_TZ"):
        # ZoneInfo raises one of these errors for a name that is not a time zone.
        with suppress(OSError, ValueError, KeyError):
            return ZoneInfo(area), fields[1:]
    raise ValueError(f'"{fields[0]}" is not a time zone')


def _parse_field(field: str, limits: _FieldRange) -> frozenset[int]:
    """Return the numbers of a field, such as `1-5,10/2`."""
    numbers: set[int] = set()
    for part in field.split(","):
        try:
            selected = _parse_part(part, limits)
        except ValueError:
            raise ValueError(f'"{field}" is not a field of a cron expression') from None
        if selected is None:
            raise ValueError(f'"{field}" is outside {limits.low} to {limits.high}')
        numbers.update(selected)
    return frozenset(numbers)


def _parse_part(part: str, limits: _FieldRange) -> range | None:
    """Return the numbers of `*`, `5` or `5-9`. `/STEP` may follow.

    Return None if a number is outside the limits, or the step is less than 1.
    """
    span, slash, step_text = part.partition("/")
    start_text, dash, end_text = span.partition("-")
    if span == "*":
        start, end = limits.low, limits.high
    elif dash:
        start = _parse_number(start_text, limits.names)
        end = _parse_number(end_text, limits.names)
    else:
        start = _parse_number(start_text, limits.names)
        # `5/10` is from 5 to the highest number.
        end = limits.high if slash else start
    step = int(step_text) if slash else 1
    if not limits.low <= start <= end <= limits.high or step < 1:
        return None
    return range(start, end + 1, step)


def _parse_number(text: str, names: Mapping[str, int]) -> int:
    name = text.lower()
    if name in names:
        return names[name]
    return int(text)
