"""Tasks that change something outside of a run, or read something that moves, are not cached."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

import kfgcp
from kfgcp_components import (
    copy_files,
    fetch_model,
    ingest_table,
    notify,
    notify_on_exit,
    promote_model,
    register_model,
)
from patience import PROCESS

ALWAYS_RUN = {
    "copy-files",
    "fetch-model",
    "notify",
    "notify-on-exit",
    "promote-model",
    "register-model",
}

COPY_PIPELINE = """
from kfp import dsl
from kfgcp_components import copy_files

@dsl.pipeline(name="copy")
def copy(source: str, target: str) -> int:
    return copy_files(source=source, target=target).outputs["copied"]
"""

LOCAL_CALL = """
from kfp import local
from kfgcp_components import copy_files

local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root")
print("copied", copy_files(source="a.txt", target="b.txt").outputs["copied"])
"""


@dsl.pipeline
def everything(uri: str) -> None:
    """Have each component that is not cached as a task, and one that is."""
    message = notify_on_exit(url=uri, pipeline="everything")
    with dsl.ExitHandler(message):
        fetched = fetch_model(registry=uri, name="churn")
        register_model(model=fetched.outputs["model"], registry=uri, name="churn")
        promote_model(registry=uri, name="churn", version="v-1")
        copy_files(source=uri, target=uri)
        notify(url=uri, text="done")
        ingest_table(source=uri)


@dsl.pipeline
def switched_on(uri: str) -> None:
    """Switch the cache of a task on."""
    copy_files(source=uri, target=uri).set_caching_options(True)


def caching_by_task(pipeline: object, folder: Path) -> dict[str, bool]:
    """Return whether each task of a pipeline is cached, as KFP compiles it."""
    compiler.Compiler().compile(pipeline, str(folder / "spec.yaml"))
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    is_cached = {}
    for component in [spec["root"], *spec["components"].values()]:
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            is_cached[name] = task.get("cachingOptions", {}).get("enableCache", False)
    return is_cached


def test_components_with_side_effects_switch_their_cache_off(tmp_path: Path) -> None:
    is_cached = caching_by_task(everything, tmp_path)
    assert is_cached.pop("ingest-table") is True
    is_cached.pop("exit-handler-1")
    assert is_cached == dict.fromkeys(ALWAYS_RUN, False)


def test_a_pipeline_can_switch_the_cache_on(tmp_path: Path) -> None:
    assert caching_by_task(switched_on, tmp_path) == {"copy-files": True}


def test_a_second_run_does_what_the_first_run_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe.py").write_text(COPY_PIPELINE)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    workspace = kfgcp.Workspace.open(tmp_path)
    target = tmp_path / "target"
    params = {"source": str(tmp_path / "source"), "target": str(target)}

    for _ in range(2):
        run = workspace.submit("pipe.py", params=params).wait(timeout=PROCESS)
        assert (run.state, run.outputs) == ("SUCCEEDED", {"Output": 1})
        (target / "a.txt").unlink()


def test_a_component_without_a_pipeline_runs_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    result = subprocess.run(
        [sys.executable, "-c", LOCAL_CALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "copied 1"
