"""Locks in the bucket of the pipeline root: of two processes at once, one is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kfgcp.backends.locks import Locked, LockOwner, SupportsLock
from kfgcp.backends.registry import load_project
from kfgcp.backends.vertex.locks import LockObject, RenewedLock, VertexLocks
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import BackendError, Unreachable
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.testing import VertexStandIn
from patience import PROCESS, wait_for
from vertex_schedules import open_locks

SUPPORT = Path(__file__).parents[3] / "support"

# Holds the lock until it is killed.
HOLD = """
import sys
from kfgcp.backends.locks import LockOwner
from vertex_schedules import open_locks
with open_locks().hold_lock("shop", LockOwner.of_this_process()):
    print("held", flush=True)
    sys.stdin.read()
"""

# Takes the lock several times, and writes when it has it.
COMPETE = """
import os, sys
from kfgcp.backends.locks import Locked, LockOwner
from vertex_schedules import open_locks
locks, taken = open_locks(), 0
while taken < 4:
    try:
        with locks.hold_lock("shop", LockOwner.of_this_process()) as lock:
            lock.check()
            with open("log", "a") as log:
                log.write(f"enter {os.getpid()}\\n")
            with open("log", "a") as log:
                log.write(f"leave {os.getpid()}\\n")
            taken += 1
    except Locked:
        pass
