"""Why a task was or was not taken from the cache: the reason is true in every case."""

import shutil
from pathlib import Path

import pytest
from kfp import dsl

from cached_pipelines import add, cached, read, read_text, reason
from kfgcp import api
from kfgcp.engine.stored_outputs import format_outputs, why_unusable
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.store.store import Store


@pytest.mark.rule("Caching: a hit whose artifacts are gone is a miss")
@pytest.mark.parametrize("gone", ["file", "run"])
def test_gone_artifacts(gone, execute, states):
    first = execute(cached)
    file = next(
        Path(artifact.uri.removeprefix("file://"))
        for artifact in first.artifacts
        if artifact.name == "data"
    )
    if gone == "file":
        file.unlink()
    else:
        shutil.rmtree(file.parent.parent.parent)
    run = execute(cached)

    assert states(run) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run, "write") == f"the files of run {first.run_id} were deleted"
    assert states(execute(cached)) == {"add": "CACHED", "write": "CACHED", "read": "CACHED"}


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_reasons(execute, one):
    first = execute(one)
    assert reason(first) == "this task has not succeeded before"
    assert reason(execute(one)) == f"same code and inputs as in run {first.run_id}"
    assert reason(execute(one, {"x": 2})) == "inputs changed: x"
    one["root"]["dag"]["tasks"]["add"]["inputs"]["parameters"]["y"]["runtimeValue"]["constant"] = (
        7.0
    )
    assert reason(execute(one, {"x": 3})) == "inputs changed: x, y"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_deleted_run_is_the_reason(execute):
    first = execute(cached)
    api.delete(first.run_id)
    run = execute(cached)

    assert (
        reason(run, "add") == f"run {first.run_id}, which had the same code and inputs, was deleted"
    )
    assert reason(run, "write") == f"run {first.run_id} and its files were deleted"
    assert reason(execute(cached, {"x": 2}), "add") == "inputs changed: x"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_deleted_run_with_the_same_cache_key_is_the_reason(execute, one):
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}
    first = execute(one, {"x": 1})
    api.delete(first.run_id)

    assert (
        reason(execute(one, {"x": 2}))
        == f"run {first.run_id}, which had the same cache key, was deleted"
    )


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_repeated_run_that_was_deleted_is_the_reason(execute, record_repetition):
    first = execute(cached, cache=False)
    repetition = record_repetition(first.run_id, cache=True)
    api.delete(first.run_id)
    repetition.execute()
    run = api.show(repetition.run_id).snapshot

    assert (
        reason(run, "add") == f"run {first.run_id}, which had the same code and inputs, was deleted"
    )
    assert reason(run, "write") == f"run {first.run_id} and its files were deleted"


@pytest.mark.rule(
    "Caching: when the newest of several equal successes is gone, an older one gives the outputs"
)
@pytest.mark.parametrize("gone", ["run", "files"])
def test_an_older_success_is_used_when_the_newest_is_gone(gone, execute, states):
    first = execute(cached)
    second = api.rerun(first.run_id, from_task="write").snapshot
    assert states(second) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(execute(cached), "write") == f"same code and inputs as in run {second.run_id}"
    if gone == "run":
        for run in api.runs()["run_id"]:
            if run != first.run_id:
                api.delete(run)
    else:
        path = next(a.uri for a in second.artifacts if a.name == "data").removeprefix("file://")
        Path(path).unlink()

    run = execute(cached)

    assert states(run) == {"add": "CACHED", "write": "CACHED", "read": "CACHED"}
    assert reason(run, "write") == f"same code and inputs as in run {first.run_id}"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_hit_does_not_name_a_run_that_only_imported_a_file(execute, states):
    @dsl.pipeline(name="imports")
    def imports(uri: str):
        read(data=dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset).output)

    first = execute(cached)
    execute(imports, {"uri": next(a.uri for a in first.artifacts if a.name == "data")})
    api.delete(first.run_id)
    run = execute(cached)

    assert states(run)["write"] == "CACHED"
    assert (
        reason(run, "write") == f"same code and inputs as in run {first.run_id}, which was deleted"
    )


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_rerun_says_that_the_files_of_its_run_were_deleted(execute, states):
    first = execute(cached)
    second = execute(cached, cache=False)
    Path(next(a.uri for a in second.artifacts if a.name == "data").removeprefix("file://")).unlink()
    with Store(Path(".kfgcp")) as store:  # as if nothing had ever been cached
        store.forget(first.run_id)

    handle = api.rerun(second.run_id, cache=True, in_process=True, check=False)
    run = handle.refresh().snapshot

    assert states(run) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run, "write") == f"the files of run {second.run_id} were deleted"


