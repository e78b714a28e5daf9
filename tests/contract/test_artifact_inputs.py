"""Artifacts that a pipeline is given, and lists of artifacts: the same on each backend, or
refused."""

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp import api
from kfgcp.errors import ParamError, Unsupported
from kfgcp.model import RunState, TaskState


@pytest.mark.feature("Tasks: a whole list of artifacts in a command is refused before the run")
def test_a_whole_list_of_artifacts_in_a_command_is_refused(backend_project: BackendProject) -> None:
    if backend_project.like != "local":
        report = kfgcp.check(str(backend_project.file("whole_list")), [backend_project.env])
        messages = [row.finding.message for row in report.rows]
        assert any("passes the whole artifact 'data' to its command" in text for text in messages)
        pytest.skip("not refused: check says that the command gets another text, or may get one")

    with pytest.raises(Unsupported) as caught:
        backend_project.submit("whole_list")

    assert "count passes the whole artifact 'data' to its command" in caught.value.message
    assert "Read the list in a Python component" in caught.value.hint
    assert "whole-list" not in [run.pipeline for run in api.list()]


@pytest.mark.feature("Tasks: a pipeline's input artifacts are given as URIs")
def test_an_input_artifact_is_given_as_a_uri(backend_project: BackendProject) -> None:
    if backend_project.like == "kubeflow":
        with pytest.raises(
            Unsupported, match="cannot take input artifacts of a pipeline: data"
        ) as caught:
            backend_project.submit("given_data", {"data": backend_project.data})
        assert "dsl.importer" in caught.value.hint
        assert "given-data" not in [run.pipeline for run in api.list()]
        pytest.skip("refused: its runs have parameters only")

    one = backend_project.run("given_data", {"data": backend_project.data})
    two = backend_project.run(
        "given_data", {"data": backend_project.data, "more": backend_project.data, "text": "y"}
    )

    assert one.state is two.state is RunState.SUCCEEDED
    assert one.params == {"text": "x", "data": backend_project.data, "more": None}
    assert two.params == {"text": "y", "data": backend_project.data, "more": backend_project.data}
    assert one.task("count").outputs == {"Output": 3}
    assert one.task("describe").outputs == {"Output": "system.Dataset:data.txt"}
    assert two.task("describe").outputs == {
        "Output": "system.Dataset:data.txt system.Model:data.txt"
    }
    assert two.task("count").state is TaskState.CACHED, "it is the same artifact"


@pytest.mark.feature(
    "Tasks: a missing input artifact that is not optional is an error before anything starts"
)
def test_a_missing_input_artifact_is_an_error_before_anything_starts(
    backend_project: BackendProject,
) -> None:
    before = [run.run_id for run in api.list()]
    with pytest.raises(ParamError, match="Wrong parameters: data is required") as caught:
        backend_project.submit("given_data", {"more": backend_project.data})

    assert caught.value.exit_code == 2
    assert [run.run_id for run in api.list()] == before
