"""Caching of tasks: each test runs pipelines of one project twice or more."""

import shutil
from pathlib import Path

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.engine import cache
from kfgcp.engine.values import ArtifactValue, Values
from kfgcp.store.store import Store

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def add(x: int, y: int = 1) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def bad(x: int) -> int:
    raise ValueError("on purpose")


@dsl.component(base_image=IMAGE)
def write(x: int, data: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    with open(data.path, "w") as file:
        file.write(f"data {x}")
    data.metadata["x"] = x
    metrics.log_metric("x", x)


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.pipeline(name="cached")
def cached(x: int = 1, z: int = 0):
    first = add(x=x)
    made = write(x=first.output)
    read(data=made.outputs["data"])


@dsl.pipeline(name="inner")
def inner(x: int) -> int:
    return add(x=x).output


@dsl.pipeline(name="nests")
def nests(x: int = 1):
    inner(x=x)
    with dsl.ParallelFor([1, 2]) as item:
        add(x=item)


@pytest.fixture
def one(compiled):
    """The compiled pipeline of one task `add(x=x, y=2)`."""

    @dsl.pipeline(name="one")
    def pipeline(x: int = 1):
        add(x=x, y=2)

    return compiled(pipeline)


def reason(run, path="add"):
    return next(task for task in run.tasks if task.path == path).cache.reason


@pytest.mark.rule("Caching: a key stored by an earlier success gives the outputs, CACHED, without running")
def test_a_second_run_takes_the_outputs_of_the_first(execute, states, task, log):
    first = execute(cached)
    second = execute(cached)

    assert states(first) == {"add": "SUCCEEDED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert states(second) == {"add": "CACHED", "write": "CACHED", "read": "CACHED"}
    assert second.state == "SUCCEEDED"
    for path in ("add", "write", "read"):
        assert task(second, path).outputs == task(first, path).outputs
        assert task(second, path).attempts == 0
        assert log(second, path) == log(first, path)
        assert task(second, path).cache.hit
        assert first.run_id in reason(second, path)
    assert [(m.key, m.value) for m in second.metrics] == [(m.key, m.value) for m in first.metrics]
    assert [(a.name, a.uri, a.metadata) for a in second.artifacts] == [
        (a.name, a.uri, a.metadata) for a in first.artifacts
    ]


@pytest.mark.rule("Caching: a key stored by an earlier success gives the outputs, CACHED, without running")
def test_enable_cache_false(execute, states):
    @dsl.pipeline(name="off")
    def off():
        add(x=1).set_caching_options(False)

    execute(off)
    run = execute(off)

    assert states(run) == {"add": "SUCCEEDED"}
    assert reason(run) == "caching is off for this task"


@pytest.mark.rule("Caching: failures are never stored")
def test_a_failure_is_not_cached(execute, states):
    @dsl.pipeline(name="fails")
    def fails():
        bad(x=1)

    execute(fails)
    assert states(execute(fails)) == {"bad": "FAILED"}


@pytest.mark.rule("Caching: local runs cache per pipeline name")
def test_another_pipeline_does_not_share(execute, one, states):
    execute(one)
    one["pipelineInfo"]["name"] = "other"

    assert states(execute(one)) == {"add": "SUCCEEDED"}
    assert states(execute(one)) == {"add": "CACHED"}


@pytest.mark.rule("Caching: the key holds input parameter values")
def test_changed_inputs(execute, states):
    execute(cached, {"x": 1})
    run = execute(cached, {"x": 2})

    assert states(run) == {"add": "SUCCEEDED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run) == "inputs changed: x"
    assert states(execute(cached, {"x": 1, "z": 5})) == {"add": "CACHED", "write": "CACHED", "read": "CACHED"}


@pytest.mark.rule("Caching: the key holds identities of input artifacts")
def test_changed_artifacts(execute, compiled, states):
    execute(cached)
    spec = compiled(cached)
    spec["root"]["dag"]["tasks"]["write"]["cachingOptions"] = {}
    run = execute(spec)

    assert states(run) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run, "read") == "inputs changed: data"


@pytest.mark.rule("Caching: the key holds output specs without URIs, image, command and unresolved args")
@pytest.mark.parametrize("part", ["image", "command", "args", "output type", "output artifact"])
def test_changed_code(part, execute, one, states):
    execute(one)
    container = one["deploymentSpec"]["executors"]["exec-add"]["container"]
    component = one["components"]["comp-add"]
    if part == "image":
        container["image"] = "python:3.12"
    elif part == "command":
        container["command"][-1] += "\n# changed\n"
    elif part == "args":
        container["args"].append("--more")
    elif part == "output type":
        component["outputDefinitions"]["parameters"]["Output"]["parameterType"] = "NUMBER_DOUBLE"
    else:
        kind = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}
        component["outputDefinitions"]["artifacts"] = {"more": {"artifactType": kind}}
    run = execute(one)

    assert states(run) == {"add": "SUCCEEDED"}
    assert reason(run) == ("the image changed" if part == "image" else "the code of the component changed")


@pytest.mark.rule("Caching: the key holds output specs without URIs, image, command and unresolved args")
@pytest.mark.parametrize("part", ["env", "resources", "display name", "retry", "spec version"])
def test_what_is_no_part_of_the_key(part, execute, one, states):
    execute(one)
    container = one["deploymentSpec"]["executors"]["exec-add"]["container"]
    task = one["root"]["dag"]["tasks"]["add"]
    if part == "env":
        container["env"] = [{"name": "A", "value": "b"}]
    elif part == "resources":
        container["resources"] = {"cpuLimit": 1.0}
    elif part == "display name":
        task["taskInfo"]["name"] = "another name"
    elif part == "retry":
        task["retryPolicy"] = {"maxRetryCount": 3}
    else:
        one["sdkVersion"] = "kfp-2.99.0"

    assert states(execute(one)) == {"add": "CACHED"}


@pytest.mark.rule("Caching: a custom cacheKey is component name and that key alone")
def test_a_custom_cache_key(execute, one, states):
    task = one["root"]["dag"]["tasks"]["add"]
    task["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}
    first = execute(one, {"x": 1})
    one["deploymentSpec"]["executors"]["exec-add"]["container"]["image"] = "python:3.12"
    second = execute(one, {"x": 5})

    assert states(second) == {"add": "CACHED"}
    assert reason(second) == f"same cache key as in run {first.run_id}"
    assert second.tasks[0].outputs == first.tasks[0].outputs == {"Output": 3}
    task["cachingOptions"]["cacheKey"] = "other"
    third = execute(one, {"x": 1})
    assert states(third) == {"add": "SUCCEEDED"}
    assert reason(third) == "the cache key changed"


@pytest.mark.rule("Caching: a custom cacheKey is component name and that key alone")
def test_two_components_with_one_key_do_not_mix(execute, compiled, states):
    @dsl.pipeline(name="keys")
    def keys():
        add(x=1)
        write(x=1)

    spec = compiled(keys)
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True, "cacheKey": "same"}
    execute(spec)
    run = execute(spec)

    assert states(run) == {"add": "CACHED", "write": "CACHED"}
    assert run.tasks[0].outputs != run.tasks[1].outputs


@pytest.mark.rule("Caching: the run-level override reaches every task and never erases a custom cacheKey")
def test_no_cache_reaches_nested_tasks(execute, states):
    execute(nests)
    run = execute(nests, cache=False)

    assert "CACHED" not in states(run).values()
    assert reason(run, "inner/add") == "caching is off for this run"
    assert [state for path, state in states(execute(nests)).items() if path.endswith("add")] == ["CACHED"] * 3


@pytest.mark.rule("Caching: the run-level override reaches every task and never erases a custom cacheKey")
def test_cache_reaches_tasks_that_switched_it_off(execute, compiled, states):
    spec = compiled(nests)
    for component in spec["components"].values():
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    execute(spec, cache=True)
    run = execute(spec, cache=True)

    assert [state for path, state in states(run).items() if path.endswith("add")] == ["CACHED"] * 3
    assert [state for path, state in states(execute(spec)).items() if path.endswith("add")] == ["SUCCEEDED"] * 3


@pytest.mark.rule("Caching: the run-level override reaches every task and never erases a custom cacheKey")
def test_the_override_keeps_a_custom_key(execute, one, states):
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {"enableCache": False, "cacheKey": "mine"}
    execute(one, {"x": 1}, cache=True)

    assert states(execute(one, {"x": 2}, cache=True)) == {"add": "CACHED"}
    assert states(execute(one, {"x": 3})) == {"add": "SUCCEEDED"}


@pytest.mark.rule("Caching: a hit whose artifacts are gone is a miss")
@pytest.mark.parametrize("gone", ["file", "run"])
def test_gone_artifacts(gone, execute, states):
    first = execute(cached)
    file = next(Path(found.uri.removeprefix("file://")) for found in first.artifacts if found.name == "data")
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
    assert reason(first) == "no earlier success of this task"
    assert reason(execute(one)) == f"same code and inputs as in run {first.run_id}"
    assert reason(execute(one, {"x": 2})) == "inputs changed: x"
    one["root"]["dag"]["tasks"]["add"]["inputs"]["parameters"]["y"]["runtimeValue"]["constant"] = 7.0
    assert reason(execute(one, {"x": 3})) == "inputs changed: x, y"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_deleted_run_is_the_reason(execute):
    first = execute(cached)
    api.delete(first.run_id)
    run = execute(cached)

    assert reason(run, "add") == f"run {first.run_id}, which had the same code and inputs, was deleted"
    assert reason(run, "write") == f"the files of run {first.run_id} were deleted with it"
    assert reason(execute(cached, {"x": 2}), "add") == "inputs changed: x"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_deleted_run_with_the_same_cache_key_is_the_reason(execute, one):
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}
    first = execute(one, {"x": 1})
    api.delete(first.run_id)

    assert reason(execute(one, {"x": 2})) == f"run {first.run_id}, which had the same cache key, was deleted"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_repeated_run_that_was_deleted_is_the_reason(execute):
    first = execute(cached, cache=False)
    handle, opened = api.open_rerun(first.run_id, cache=True)
    api.delete(first.run_id)
    opened.execute()
    run = handle.refresh().snapshot

    assert reason(run, "add") == f"run {first.run_id}, which had the same code and inputs, was deleted"
    assert reason(run, "write") == f"the files of run {first.run_id} were deleted with it"


