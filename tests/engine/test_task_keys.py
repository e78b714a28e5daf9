"""Keys of tasks: where their files go."""

import pytest
from kfp import dsl

from kfgcp.errors import SpecError

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def same(text: str) -> str:
    return text


@pytest.mark.rule("Artifacts: a task's files stay below its own path")
@pytest.mark.parametrize("key", ["/escaped", "../../../../escaped", "inner/same", "for-loop-1[0]"])
def test_a_key_that_leads_elsewhere_is_refused_before_anything_starts(key, execute, compiled, home):
    @dsl.pipeline(name="keys")
    def keys():
        same(text="x")

    spec = compiled(keys)
    tasks = spec["root"]["dag"]["tasks"]
    tasks[key] = tasks.pop("same")

    with pytest.raises(SpecError, match=r"root\.dag\.tasks has the task"):
        execute(spec)
    assert list(home.rglob("*.log")) == []


@pytest.mark.rule("Artifacts: a task's files stay below its own path")
@pytest.mark.parametrize("key", ["...", ".hidden", "a b", "%2F", "back\\slash", "ü" * 100])
def test_files_of_an_odd_key_stay_in_the_state_folder(key, execute, compiled, task, log, home):
    @dsl.component(base_image=IMAGE)
    def make(data: dsl.Output[dsl.Dataset]):
        print("at work")
        with open(data.path, "w") as file:
            file.write("content")

    @dsl.pipeline(name="keys")
    def keys():
        make()

    spec = compiled(keys)
    tasks = spec["root"]["dag"]["tasks"]
    tasks[key] = tasks.pop("make")
    run = execute(spec)

    assert task(run, key).state == "SUCCEEDED"
    assert log(run, key) == ["at work"]
    artifacts = home / ".kfgcp" / "artifacts" / "keys" / run.run_id
    files = [
        path for path in artifacts.rglob("*") if path.is_file() and path.read_text() == "content"
    ]
    assert len(files) == 1
