"""What the local backend says before a run: warnings of rules, and what this machine lacks."""

from pathlib import Path
from typing import Any, Final

import pytest

from json_types import JsonDict
from kfgcp.backends.local.before_run import note_lines, refuse
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.engine.secrets import Secrets
from kfgcp.errors import Unsupported
from kfgcp.options import RunOptions
from kfgcp.rules.ignored import Ignored
from rule_cases import build_spec

EXECUTOR: Final = "deploymentSpec/executors/exec-train"
PLATFORM: Final = "platforms/kubernetes/deploymentSpec/executors/exec-train"
SECRET: Final = {"secretName": "db", "keyToEnv": [{"secretKey": "p", "envVar": "DB_PASSWORD"}]}
TAKEN: Final = "component train takes DB_PASSWORD from your shell, not from the secret 'db' (L206)"


def notes(*edits: Any, ignored: tuple[str, ...] = ()) -> list[str]:
    ignored_findings = Ignored(frozenset(ignored))
    return note_lines(
        build_spec(edits), RunOptions(), LocalSettings(), ignored_findings, Secrets({})
    )


def test_a_variable_that_is_missing_is_named_beside_the_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = {f"{PLATFORM}/secretAsEnv": [SECRET]}
    monkeypatch.setenv("DB_PASSWORD", "x")
    assert notes(secret) == [TAKEN]

    monkeypatch.delenv("DB_PASSWORD")
    assert notes(secret) == [
        TAKEN,
        "component train will fail if it starts, because these variables of the secret 'db' are"
        " not set on this machine: DB_PASSWORD",
    ]
    assert notes({f"{PLATFORM}/secretAsEnv": [SECRET | {"optional": True}]}) == [TAKEN]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    def mount(path: Path) -> JsonDict:
        return {f"{PLATFORM}/pvcMount": [{"constant": "claim", "mountPath": str(path)}]}

    assert len(notes(mount(tmp_path))) == 1
    assert notes(mount(tmp_path / "absent"))[1] == (
        f"component train will fail if it starts: {tmp_path / 'absent'} (volume claim 'claim') does"
        " not exist on this machine"
    )


def test_a_rule_that_the_project_ignores_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "x")

    assert notes({f"{PLATFORM}/secretAsEnv": [SECRET]}, ignored=("L206",)) == []


def test_what_the_engine_cannot_run_is_refused_in_the_words_of_the_rule() -> None:
    custom_job = build_spec([{EXECUTOR: {"customJob": {"customJob": {}}}}])

    with pytest.raises(Unsupported) as caught:
        refuse(custom_job, RunOptions(), LocalSettings())

    assert caught.value.message == (
        "Component train is a customJob executor, which the local engine cannot run (L101)."
    )
    with pytest.raises(Unsupported, match=r"--executor process does not allow containers \(L103\)"):
        refuse(build_spec(), RunOptions(executor="process"), LocalSettings())
