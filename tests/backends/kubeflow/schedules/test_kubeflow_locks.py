"""Locks on Kubeflow Pipelines: of two processes, one stops, and a killed one does not block."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kfgcp.backends.kubeflow.locks import format_owner, parse_owner
from kfgcp.backends.locks import LEASE, Locked, LockOwner
from kfgcp.errors import BackendError
from kubeflow_schedules import ScheduleServer
from patience import PROCESS, wait_for

NAME = "shop"
LOCK = "kfgcp-lock-shop"


def names(server: ScheduleServer) -> list[str]:
    """Return the experiments of locks."""
    experiments = server.get("experiments?page_size=200")["experiments"]
    shown = [experiment["display_name"] for experiment in experiments]
    return [name for name in shown if name.startswith("kfgcp-")]


def elsewhere(**changes: object) -> LockOwner:
    """Return a process of another machine."""
    owner = LockOwner.of_this_process()
    return replace(owner, machine="another machine", host="laptop", user="ada", **changes)


def refuse(server: ScheduleServer, owner: LockOwner) -> Locked:
    """Check that a process does not get the lock, and return the error."""
    with pytest.raises(Locked) as caught, server.locks().hold_lock(NAME, owner):
        pytest.fail("two processes hold the lock")
    return caught.value


def test_a_lock_is_an_experiment_that_names_its_holder(kfp_server: ScheduleServer) -> None:
    owner = LockOwner.of_this_process()

    with kfp_server.locks().hold_lock(NAME, owner) as lock:
        lock.check()
        assert names(kfp_server) == [LOCK]
        experiments = kfp_server.get("experiments?page_size=200")["experiments"]
        (description,) = [
            experiment["description"]
            for experiment in experiments
            if experiment["display_name"] == LOCK
        ]
        assert parse_owner(description) == owner

    assert names(kfp_server) == []


def test_the_second_of_two_processes_stops_and_names_the_first(kfp_server: ScheduleServer) -> None:
    locks = kfp_server.locks()

    with locks.hold_lock(NAME, elsewhere()):
        error = refuse(kfp_server, LockOwner.of_this_process())
        assert re.search(r"ada@laptop, process \d+, since ", error.message)
        assert error.holder is not None
        assert names(kfp_server) == [LOCK]

    with locks.hold_lock(NAME, LockOwner.of_this_process()):
        pass


def test_other_projects_have_other_locks(new_server: ScheduleServer) -> None:
    locks = new_server.locks()
    projects = ["shop", "shop-beat-", "Shop", "a b/ä😀", "x" * 300, ""]

    def hold(rest: list[str]) -> None:
        if not rest:
            assert len(set(names(new_server))) == len(projects)
            return
        with locks.hold_lock(rest[0], LockOwner.of_this_process()):
            hold(rest[1:])

    hold(projects)
    assert names(new_server) == []


def test_the_lock_of_a_killed_process_of_this_machine_is_taken_over_at_once(
    kfp_server: ScheduleServer,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = replace(LockOwner.of_this_process(), pid=process.pid, process_start="")
        kfp_server.post("experiments", {"display_name": LOCK, "description": format_owner(owner)})
        refuse(kfp_server, LockOwner.of_this_process())
        process.kill()
        process.wait(PROCESS)

    with kfp_server.locks().hold_lock(NAME, LockOwner.of_this_process()) as lock:
        lock.check()
    assert names(kfp_server) == []


@pytest.mark.parametrize("beats", [0, 2])
def test_the_lock_of_another_machine_ends_after_the_lease(
    kfp_server: ScheduleServer, beats: int
) -> None:
    owner = elsewhere()
    now = datetime.now(UTC)
    clock = kfp_server.stand_in.creation
    clock.clock = lambda: (now - 3 * LEASE).timestamp()
    kfp_server.post("experiments", {"display_name": LOCK, "description": format_owner(owner)})
    for number in range(beats):
        # The last beat is younger than the lease.
        clock.clock = lambda number=number: (now - LEASE * (1.5 - number)).timestamp()
        name = f"{LOCK}-beat-{owner.token[:12]}-{number}"
        kfp_server.post("experiments", {"display_name": name})
    clock.clock = lambda: datetime.now(UTC).timestamp()
    mine = LockOwner.of_this_process()

    if beats:
        # The holder has renewed its lock.
        refuse(kfp_server, mine)
        return
    with kfp_server.locks().hold_lock(NAME, mine) as lock:
        lock.check()
        assert names(kfp_server) == [LOCK]


def test_a_lock_without_a_readable_holder_ends_after_the_lease(new_server: ScheduleServer) -> None:
    for age, is_held in ((0.5, True), (1.5, False)):
        created = datetime.now(UTC) - LEASE * age
        new_server.stand_in.creation.clock = created.timestamp
        new_server.post("experiments", {"display_name": LOCK, "description": "by hand"})
        new_server.stand_in.creation.clock = lambda: datetime.now(UTC).timestamp()
        if is_held:
            assert "another process" in refuse(new_server, elsewhere()).message
            http = new_server.http()
            for experiment in new_server.get("experiments")["experiments"]:
                if experiment["display_name"] == LOCK:
                    http.delete(f"apis/v2beta1/experiments/{experiment['experiment_id']}")
            continue
        with new_server.locks().hold_lock(NAME, elsewhere()) as lock:
            lock.check()


def test_a_long_lock_is_renewed(new_server: ScheduleServer) -> None:
    locks = new_server.locks(renew_seconds=0.01)

    with locks.hold_lock(NAME, elsewhere()) as lock:
        wait_for(lambda: any(name.endswith("-3") for name in names(new_server)))
        lock.check()

    assert names(new_server) == []


def test_a_process_that_was_suspended_loses_its_lock(new_server: ScheduleServer) -> None:
    times = [0.0]
    locks = new_server.locks(clock=lambda: times[0])

    with locks.hold_lock(NAME, elsewhere()) as lock:
        lock.check()
        # Another process takes the lock over meanwhile.
        for experiment in new_server.get("experiments")["experiments"]:
            if experiment["display_name"] == LOCK:
                new_server.http().delete(f"apis/v2beta1/experiments/{experiment['experiment_id']}")
        lock.check()
        times[0] = 600.0

        with pytest.raises(Locked):
            lock.check()
        with pytest.raises(Locked):
            lock.check()
    assert names(new_server) == []


@pytest.mark.parametrize("kind", ["lost", "reset", "503"])
def test_a_lost_answer_does_not_lock_the_process_out(kfp_server: ScheduleServer, kind: str) -> None:
    kfp_server.stand_in.fail_next(kind, times=1, method="POST", path="*/experiments")

    with kfp_server.locks().hold_lock(NAME, elsewhere()):
        assert names(kfp_server) == [LOCK]

    assert names(kfp_server) == []


@pytest.mark.parametrize("count", [0, 3])
def test_a_lost_answer_to_a_renewal_leaves_nothing_after_the_next_lock(
    kfp_server: ScheduleServer, count: int
) -> None:
    with kfp_server.locks().hold_lock(NAME, elsewhere()) as lock:
        for _ in range(count):
            kfp_server.stand_in.fail_next("lost", times=1, method="POST", path="*/experiments")
            with pytest.raises(BackendError):
                lock.renew()
        lock.renew()
    # Another project has a name like that of a beat.
    other = "shop-beat-0123456789ab-7"
    with kfp_server.locks().hold_lock(other, elsewhere()):
        assert len(names(kfp_server)) == 1 + count

        with kfp_server.locks().hold_lock(NAME, elsewhere()):
            assert set(names(kfp_server)) == {LOCK, f"kfgcp-lock-{other}"}

    assert names(kfp_server) == []


def test_a_lock_that_cannot_be_renewed_says_why(new_server: ScheduleServer) -> None:
    times = [0.0]
    locks = new_server.locks(clock=lambda: times[0])

    with locks.hold_lock(NAME, elsewhere()) as lock:
        times[0] = 50.0
        new_server.stand_in.fail_next("403", times=1, method="POST", path="*/experiments")
        with pytest.raises(Locked, match=r"of shop could not be renewed: .*403") as caught:
            lock.check()
        assert "Another apply" not in caught.value.message
        # The next renewal succeeds.
        lock.check()


def test_a_renewal_that_takes_half_of_the_lease_is_too_late(new_server: ScheduleServer) -> None:
    times = [0.0]

    def slow_clock() -> float:
        times[0] += 61.0
        return times[0]

    locks = new_server.locks(clock=slow_clock)

    with (
        locks.hold_lock(NAME, elsewhere()) as lock,
        pytest.raises(Locked, match="could not be renewed"),
    ):
        lock.check()


def test_a_refused_lock_is_an_error_and_locks_nothing(kfp_server: ScheduleServer) -> None:
    kfp_server.stand_in.fail_next("403", times=1, method="POST", path="*/experiments")

    with pytest.raises(BackendError) as caught, kfp_server.locks().hold_lock(NAME, elsewhere()):
        pytest.fail("the server refused it")

    assert not isinstance(caught.value, Locked)
    assert names(kfp_server) == []


def test_one_of_many_processes_takes_an_expired_lock_over(new_server: ScheduleServer) -> None:
    created = datetime.now(UTC) - 2 * LEASE
    new_server.stand_in.creation.clock = created.timestamp
    body = {"display_name": LOCK, "description": format_owner(elsewhere())}
    new_server.post("experiments", body)
    new_server.stand_in.creation.clock = lambda: datetime.now(UTC).timestamp()
    locks = new_server.locks()
    count = 6
    barrier = threading.Barrier(count)
    ended = threading.Barrier(count)
    held: list[str] = []
    refused: list[BackendError] = []

    def contend() -> None:
        owner = elsewhere()
        barrier.wait(PROCESS)
        try:
            with locks.hold_lock(NAME, owner) as lock:
                lock.check()
                held.append(owner.token)
                ended.wait(PROCESS)
                return
        except Locked as error:
            refused.append(error)
        ended.wait(PROCESS)

    threads = [threading.Thread(target=contend) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROCESS)

    assert (len(held), len(refused)) == (1, count - 1)
    assert names(new_server) == []


@pytest.mark.parametrize(("user", "host"), [("ada", "laptop"), ("u" * 300, "ä" * 300), ("", "")])
def test_the_description_of_a_holder_fits_into_its_column(user: str, host: str) -> None:
    owner = replace(LockOwner.of_this_process(), user=user, host=host)

    description = format_owner(owner)

    parsed = parse_owner(description)
    assert len(description) <= 255
    assert parsed is not None
    assert replace(parsed, user=user, host=host) == owner
    assert user.startswith(parsed.user)


@pytest.mark.parametrize(
    "description", ["", "by hand", "[]", "{}", "[1,2,3,4,5,6,7]", '["a","b","c",-1,"","x","t"]']
)
def test_a_description_of_others_names_no_holder(description: str) -> None:
    assert parse_owner(description) is None
