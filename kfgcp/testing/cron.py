"""When a cron expression is due next: five fields, optionally after `TZ=Area/City ` or
`CRON_TZ=Area/City `."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_MONTH_NAMES: Final = (
    "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
)
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_DAYS: Final = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}  # noqa: SIM905
_RANGES: Final[tuple[tuple[int, int, Mapping[str, int]], ...]] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
_DAYS_AHEAD: Final = 8 * 366


@dataclass(frozen=True, slots=True)
class Cron:
    """minutes, hours, days, months, weekdays (Sunday is 0); either_day: a day fits by its date or
    its weekday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Cron:
        """The expression.

        Raises:
            ValueError: it is none; one line.
        """
        zone, fields = _zone(text)
        if len(fields) != 5:
            raise ValueError(f'"{text}" has {len(fields)} fields, not 5')
        sets = [_numbers(field, *limits) for field, limits in zip(fields, _RANGES, strict=True)]
        weekdays = frozenset(day % 7 for day in sets[4])
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        return cls(sets[0], sets[1], sets[2], sets[3], weekdays, either, zone)

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`, in UTC; None when there is none for years."""
        day = moment.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(_DAYS_AHEAD):
            if self._fits(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = day.replace(hour=hour, minute=minute).astimezone(UTC)
                        if found > moment:
                            return found
            day += timedelta(days=1)
        return None

    def _fits(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        date, weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return date or weekday if self.either_day else date and weekday


def _zone(text: str) -> tuple[tzinfo, list[str]]:
    fields = text.split()
    name, equals, area = (fields[0] if fields else "").partition("=")
    if not equals:
        return UTC, fields
    from zoneinfo import ZoneInfo

    try:
        if name in ("TZ", "CRON_TZ"):
            return ZoneInfo(area), fields[1:]
    except (OSError, ValueError, KeyError):
        pass
    raise ValueError(f'"{fields[0]}" is no time zone')


def _numbers(field: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = low if span == "*" else _number(first, names)
            end = (
                high
                if span == "*" or (slash and not dash)
                else _number(last, names)
                if dash
                else start
            )
            by = int(step) if slash else 1
        except ValueError:
            raise ValueError(f'"{field}" is no field of a cron expression') from None
        if not low <= start <= end <= high or by < 1:
            raise ValueError(f'"{field}" is outside {low} to {high}')
        found.update(range(start, end + 1, by))
    return frozenset(found)


def _number(text: str, names: Mapping[str, int]) -> int:
    return names[text.lower()] if text.lower() in names else int(text)
