"""The owner of a lock: whether its process still exists, and how messages name it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.locks import LockOwner, locked_error, not_renewed_error
from kfgcp.errors import BackendError
from kfgcp.model import JsonValue

NOW = datetime(2026, 11, 30, 6, 0, 5, 123456, tzinfo=UTC)
SHOW_OWNER = """
import json, sys
from kfgcp.backends.locks import LockOwner
print(json.dumps(LockOwner.of_this_process().to_dict()), flush=True)
sys.stdin.read()
"""


def owner() -> LockOwner:
    return LockOwner.of_this_process(NOW)


def test_an_owner_that_still_runs_has_not_ended() -> None:
    assert not owner().has_ended()


def test_an_owner_that_was_killed_has_ended() -> None:
    command = [sys.executable, "-c", SHOW_OWNER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = LockOwner.from_dict(json.loads(process.stdout.readline()))
        was_running = not child.has_ended()

        process.kill()
        # The process is a zombie until its parent waits for it. It has ended nevertheless.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        as_zombie = child.has_ended()
        process.wait()

        assert (was_running, as_zombie, child.has_ended()) == (True, True, True)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder of Linux")
@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_process_that_proc_hides_has_not_ended(
    monkeypatch: pytest.MonkeyPatch, is_allowed: bool
) -> None:
    # proc(5), hidepid=2: the folders of processes of other users are invisible.
    read_text = Path.read_text

    def hide(path: Path, *args: Any, **options: Any) -> str:
        if path.name == "stat":
            raise FileNotFoundError(path)
        return read_text(path, *args, **options)

    def refuse(pid: int, signal: int) -> None:
        assert signal == 0
        raise PermissionError(pid)

    command = [sys.executable, "-c", SHOW_OWNER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = LockOwner.from_dict(json.loads(process.stdout.readline()))
        monkeypatch.setattr(Path, "read_text", hide)
        with monkeypatch.context() as patch:
            if not is_allowed:
                patch.setattr(os, "kill", refuse)
            was_running = not child.has_ended()
        process.kill()

    assert was_running
    assert child.has_ended()


def test_a_later_process_with_the_same_id_is_another_owner() -> None:
    assert replace(owner(), process_start="1").has_ended()


def test_nothing_is_known_about_a_process_of_another_machine() -> None:
    assert not replace(owner(), machine="another", pid=2**22).has_ended()


def test_an_owner_is_the_same_after_json() -> None:
    before = owner()

    assert LockOwner.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_each_call_has_another_token() -> None:
    assert owner().token != owner().token


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pid", "12"),
        ("pid", True),
        ("pid", -1),
        ("pid", 2**31),
        ("user", None),
        ("started_at", "yesterday"),
        ("started_at", "2026-11-30T06:00:00"),
        ("started_at", "0001-01-01T00:00:00+01:00"),
        ("started_at", "9999-12-31T23:00:00-02:00"),
        ("token", 5),
    ],
)
def test_damaged_json_is_not_an_owner(key: str, value: JsonValue) -> None:
    with pytest.raises(ValueError, match=r"is not|no time zone|isoformat"):
        LockOwner.from_dict({**owner().to_dict(), key: value})


def test_the_error_names_the_holder() -> None:
    holder = replace(owner(), user="ada", host="laptop", pid=4711)

    error = locked_error("shop", holder)

    assert error.message == (
        "Another apply changes the schedules of shop now: ada@laptop, process 4711,"
        " since 2026-11-30 06:00:05Z."
    )
    assert error.holder == holder


def test_the_error_is_short_and_without_control_characters() -> None:
    holder = replace(owner(), user="\x1b[2J" + "u" * 500, host="h\nost\x07\u202e" * 50, pid=4711)

    error = locked_error("shop", holder)

    shown = error.message.partition("now: ")[2]
    assert shown.isprintable()
    assert len(shown) <= 200
    assert shown.endswith("…, process 4711, since 2026-11-30 06:00:05Z.")


def test_a_lock_that_was_not_renewed_is_not_the_fault_of_another_apply() -> None:
    late = not_renewed_error("shop", None)
    refused = not_renewed_error("shop", BackendError("Cloud Storage refused: 403."))

    assert late.message == (
        "The lock for the schedules of shop could not be renewed: This machine may have been"
        " suspended."
    )
    assert refused.message.endswith("could not be renewed: Cloud Storage refused: 403.")


def test_the_marker_does_not_depend_on_the_order_and_form_of_numbers() -> None:
    # Vertex AI keeps numbers of parameters as doubles, so 3 may come back as 3.0.
    first = applied_digest({"params.rows": 3, "cron": "0 6 * * *"}, paused=False)

    assert first == applied_digest({"cron": "0 6 * * *", "params.rows": 3.0}, paused=False)
    assert first != applied_digest({"cron": "0 6 * * *", "params.rows": 3}, paused=True)
    assert first != applied_digest({"cron": "0 7 * * *", "params.rows": 3}, paused=False)