@pytest.mark.rule("Caching: when the newest of several equal successes is gone, an older one gives the outputs")
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
    assert reason(run, "write") == f"same code and inputs as in run {first.run_id}, which was deleted"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_rerun_says_that_the_files_of_its_run_were_deleted(execute, states):
    first = execute(cached)
    second = execute(cached, cache=False)
    Path(next(a.uri for a in second.artifacts if a.name == "data").removeprefix("file://")).unlink()
    with Store(Path(".kfgcp")) as store:  # as if nothing had ever been cached
        store.forget(first.run_id)

    handle, opened = api.open_rerun(second.run_id, cache=True)
    opened.execute()
    run = handle.refresh().snapshot

    assert states(run) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run, "write") == f"the files of run {second.run_id} were deleted"


@pytest.mark.rule("Caching: every task records why it hit or missed")
@pytest.mark.parametrize("again", [False, True])
def test_equal_tasks_of_one_run_are_not_said_to_have_changed(again, execute):
    @dsl.pipeline(name="twins")
    def twins(x: int = 1):
        first = add(x=x)
        add(x=x).after(first)

    if again:
        execute(twins, {"x": 5})
    run = execute(twins)

    assert reason(run, "add-2") == (
        "only an identical task of this run succeeded before, and tasks of one run do not share outputs"
    )


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_iterations_are_not_compared_with_those_of_the_same_run(execute):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items, parallelism=1) as item:
            read_text(x=item)

    run = execute(loops, {"items": ["a", "b"]})

    assert [reason(run, f"for-loop-1[{i}]/read-text") for i in range(2)] == ["no earlier success of this task"] * 2


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_changed_code_of_a_loop_is_not_called_a_changed_item(execute, compiled):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items) as item:
            read_text(x=item)

    spec = compiled(loops)
    # More items than successes that a task is compared with.
    execute(spec, {"items": ["b", "a", *map(str, range(30))]})
    spec["deploymentSpec"]["executors"]["exec-read-text"]["container"]["command"][-1] += "\n# changed\n"
    run = execute(spec, {"items": ["a", "b"]})

    reasons = {reason(run, f"for-loop-1[{i}]/read-text") for i in range(2)}
    assert reasons == {"the code of the component changed"}


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_all_that_changed_is_named(execute, one):
    execute(one)
    container = one["deploymentSpec"]["executors"]["exec-add"]["container"]
    container["image"] = "python:3.12"
    container["command"][-1] += "\n# changed\n"

    assert reason(execute(one, {"x": 2})) == ("inputs changed: x; the image changed; the code of the component changed")


