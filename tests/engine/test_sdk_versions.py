"""The same source, compiled by old and new versions of KFP, gives the same results."""

from pathlib import Path

import pytest

from kfgcp.spec.load import load

SPECS = Path(__file__).parent / "specs"
VERSIONS = ["2.0.1", "2.7.0", "2.14.6", "2.16.1", "installed"]


def spec_of(pipeline, version):
    installed = f"features.py:{pipeline}"
    return load(
        str(SPECS / (installed if version == "installed" else f"{pipeline}-{version}.yaml"))
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.rule(
    "Running a task: lightweight Python components are recognised by their compiled command"
)
def test_a_pipeline_compiled_by_any_kfp_runs(version, execute, states, task, written):
    run = execute(spec_of("features", version))

    assert run.outputs["Output"] == 12
    assert states(run) == {
        "describe": "SUCCEEDED",
        "two": "SUCCEEDED",
        "inner": "SUCCEEDED",
        "inner/double": "SUCCEEDED",
        "inner/double-2": "SUCCEEDED",
        "produce": "SUCCEEDED",
        "consume": "SUCCEEDED",
        "condition-1": "SUCCEEDED",
        "condition-1/double": "SUCCEEDED",
        "condition-2": "SKIPPED",
        "for-loop-3": "SUCCEEDED",
        **{f"for-loop-3[{i}]": "SUCCEEDED" for i in range(3)},
        **{f"for-loop-3[{i}]/double-3": "SUCCEEDED" for i in range(3)},
        "total": "SUCCEEDED",
    }
    assert written(run, "describe") == [
        'it\'s "quoted" {{$}}',
        2,
        0.5,
        True,
        [1, 2, 3],
        {"depth": {"of": 2}},
    ]
    assert task(run, "two").outputs == {"name": "n2", "value": 2}
    assert task(run, "inner").outputs == {"Output": 8}
    assert task(run, "consume").outputs == {"Output": 2}
    assert [(m.task, m.artifact, m.name, m.value) for m in run.metrics] == [
        ("produce", "metrics", "rows", 2)
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_an_exit_handler_compiled_by_any_kfp_runs(version, execute, states, task):
    run = execute(spec_of("guarded", version))

    assert run.state == "FAILED"
    assert states(run) == {
        "exit-handler-1": "FAILED",
        "exit-handler-1/broken": "FAILED",
        "report": "SUCCEEDED",
    }
    assert task(run, "exit-handler-1/broken").attempts == 2
    assert task(run, "report").outputs == {"Output": "FAILED exit-handler-1"}
