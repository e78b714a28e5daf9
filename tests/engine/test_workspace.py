"""The workspace: a folder shared by the tasks of a run, kept until the run ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from json_types import JsonDict
from kfgcp.model import Run, RunState


@dsl.component(base_image="python:3.11")
def leave(workspace: str, text: str) -> str:
    with open(workspace + "/note", "w") as file:
        file.write(text)
    return workspace


@dsl.component(base_image="python:3.11")
def find(workspace: str) -> str:
    with open(workspace + "/note") as file:
        return file.read()


@dsl.pipeline(
    name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"))
)
def pipeline(text: str) -> str:
    left = leave(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER, text=text)
    return find(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER).after(left).output


@pytest.mark.rule(
    "Artifacts: the workspace is shared by the tasks of a run and gone when it has ended"
)
def test_tasks_of_a_run_share_a_folder_that_is_gone_afterwards(
    execute: Callable[..., Run], compiled: Callable[[Any], JsonDict]
) -> None:
    run = execute(compiled(pipeline), params={"text": "for the next"})
    assert run.state is RunState.SUCCEEDED, run.error
    assert run.outputs == {"Output": "for the next"}
    [folder] = [task.outputs["Output"] for task in run.tasks if task.path == "leave"]
    assert run.run_id in folder
    assert not Path(folder).exists()
