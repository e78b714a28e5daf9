"""A state folder that version 0.1.0 wrote is read, compared, repeated and deleted.

`state-0.1.0/` was written by that version: `long_words.py` ran as `first` and, with longer_than=2,
as `second`; `fails.py` ran as `broken`. `first` has the tag `good`, `second` the note "shorter
words".

The words of "the quick brown fox jumps over the lazy dog" have 3, 5, 5, 3, 5, 4, 3, 4 and 3
letters.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from json_types import JsonDict
from kfgcp_command import Command

STATE = Path(__file__).with_name("state-0.1.0")
MEAN_LENGTH = pytest.approx(35 / 9)


@pytest.fixture
def project(home: Path) -> Path:
    """The project of version 0.1.0, in another folder than it was in."""
    shutil.copytree(STATE / "state", home / ".kfgcp")
    for name in ("long_words.py", "fails.py"):
        shutil.copy(STATE / name, home / name)
    return home


def runs(kfgcp: Command, *arguments: str) -> JsonDict:
    listed = kfgcp("list", "--json", *arguments)
    assert listed.code == 0, listed.err
    return {run["name"]: run for run in json.loads(listed.out)}


@pytest.mark.usefixtures("project")
def test_its_runs_are_listed(kfgcp: Command) -> None:
    by_name = runs(kfgcp)
    states = {name: run["state"] for name, run in by_name.items()}
    assert states == {"first": "SUCCEEDED", "second": "SUCCEEDED", "broken": "FAILED"}
    assert by_name["first"]["tags"] == ["good"]
    assert by_name["second"]["note"] == "shorter words"
    assert by_name["second"]["experiment"] == "words"
    assert by_name["broken"]["error"]["message"] == "ValueError: 5 is too much"
    assert set(runs(kfgcp, "--where", "params.longer_than < 3")) == {"second"}
    assert set(runs(kfgcp, "--tag", "good")) == {"first"}


@pytest.mark.usefixtures("project")
def test_its_runs_are_compared(kfgcp: Command) -> None:
    compared = kfgcp("compare", "first", "second", "--json")
    assert compared.code == 0, compared.err
    differences = {
        difference["name"]: difference["values"]
        for difference in json.loads(compared.out)["differences"]
    }
    assert differences["longer_than"] == [4, 2]
    # Three words have more than 4 letters, all have more than 2.
    assert differences["measure/metrics/share_of_long_words"] == [pytest.approx(3 / 9), 1]
    assert "measure/metrics/mean_length" not in differences


@pytest.mark.usefixtures("project")
def test_its_logs_and_values_are_shown(kfgcp: Command) -> None:
    assert "checking" in kfgcp("logs", "broken", "check").out
    shown = json.loads(kfgcp("show", "first", "--json").out)
    assert shown["params"] == {
        "longer_than": 4,
        "text": "the quick brown fox jumps over the lazy dog",
    }
    metrics = {metric["name"]: metric["value"] for metric in shown["metrics"]}
    assert metrics == {"share_of_long_words": pytest.approx(3 / 9), "mean_length": MEAN_LENGTH}


@pytest.mark.usefixtures("project")
def test_its_runs_are_repeated(kfgcp: Command) -> None:
    repeated = kfgcp("rerun", "broken", "-p", "limit=2", "--json")
    assert repeated.code == 0, repeated.err
    assert json.loads(repeated.out)["outputs"] == {"Output": 2}
    result = kfgcp("run", "long_words.py", "-p", "longer_than=3", "--json")
    assert result.code == 0, result.err
    # quick, brown, jumps, over and lazy.
    assert json.loads(result.out)["outputs"] == {"Output": pytest.approx(5 / 9)}


def test_its_runs_are_deleted_with_their_files(kfgcp: Command, project: Path) -> None:
    run_id = runs(kfgcp)["broken"]["run_id"]
    assert (project / ".kfgcp" / "logs" / run_id).exists()
    assert kfgcp("delete", "broken", "--yes").code == 0
    assert set(runs(kfgcp)) == {"first", "second"}
    assert not (project / ".kfgcp" / "logs" / run_id).exists()
