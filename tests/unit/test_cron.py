"""When schedules are due, compared with the library that Kubeflow Pipelines uses."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict, cast

import pytest

from kfgcp.cron import CronError, Timetable
from kfgcp.cron_services import to_kubeflow, to_vertex
from kfgcp.errors import Unsupported
from kfgcp.testing.cron import Cron

RECORDED = Path(__file__).parents[1] / "recorded" / "cron"
DAY = datetime(2026, 3, 1, tzinfo=UTC)


class Answer(TypedDict, total=False):
    """What robfig/cron answers for an expression with six fields."""

    cron: str
    zone: str
    after: str
    times: list[str]
    error: str


def _answers(name: str) -> list[Answer]:
    return cast(list[Answer], json.loads((RECORDED / name).read_text(encoding="utf-8")))


def _five_fields(answer: Answer) -> str:
    text = answer["cron"]
    return text if text.startswith("@") else text.partition(" ")[2]


def _next_times(timetable: Timetable, after: datetime, count: int) -> list[str]:
    times = []
    for _ in range(count):
        due = timetable.next(after)
        assert due is not None
        times.append(due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        after = due
    return times


def test_due_times_are_those_of_kubeflow_pipelines_also_when_clocks_change() -> None:
    compared = 0
    for answer in _answers("robfig-1.2.0.json"):
        if not answer["times"]:
            continue
        try:
            timetable = Timetable.parse(cron=_five_fields(answer), time_zone=answer["zone"])
        except CronError:
            continue
        after = datetime.fromisoformat(answer["after"])
        count = len(answer["times"])
        assert _next_times(timetable, after, count) == answer["times"], answer
        compared += 1

    assert compared > 500


def test_an_expression_that_kubeflow_pipelines_refuses_is_refused() -> None:
    refused = [answer for answer in _answers("robfig-1.2.0.json") if answer.get("error")]
    # Sunday as 7 is the one form that is converted: KFP gets 0.
    assert Timetable.parse(cron="0 0 * * 7").fields[4] == "0"
    for answer in refused:
        if answer["cron"] != "0 0 0 * * 7":
            with pytest.raises(CronError):
                Timetable.parse(cron=_five_fields(answer))

    assert len(refused) > 15


@pytest.mark.parametrize(
    ("cron", "zone", "after", "ours", "theirs"),
    [
        # The midnight before 2026-04-24 does not exist in Cairo. The library forgets all of May 1.
        ("0 0 0 1 * *", "Africa/Cairo", "2026-04-23", "2026-04-30T21:00", "2026-05-31T21:00"),
        # Saturday is 2026-09-12. The library starts a run on Sunday, 2026-09-06.
        ("0 0 5 * * 6-6", "America/Santiago", "2026-09-05", "2026-09-12T08:00", "2026-09-06T08:00"),
    ],
)
def test_kubeflow_pipelines_misses_or_moves_days_where_clocks_change_at_midnight(
    cron: str, zone: str, after: str, ours: str, theirs: str
) -> None:
    matching = [
        answer
        for answer in _answers("robfig-1.2.0-midnight.json")
        if (answer["cron"], answer["zone"], answer["after"][:10]) == (cron, zone, after)
    ]
    answer = matching[0]
    timetable = Timetable.parse(cron=_five_fields(answer), time_zone=zone)

    assert answer["times"][0] == f"{theirs}:00Z"
    assert _next_times(timetable, datetime.fromisoformat(answer["after"]), 1) == [f"{ours}:00Z"]


def test_the_stand_in_has_the_same_due_times_in_zones_without_changes_of_clocks() -> None:
    compared = 0
    for answer in _answers("robfig-1.2.0.json"):
        if answer["zone"] not in ("UTC", "Asia/Kolkata") or len(answer["times"]) < 5:
            continue
        try:
            timetable = Timetable.parse(cron=_five_fields(answer), time_zone=answer["zone"])
        except CronError:
            continue
        cron = Cron.parse(f"CRON_TZ={answer['zone']} {' '.join(timetable.fields)}")
        due = cron.after(datetime.fromisoformat(answer["after"]))
        assert due is not None
        assert due.strftime("%Y-%m-%dT%H:%M:%SZ") == answer["times"][0], answer
        compared += 1

    assert compared > 150


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        # 02:30 does not exist on 2026-03-29 in Berlin.
        ("2026-03-28T12:00:00+00:00", "2026-03-30T02:30:00+02:00"),
        # 02:30 exists twice on 2026-10-25.
        ("2026-10-24T12:00:00+00:00", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T00:30:00+00:00", "2026-10-25T02:30:00+01:00"),
    ],
)
def test_a_time_that_a_change_of_clocks_leaves_out_or_repeats(after: str, expected: str) -> None:
    timetable = Timetable.parse(cron="30 2 * * *", time_zone="Europe/Berlin")

    due = timetable.next(datetime.fromisoformat(after))

    assert due is not None
    assert due.isoformat() == expected


def test_an_interval_counts_from_midnight_utc() -> None:
    timetable = Timetable.parse(every="6h", time_zone="Europe/Berlin")

    due = timetable.next(datetime(2026, 3, 1, 7, 13, tzinfo=UTC))

    assert due is not None
    assert due.isoformat() == "2026-03-01T13:00:00+01:00"
    assert timetable.previous(due) == due


@pytest.mark.parametrize("cron", ["*/20 3 * * 1", "0 6 * * *", "59 23 31 12 *", "0 0 29 2 *"])
def test_the_previous_due_time_is_the_last_one_up_to_a_moment(cron: str) -> None:
    timetable = Timetable.parse(cron=cron, time_zone="Europe/Berlin")
    first = timetable.next(DAY)
    assert first is not None
    second = timetable.next(first)
    assert second is not None

    assert timetable.previous(first) == first
    assert timetable.previous(second.replace(microsecond=5)) == second
    before_second = datetime.fromtimestamp(second.timestamp() - 0.5, UTC)
    assert timetable.previous(before_second) == first


@pytest.mark.parametrize(
    ("cron", "message", "hint"),
    [
        ("0 6 * *", "has 4 fields, not 5", "Write minute, hour"),
        ("0 0 6 * * 1", "has 6 fields, not 5", "0 6 * * 1"),
        ("CRON_TZ=UTC 0 6 * * 1", "has 6 fields, not 5", 'time_zone = "UTC"'),
        ("0 6 31 2 *", "the day 31 is not in February", "Correct the day"),
        ("0 6 31 4,6 *", "the day 31 is not in April or June", "Correct the day"),
        ("60 6 * * *", "'60' as its minute: its numbers are 0 to 59", "Write *"),
        ("0 6 * * mun", "'mun' as its day of the week: 'mun' is not a number", "Write *"),
        ("0 6 1,* * *", "'1,*' as its day of the month: a list cannot contain *", "Write *"),
        ("0 6 ² * *", "'²' is not a number", "Write *"),
        ("@every 6h", "is an interval", 'every = "6h"'),
        ("@reboot", "does not exist", "@daily"),
    ],
)
def test_a_wrong_expression_says_what_is_wrong(cron: str, message: str, hint: str) -> None:
    with pytest.raises(CronError) as caught:
        Timetable.parse(cron=cron)

    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("every", "message"),
    [
        ("6", "'6' is not an interval."),
        ("h", "'h' is not an interval."),
        ("-6h", "'-6h' is not an interval."),
        ("30s", "The interval '30s' is not between a minute and 366 days."),
        ("400d", "The interval '400d' is not between a minute and 366 days."),
    ],
)
def test_a_wrong_interval_says_what_is_wrong(every: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        Timetable.parse(every=every)

    assert caught.value.message == message


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "/etc/passwd", "../x", "Europe"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(CronError) as caught:
        Timetable.parse(cron="@daily", time_zone=zone)

    assert caught.value.message == f"The time zone {zone!r} does not exist."


def test_a_misspelled_zone_gets_a_suggestion() -> None:
    with pytest.raises(CronError) as caught:
        Timetable.parse(cron="@daily", time_zone="Europe/Berln")

    assert caught.value.hint.startswith("Did you mean 'Europe/Berlin'?")


@pytest.mark.parametrize(
    ("every", "cron"),
    [("30m", "*/30 * * * *"), ("60m", "0 * * * *"), ("6h", "0 */6 * * *"), ("1d", "0 0 * * *")],
)
def test_vertex_gets_an_interval_as_cron_with_the_same_due_times(every: str, cron: str) -> None:
    interval = Timetable.parse(every=every)

    assert to_vertex(interval) == f"CRON_TZ=UTC {cron}"
    same = Timetable.parse(cron=cron)
    assert interval.between(DAY, DAY.replace(day=3), 500) == same.between(
        DAY, DAY.replace(day=3), 500
    )


@pytest.mark.parametrize(
    ("every", "text"), [("7h", "7h"), ("90m", "1h30m"), ("2d", "2d"), ("61s", "1m1s")]
)
def test_vertex_refuses_an_interval_that_cron_cannot_express(every: str, text: str) -> None:
    with pytest.raises(Unsupported, match=f'every = "{text}" is not possible on Vertex AI'):
        to_vertex(Timetable.parse(every=every))


@pytest.mark.parametrize(
    ("every", "now", "start", "first_due"),
    [
        # 7 h = 25200 s, and 70331 * 25200 s = 1772341200 s after 1970 is 2026-03-01T05:00:00Z.
        ("7h", "2026-03-01T00:00:00", "2026-02-28T22:00:00", "2026-03-01T05:00:00"),
        # A moment that is due itself has passed.
        ("7h", "2026-03-01T05:00:00", "2026-03-01T05:00:00", "2026-03-01T12:00:00"),
        ("7h", "2026-03-01T04:59:59", "2026-02-28T22:00:00", "2026-03-01T05:00:00"),
        # 20513 days after 1970 is 2026-03-01, and 20514 is even.
        ("2d", "2026-03-01T08:00:00", "2026-02-28T00:00:00", "2026-03-02T00:00:00"),
    ],
)
def test_kubeflow_gets_an_interval_whose_first_run_is_at_the_next_due_time(
    every: str, now: str, start: str, first_due: str
) -> None:
    trigger = to_kubeflow(Timetable.parse(every=every), _utc(now))

    assert trigger.interval_seconds is not None
    assert trigger.start == _utc(start)
    # GetNextScheduledEpoch of the controller, without an earlier run: StartTime + IntervalSecond.
    assert trigger.start + timedelta(seconds=trigger.interval_seconds) == _utc(first_due)


@pytest.mark.parametrize(
    ("every", "cron"),
    [("90s", None), ("1m", "0 */1 * * * *"), ("15m", "0 */15 * * * *"), ("25m", None)]
    + [("1h", "0 0 * * * *"), ("8h", "0 0 */8 * * *"), ("5h", None), ("1d", "0 0 0 * * *")],
)
def test_kubeflow_gets_an_interval_as_cron_where_cron_can_express_it(
    every: str, cron: str | None
) -> None:
    timetable = Timetable.parse(every=every)

    assert to_kubeflow(timetable, DAY).cron == cron
    # In other zones, midnight is not a multiple of the interval since 1970.
    assert to_kubeflow(timetable, DAY, "Europe/Berlin").cron is None


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_kubeflow_refuses_a_zone_that_its_server_does_not_have() -> None:
    timetable = Timetable.parse(cron="0 6 * * *", time_zone="Europe/Berlin")

    with pytest.raises(Unsupported, match="Europe/Berlin") as refused:
        to_kubeflow(timetable, DAY, env="gke")
    assert 'schedule_time_zone = "Europe/Berlin" in [env.gke]' in refused.value.hint
    assert to_kubeflow(timetable, DAY, "Europe/Berlin").cron == "0 0 6 * * *"