@pytest.mark.rule("Caching: every task records why it hit or missed")
@pytest.mark.parametrize("again", [False, True])
def test_equal_tasks_of_one_run_are_not_reported_as_changed(again, execute):
    @dsl.pipeline(name="twins")
    def twins(x: int = 1):
        first = add(x=x)
        add(x=x).after(first)

    if again:
        execute(twins, {"x": 5})
    run = execute(twins)

    assert (
        reason(run, "add-2")
        == "an identical task succeeded in this run, but in no earlier run, and tasks of the same"
        " run do not share outputs"
    )


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_iterations_are_not_compared_with_those_of_the_same_run(execute):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items, parallelism=1) as item:
            read_text(x=item)

    run = execute(loops, {"items": ["a", "b"]})

    assert [reason(run, f"for-loop-1[{i}]/read-text") for i in range(2)] == [
        "this task has not succeeded before"
    ] * 2


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_changed_code_of_a_loop_is_not_called_a_changed_item(execute, compiled):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items) as item:
            read_text(x=item)

    spec = compiled(loops)
    # More items than successes that a task is compared with.
    execute(spec, {"items": ["b", "a", *map(str, range(30))]})
    spec["deploymentSpec"]["executors"]["exec-read-text"]["container"]["command"][-1] += (
        "\n# changed\n"
    )
    run = execute(spec, {"items": ["a", "b"]})

    reasons = {reason(run, f"for-loop-1[{i}]/read-text") for i in range(2)}
    assert reasons == {"the code of the component changed"}


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_all_that_changed_is_named(execute, one):
    execute(one)
    container = one["deploymentSpec"]["executors"]["exec-add"]["container"]
    container["image"] = "python:3.12"
    container["command"][-1] += "\n# changed\n"

    assert reason(execute(one, {"x": 2})) == (
        "inputs changed: x; the image changed; the code of the component changed"
    )


@pytest.mark.rule("Caching: every task records why it hit or missed")
@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("kfp==2.", "kfp==3.", "another version of kfp compiled the component"),
        ("'kfp==", "'click' 'kfp==", "packages_to_install changed"),
    ],
)
def test_unchanged_code_is_not_reported_as_changed(before, after, because, execute, one):
    execute(one)
    command = one["deploymentSpec"]["executors"]["exec-add"]["container"]["command"]
    assert any(before in word for word in command)
    command[:] = [word.replace(before, after) for word in command]
    # Another version of the pipeline: a pin of kfp alone does not make one.
    one["root"]["dag"]["tasks"]["add"]["taskInfo"]["name"] = "another name"

    assert reason(execute(one)) == because


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_new_cache_key_is_not_a_changed_input(execute, one):
    execute(one)
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}

    assert reason(execute(one)) == "the cache key changed"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_bucket_that_does_not_answer_is_not_called_deleted(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    artifact = ArtifactValue("model", "system.Model", "minio://bucket/key", stored=True)

    unusable = why_unusable(format_outputs(Values(artifacts={"model": (artifact,)})), "aaaa")
    assert unusable is not None
    assert unusable.is_unreachable
    assert (
        unusable.reason
        == "kfgcp cannot reach the files of run aaaa: minio://bucket/key cannot be checked: kfgcp"
        " does not know the address of the server, because s3_endpoint and AWS_ENDPOINT_URL"
        " are not set"
    )