@pytest.mark.rule("Caching: every task records why it hit or missed")
@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("kfp==2.", "kfp==3.", "another version of kfp compiled the component"),
        ("'kfp==", "'click' 'kfp==", "packages_to_install changed"),
    ],
)
def test_unchanged_code_is_not_said_to_have_changed(before, after, because, execute, one):
    execute(one)
    command = one["deploymentSpec"]["executors"]["exec-add"]["container"]["command"]
    assert any(before in word for word in command)
    command[:] = [word.replace(before, after) for word in command]
    # Another version of the pipeline: a pin of kfp alone does not make one.
    one["root"]["dag"]["tasks"]["add"]["taskInfo"]["name"] = "another name"

    assert reason(execute(one)) == because


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_new_cache_key_is_no_changed_input(execute, one):
    execute(one)
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}

    assert reason(execute(one)) == "the cache key changed"


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_bucket_that_does_not_answer_is_not_called_deleted(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    artifact = ArtifactValue("model", "system.Model", "minio://bucket/key", stored=True)

    unusable = cache.why_unusable(cache.kept(Values(artifacts={"model": (artifact,)})), "aaaa")
    assert unusable is not None
    assert unusable.is_unreachable
    assert unusable.reason == (
        "the files of run aaaa cannot be reached: minio://bucket/key cannot be looked at: AWS_ENDPOINT_URL, the"
        " address of the MinIO server, is not set"
    )


@pytest.mark.rule("Caching: the key holds input parameter values")
def test_loop_iterations_are_cached_by_their_item(execute, states):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items) as item:
            read_text(x=item)

    execute(loops, {"items": ["a", "b"]})
    run = execute(loops, {"items": ["c", "b", "a"]})

    assert [states(run)[f"for-loop-1[{i}]/read-text"] for i in range(3)] == ["SUCCEEDED", "CACHED", "CACHED"]


