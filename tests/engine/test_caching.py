"""Caching of tasks: each test runs pipelines of one project twice or more."""

import pytest
from kfp import dsl

from cached_pipelines import IMAGE, add, bad, cached, nests, read_text, reason, write


@pytest.mark.rule(
    "Caching: a key stored by an earlier success gives the outputs, CACHED, without running"
)
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


@pytest.mark.rule(
    "Caching: a key stored by an earlier success gives the outputs, CACHED, without running"
)
def test_enable_cache_false(execute, states):
    @dsl.pipeline(name="off")
    def off():
        add(x=1).set_caching_options(False)

    execute(off)
    run = execute(off)

    assert states(run) == {"add": "SUCCEEDED"}
    assert reason(run) == "caching is off for this task"


def test_a_nested_pipeline_that_was_all_cached_has_the_times_of_its_tasks(execute, task):
    """It ends in the turn in which it begins. The same happens to a nested pipeline that ended
    before a kill."""
    execute(nests)
    second = execute(nests)

    groups = [one_task for one_task in second.tasks if one_task.kind == "dag"]
    assert groups
    for group in groups:
        inner = [
            one_task for one_task in second.tasks if one_task.path.startswith(f"{group.path}/")
        ]
        assert {one_task.state for one_task in inner if one_task.kind == "container"} == {"CACHED"}
        assert group.started_at == min(one_task.started_at for one_task in inner)
        assert group.ended_at == max(one_task.ended_at for one_task in inner)


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
    assert states(execute(cached, {"x": 1, "z": 5})) == {
        "add": "CACHED",
        "write": "CACHED",
        "read": "CACHED",
    }


@pytest.mark.rule("Caching: the key holds identities of input artifacts")
def test_changed_artifacts(execute, compiled, states):
    execute(cached)
    spec = compiled(cached)
    spec["root"]["dag"]["tasks"]["write"]["cachingOptions"] = {}
    run = execute(spec)

    assert states(run) == {"add": "CACHED", "write": "SUCCEEDED", "read": "SUCCEEDED"}
    assert reason(run, "read") == "inputs changed: data"


@pytest.mark.rule(
    "Caching: the key holds output specs without URIs, image, command and unresolved args"
)
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
    assert reason(run) == (
        "the image changed" if part == "image" else "the code of the component changed"
    )


@pytest.mark.rule(
    "Caching: the key holds output specs without URIs, image, command and unresolved args"
)
@pytest.mark.parametrize("part", ["env", "resources", "display name", "retry", "spec version"])
def test_values_that_do_not_change_the_key(part, execute, one, states):
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


@pytest.mark.rule(
    "Caching: the run-level override reaches every task and never erases a custom cacheKey"
)
def test_no_cache_reaches_nested_tasks(execute, states):
    execute(nests)
    run = execute(nests, cache=False)

    assert "CACHED" not in states(run).values()
    assert reason(run, "inner/add") == "caching is off for this run"
    assert [state for path, state in states(execute(nests)).items() if path.endswith("add")] == [
        "CACHED"
    ] * 3


@pytest.mark.rule(
    "Caching: the run-level override reaches every task and never erases a custom cacheKey"
)
def test_cache_reaches_tasks_that_switched_it_off(execute, compiled, states):
    spec = compiled(nests)
    for component in spec["components"].values():
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    execute(spec, cache=True)
    run = execute(spec, cache=True)

    assert [state for path, state in states(run).items() if path.endswith("add")] == ["CACHED"] * 3
    assert [state for path, state in states(execute(spec)).items() if path.endswith("add")] == [
        "SUCCEEDED"
    ] * 3


@pytest.mark.rule(
    "Caching: the run-level override reaches every task and never erases a custom cacheKey"
)
def test_the_override_keeps_a_custom_key(execute, one, states):
    one["root"]["dag"]["tasks"]["add"]["cachingOptions"] = {
        "enableCache": False,
        "cacheKey": "mine",
    }
    execute(one, {"x": 1}, cache=True)

    assert states(execute(one, {"x": 2}, cache=True)) == {"add": "CACHED"}
    assert states(execute(one, {"x": 3})) == {"add": "SUCCEEDED"}


@pytest.mark.rule("Caching: the key holds input parameter values")
def test_loop_iterations_are_cached_by_their_item(execute, states):
    @dsl.pipeline(name="loops")
    def loops(items: list):
        with dsl.ParallelFor(items) as item:
            read_text(x=item)

    execute(loops, {"items": ["a", "b"]})
    run = execute(loops, {"items": ["c", "b", "a"]})

    assert [states(run)[f"for-loop-1[{i}]/read-text"] for i in range(3)] == [
        "SUCCEEDED",
        "CACHED",
        "CACHED",
    ]


@dsl.component(base_image=IMAGE)
def count(path: str) -> int:
    import os

    with open(os.path.join(os.environ["KFGCP_SUBMIT_DIR"], path)) as file:
        return len(file.readlines())


@dsl.pipeline(name="counts")
def counts(path: str = "table.csv") -> int:
    return count(path=path).output


@pytest.mark.rule(
    "Caching: a file of this machine that a parameter names is read again when it has changed"
)
def test_an_edited_file_is_a_changed_input(execute, home):
    table = home / "table.csv"
    table.write_text("1\n2\n")
    assert execute(counts).outputs == {"Output": 2}
    assert execute(counts).tasks[0].state == "CACHED"

    table.write_text("1\n2\n3\n")
    run = execute(counts)
    assert run.outputs == {"Output": 3}
    assert run.tasks[0].cache.reason == "a parameter has the path of a file, and the file changed"

    table.unlink()
    assert execute(counts).state == "FAILED"


@dsl.component(base_image=IMAGE)
def count_lines(uri: str) -> int:
    from urllib.parse import unquote, urlsplit

    with open(unquote(urlsplit(uri).path)) as file:
        return len(file.readlines())


@pytest.mark.rule(
    "Caching: a file of this machine that a parameter names is read again when it has changed"
)
def test_an_edited_file_is_a_changed_input_also_by_its_uri(execute, home):
    @dsl.pipeline(name="counts-lines")
    def counts_lines(uri: str) -> int:
        return count_lines(uri=uri).output

    table = home / "my table.csv"
    table.write_text("1\n2\n")
    assert execute(counts_lines, {"uri": table.as_uri()}).outputs == {"Output": 2}
    table.write_text("1\n2\n3\n")

    assert execute(counts_lines, {"uri": table.as_uri()}).outputs == {"Output": 3}