"""


def start(program: str) -> subprocess.Popen[str]:
    path = f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.fixture
def locks(cloud: VertexStandIn) -> SupportsLock:
    """Return the locks of the environment `dev`."""
    return open_locks()


def locks_with(**options: timedelta) -> VertexLocks:
    """Return the locks of the environment `dev` with another lease or pause."""
    env = load_project().env("dev")
    return VertexLocks(env, VertexSettings.of(env.settings), **options)


def me() -> LockOwner:
    return LockOwner.of_this_process()


def somewhere_else() -> LockOwner:
    """Return an owner whose process nobody here can look at."""
    return replace(me(), host="elsewhere", machine="elsewhere", user="grace", pid=4711)


def object_of(cloud: VertexStandIn, name: str = "shop") -> LockObject:
    client = ServiceClient(cloud.storage_endpoint, Anonymous(), service="Cloud Storage")
    return LockObject(client, VertexSettings.of(load_project().env("dev").settings), name)


def stored_owner(cloud: VertexStandIn, name: str = "shop") -> LockOwner | None:
    stored = object_of(cloud, name).read()
    return None if stored is None else stored.owner


def wait_for_renewal(cloud: VertexStandIn) -> None:
    """Wait until the holder writes its lock again."""
    # The lock may be written between the two requests of a read. Then the read returns None.
    first = wait_for(object_of(cloud).read)
    assert first is not None

    def is_renewed() -> bool:
        stored = object_of(cloud).read()
        return stored is not None and stored.generation != first.generation

    wait_for(is_renewed)


def refusal(locks: SupportsLock, name: str = "shop") -> Locked:
    """Return the error of a lock that another process holds."""
    with pytest.raises(Locked) as caught, locks.hold_lock(name, me()):
        pytest.fail("two processes hold the lock")
    return caught.value


def test_a_lock_is_an_object_at_the_top_of_the_bucket(
    cloud: VertexStandIn, locks: SupportsLock
) -> None:
    owner = me()

    with locks.hold_lock("shop", owner) as lock:
        lock.check()
        file_names = list(cloud._storage._storage.objects[cloud.bucket])
        held_by = stored_owner(cloud)

    assert file_names == ["kfgcp/locks/stand-in-project/europe-west4/shop.json"]
    assert held_by == owner
    assert object_of(cloud).read() is None


def test_a_second_process_is_refused_and_told_who_holds_the_lock(locks: SupportsLock) -> None:
    owner = replace(me(), user="ada", host="laptop")

    with locks.hold_lock("shop", owner):
        error = refusal(locks)

    assert error.holder == owner
    assert error.message.startswith(
        f"Another apply changes the schedules of shop now: ada@laptop, process {os.getpid()}, since"
    )


def test_environments_with_other_folders_of_a_bucket_have_one_lock(
    cloud: VertexStandIn, home: Path, locks: SupportsLock
) -> None:
    text = (home / "kfgcp.toml").read_text()
    (home / "kfgcp.toml").write_text(text.replace(cloud.pipeline_root, f"gs://{cloud.bucket}/b/c"))

    with locks.hold_lock("shop", somewhere_else()):
        assert "grace@elsewhere" in refusal(open_locks()).message


def test_environments_with_another_place_have_another_lock(home: Path, locks: SupportsLock) -> None:
    text = (home / "kfgcp.toml").read_text()
    (home / "kfgcp.toml").write_text(text.replace("europe-west4", "us-central1"))

    with locks.hold_lock("shop", me()), open_locks().hold_lock("shop", me()) as lock:
        lock.check()


def test_locks_of_two_projects_are_independent(locks: SupportsLock) -> None:
    with locks.hold_lock("shop", me()), locks.hold_lock("other", me()) as lock:
        lock.check()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../up", "Größe 7!", "x" * 300, "%2E", "a?b#c"])
def test_a_lock_can_have_any_name(cloud: VertexStandIn, locks: SupportsLock, name: str) -> None:
    owner = me()

    with locks.hold_lock(name, owner):
        assert stored_owner(cloud, name) == owner
        [key] = cloud._storage._storage.objects[cloud.bucket]
        refusal(locks, name)

    assert key.startswith("kfgcp/locks/stand-in-project/europe-west4/")
    assert key.count("/") == 4


def test_the_lock_is_removed_after_an_error(cloud: VertexStandIn, locks: SupportsLock) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold_lock("shop", me()):
        raise ZeroDivisionError

    assert object_of(cloud).read() is None


# -- other processes


def test_a_killed_holder_on_this_machine_ends_its_lock_at_once(
    cloud: VertexStandIn, locks: SupportsLock
) -> None:
    with start(HOLD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        holder = refusal(locks).holder
        process.kill()
        process.wait(PROCESS)
        # It could not remove its lock.
        left_by = stored_owner(cloud)

        with locks.hold_lock("shop", me()) as lock:
            lock.check()

    assert holder is not None
    assert left_by is not None
    assert holder.pid == left_by.pid == process.pid


def test_processes_at_the_same_time_never_hold_a_lock_together(
    cloud: VertexStandIn, home: Path
) -> None:
    processes = [start(COMPETE) for _ in range(3)]

    codes = [process.wait(PROCESS) for process in processes]

    lines = (home / "log").read_text().splitlines()
    assert codes == [0, 0, 0]
    assert len(lines) == 24
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert left == entered.replace("enter", "leave")
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


# -- the lease


def test_a_holder_elsewhere_keeps_its_lock_during_the_lease(cloud: VertexStandIn) -> None:
    object_of(cloud).write(somewhere_else(), "0")

    assert "grace@elsewhere, process 4711" in refusal(locks_with()).message


def test_a_lock_that_was_not_renewed_is_taken_over(cloud: VertexStandIn) -> None:
    object_of(cloud).write(somewhere_else(), "0")
    owner = me()

    # Times of answers have whole seconds.
    with locks_with(lease=timedelta(seconds=-2)).hold_lock("shop", owner):
        assert stored_owner(cloud) == owner


def test_a_holder_renews_its_lock(cloud: VertexStandIn) -> None:
    with locks_with(renew_every=timedelta(milliseconds=20)).hold_lock("shop", me()) as lock:
        wait_for_renewal(cloud)
        lock.check()

    assert object_of(cloud).read() is None


def test_a_holder_that_lost_its_lock_stops_and_removes_nothing(cloud: VertexStandIn) -> None:
    other = somewhere_else()

    with locks_with(renew_every=timedelta(milliseconds=20)).hold_lock("shop", me()) as lock:

        def is_taken_over() -> bool:
            stored = object_of(cloud).read()
            return (
                stored is not None and object_of(cloud).write(other, stored.generation) is not None
            )

        def is_lost() -> bool:
            try:
                lock.check()
            except Locked as error:
                return error.holder == other
            return False

        wait_for(is_taken_over)
        wait_for(is_lost)

    assert stored_owner(cloud) == other


@pytest.mark.parametrize("is_half", [False, True])
def test_a_holder_that_did_not_renew_stops_at_half_of_the_lease(
    cloud: VertexStandIn, is_half: bool
) -> None:
    times = [100.0]
    settings = (timedelta(seconds=60), timedelta(hours=1), lambda: times[0])
    owner = me()
    generation = object_of(cloud).write(owner, "0")
    assert generation is not None
    lock = RenewedLock(object_of(cloud), owner, generation, *settings)
    times[0] += 30.0 if is_half else 29.0

    problem = ""
    try:
        lock.check()
    except Locked as error:
        problem = error.message

    lock.release()
    assert ("could not be renewed" in problem) is is_half


def test_a_holder_that_cannot_renew_says_why(
    cloud: VertexStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"lease": timedelta(seconds=1), "renew_every": timedelta(milliseconds=10)}

    def refuse(*args: object) -> None:
        raise BackendError("Cloud Storage refused: 403.")

    with locks_with(**options).hold_lock("shop", me()) as lock:
        monkeypatch.setattr(LockObject, "write", refuse)

        def problem() -> str:
            try:
                lock.check()
            except Locked as error:
                return error.message
            return ""

        message = wait_for(problem)

    assert message == (
        "The lock for the schedules of shop could not be renewed: Cloud Storage refused: 403."
    )


def test_a_lock_that_cannot_be_read_counts_until_its_lease(
    cloud: VertexStandIn, locks: SupportsLock
) -> None:
    store = object_of(cloud)
    store.write(me(), "0")
    damaged = json.dumps({**me().to_dict(), "started_at": "0001-01-01T00:00:00+01:00"})
    cloud._storage._storage._store.write_bytes(f"{cloud.bucket}/{store._key}", damaged.encode())
    assert "another process" in refusal(locks).message

    owner = me()
    with locks_with(lease=timedelta(seconds=-2)).hold_lock("shop", owner):
        assert stored_owner(cloud) == owner


# -- faults


@contextmanager
def lost_answers(
    cloud: VertexStandIn, monkeypatch: pytest.MonkeyPatch, method: str, *, is_done: bool
) -> Iterator[Callable[[], int]]:
    """Close the connection of the next request. is_done: after its work, not before."""
    storage: Any = cloud._storage._storage
    work = getattr(storage, method)
    lost: list[str] = []

    def close(*args: object) -> object:
        if lost:
            return work(*args)
        lost.append(method)
        if is_done:
            work(*args)
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(storage, method, close)
        yield lambda: len(lost)


@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("method", ["create_file", "delete_file"])
def test_a_lost_answer_locks_once_and_leaves_nothing(
    cloud: VertexStandIn,
    locks: SupportsLock,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    is_done: bool,
) -> None:
    owner = me()

    with lost_answers(cloud, monkeypatch, method, is_done=is_done) as count:
        with locks.hold_lock("shop", owner) as lock:
            lock.check()
            assert stored_owner(cloud) == owner

        assert count() == 1
    assert object_of(cloud).read() is None


@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
def test_a_lost_answer_to_a_renewal_keeps_the_lock(
    cloud: VertexStandIn, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    locks = locks_with(renew_every=timedelta(milliseconds=20))
    with locks.hold_lock("shop", me()) as lock:
        with lost_answers(cloud, monkeypatch, "create_file", is_done=is_done) as count:
            wait_for(lambda: count() == 1)
        wait_for_renewal(cloud)
        lock.check()

    assert object_of(cloud).read() is None


def test_an_unreachable_bucket_locks_nothing(cloud: VertexStandIn) -> None:
    with pytest.MonkeyPatch.context() as change:
        change.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
        locks = locks_with()

    with pytest.raises(Unreachable), locks.hold_lock("shop", me()):
        pytest.fail("it is not locked")


def test_a_missing_bucket_is_an_error(cloud: VertexStandIn, home: Path) -> None:
    text = (home / "kfgcp.toml").read_text()
    (home / "kfgcp.toml").write_text(text.replace(cloud.pipeline_root, "gs://absent/runs"))

    with pytest.raises(BackendError), locks_with().hold_lock("shop", me()):
        pytest.fail("it is not locked")