@dsl.component(base_image=IMAGE)
def read_text(x: str) -> str:
    return x


@dsl.component(base_image=IMAGE)
def count(path: str) -> int:
    import os

    with open(os.path.join(os.environ["KFGCP_SUBMIT_DIR"], path)) as file:
        return len(file.readlines())


@dsl.pipeline(name="counts")
def counts(path: str = "table.csv") -> int:
    return count(path=path).output


@pytest.mark.rule("Caching: a file of this machine that a parameter names is read again when it has changed")
def test_an_edited_file_is_a_changed_input(execute, home):
    table = home / "table.csv"
    table.write_text("1\n2\n")
    assert execute(counts).outputs == {"Output": 2}
    assert execute(counts).tasks[0].state == "CACHED"

    table.write_text("1\n2\n3\n")
    run = execute(counts)
    assert run.outputs == {"Output": 3}
    assert run.tasks[0].cache.reason == "a file that a parameter names has changed"

    table.unlink()
    assert execute(counts).state == "FAILED"


@dsl.component(base_image=IMAGE)
def count_lines(uri: str) -> int:
    from urllib.parse import unquote, urlsplit

    with open(unquote(urlsplit(uri).path)) as file:
        return len(file.readlines())


@pytest.mark.rule("Caching: a file of this machine that a parameter names is read again when it has changed")
def test_an_edited_file_is_a_changed_input_also_by_its_uri(execute, home):
    @dsl.pipeline(name="counts-lines")
    def counts_lines(uri: str) -> int:
        return count_lines(uri=uri).output

    table = home / "my table.csv"
    table.write_text("1\n2\n")
    assert execute(counts_lines, {"uri": table.as_uri()}).outputs == {"Output": 2}
    table.write_text("1\n2\n3\n")

    assert execute(counts_lines, {"uri": table.as_uri()}).outputs == {"Output": 3}
