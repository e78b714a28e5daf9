"""What differs between two pipelines: expected changes are written by hand."""

import copy
import json
import textwrap
from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfgcp.spec import facts
from kfgcp.spec.diff import Change, diff
from kfgcp.spec.digest import digest
from kfgcp.spec.load import from_documents, load

PIPELINES = [
    "chain.py:chain",
    "echo.py",
    "guarded.py",
    "one_fails.py",
    "shapes.py:shapes",
    "two_branches.py",
    "two_scores.py",
    "typed.py",
]
PROPERTY = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def spec(tasks=None, components=None, executors=None, **root):
    """A small PipelineSpec: `load` feeds `train`, and the arguments add or replace fields."""
    tasks = {"load": task("comp-load"), "train": train()} | (tasks or {})
    components = {
        "comp-load": component("exec-load", outputs={"rows": {"parameterType": "NUMBER_INTEGER"}}),
        "comp-train": component(
            "exec-train", inputs={"lr": {"parameterType": "NUMBER_DOUBLE"}, "n": {}}
        ),
    } | (components or {})
    executors = {"exec-load": container("alpine:3"), "exec-train": container("python:3.11")} | (
        executors or {}
    )
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "small"},
        "root": {"dag": {"tasks": tasks}, **root},
        "components": components,
        "deploymentSpec": {"executors": executors},
    }


def task(name, parameters=None, **fields):
    return {"componentRef": {"name": name}, "inputs": {"parameters": parameters or {}}, **fields}


def train(lr=0.1, **fields):
    return task(
        "comp-train",
        {"lr": constant(lr), "n": output("load", "rows")},
        **{"dependentTasks": ["load"], "taskInfo": {"name": "train"}, **fields},
    )


def constant(value):
    return {"runtimeValue": {"constant": value}}


def output(producer, key):
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def component(label, inputs=None, outputs=None):
    return {
        "executorLabel": label,
        "inputDefinitions": {"parameters": inputs or {}},
        "outputDefinitions": {"parameters": outputs or {}},
    }


def container(image, **fields):
    return {"container": {"image": image, "command": ["run"], "args": ["--fast"], **fields}}


def compiled(folder, body, name="pipeline.py"):
    path = folder / name
    path.write_text("from kfp import dsl\n\n" + textwrap.dedent(body))
    return load(str(path)).pipeline_spec


def only_change(before, after):
    (change,) = diff(before, after)
    return change


def summarize(changes):
    return [(change.path, change.what, change.name, change.kind) for change in changes]


@pytest.mark.parametrize(
    ("fields", "word", "name", "before", "after"),
    [
        ({"image": "python:3.12"}, "image", "", "python:3.11", "python:3.12"),
        ({"command": ["go"]}, "command", "", ["run"], ["go"]),
        ({"args": ["--slow"]}, "args", "", ["--fast"], ["--slow"]),
        ({"env": [{"name": "A", "value": "1"}]}, "env", "A", None, "1"),
        (
            {"resources": {"cpuLimit": 2.0, "resourceCpuLimit": "2"}},
            "resource",
            "resourceCpuLimit",
            None,
            "2",
        ),
        (
            {"resources": {"accelerator": {"count": "1", "resourceCount": "1"}}},
            "accelerator",
            "resourceCount",
            None,
            "1",
        ),
        (
            {"lifecycle": {"preCacheCheck": {"command": ["x"]}}},
            "other",
            "lifecycle",
            None,
            {"preCacheCheck": {"command": ["x"]}},
        ),
    ],
)
def test_what_a_container_runs(fields, word, name, before, after):
    other = spec(executors={"exec-train": container("python:3.11") | {}})
    other["deploymentSpec"]["executors"]["exec-train"]["container"].update(fields)
    kind = "added" if before is None else "changed"
    assert only_change(spec(), other) == Change("train", word, kind, before, after, name)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            train(lr=0.2),
            Change("train", "input", "changed", {"constant": 0.1}, {"constant": 0.2}, "lr"),
        ),
        (
            train(retryPolicy={"maxRetryCount": 2.0}),
            Change("train", "retry", "added", None, 2, "maxRetryCount"),
        ),
        (
            train(cachingOptions={"enableCache": True}),
            Change("train", "caching", "added", None, True),
        ),
        (
            train(cachingOptions={"cacheKey": "k"}),
            Change("train", "caching", "added", None, "k", "cacheKey"),
        ),
        (
            train(iteratorPolicy={"parallelismLimit": 3}),
            Change("train", "parallelism", "added", None, 3),
        ),
        (
            train(triggerPolicy={"condition": "a == 1"}),
            Change("train", "condition", "added", None, "a == 1"),
        ),
        (
            train(triggerPolicy={"strategy": "ALL"}),
            Change("train", "trigger", "added", None, "ALL"),
        ),
        (train(dependentTasks=[]), Change("train", "dependency", "removed", "load", None, "load")),
        (train(taskInfo={"name": "Learn"}), Change("train", "name", "added", None, "Learn")),
    ],
)
def test_what_a_dag_says_of_a_task(changed, expected):
    assert only_change(spec(), spec({"train": changed})) == expected


def test_an_input_that_comes_from_elsewhere_tells_its_dependency_too():
    other = train()
    other["inputs"]["parameters"]["n"] = constant(5)
    other["dependentTasks"] = []
    change = only_change(spec(), spec({"train": other}))
    assert change == Change(
        "train", "input", "changed", {"task": "load", "output": "rows"}, {"constant": 5}, "n"
    )


def test_what_a_loop_goes_over():
    def loop(items):
        return spec({"train": train(parameterIterator={"items": items, "itemInput": "lr"})})

    assert only_change(loop({"raw": "[1]"}), loop({"raw": "[1, 2]"})) == Change(
        "train", "iterator", "changed", "[1]", "[1, 2]", "items"
    )
    assert only_change(loop({"raw": "[1]"}), loop({"inputParameter": "n"})).after == {"input": "n"}


def test_the_interface_of_a_component():
    other = spec()
    inputs = other["components"]["comp-train"]["inputDefinitions"]["parameters"]
    inputs["lr"] = {"parameterType": "NUMBER_DOUBLE", "defaultValue": 1.0, "isOptional": True}
    outputs = other["components"]["comp-train"]["outputDefinitions"]
    outputs["artifacts"] = {
        "model": {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}
    }
    assert diff(spec(), other) == (
        Change(
            "train",
            "parameter",
            "changed",
            {"type": "NUMBER_DOUBLE"},
            {"type": "NUMBER_DOUBLE", "default": 1, "optional": True},
            "lr",
        ),
        Change(
            "train", "output", "added", None, {"type": "system.Model", "version": "0.0.1"}, "model"
        ),
    )


def test_the_pipelines_own_parameters_and_outputs_have_no_path():
    outputs = {"dag": {"tasks": spec()["root"]["dag"]["tasks"], "outputs": {"parameters": {}}}}
    outputs["dag"]["outputs"]["parameters"]["Output"] = {
        "valueFromParameter": {"producerSubtask": "load", "outputParameterKey": "rows"}
    }
    inputs = {"inputDefinitions": {"parameters": {"lr": {"parameterType": "NUMBER_DOUBLE"}}}}
    assert diff(spec(), spec(**inputs, **outputs)) == (
        Change("", "parameter", "added", None, {"type": "NUMBER_DOUBLE"}, "lr"),
        Change(
            "", "output", "added", None, {"from": [{"task": "load", "output": "rows"}]}, "Output"
        ),
    )


def test_a_task_that_comes_or_goes_is_one_change():
    extended_spec = spec(
        {"report": task("comp-report")},
        {"comp-report": component("exec-r")},
        {"exec-r": container("r")},
    )
    assert diff(spec(), extended_spec) == (Change("report", "task", "added", None, "report"),)
    assert diff(extended_spec, spec()) == (Change("report", "task", "removed", "report", None),)


def test_names_of_components_and_executors_do_not_count():
    text = (
        json.dumps(spec())
        .replace("comp-train", "comp-train-2")
        .replace("exec-train", "exec-train-7")
    )
    assert digest(json.loads(text)) != digest(spec())
    assert diff(spec(), json.loads(text)) == ()


def test_a_component_that_no_task_uses_counts():
    extended_spec = spec(components={"comp-spare": component("exec-load")})
    assert summarize(diff(spec(), extended_spec)) == [("", "component", "comp-spare", "added")]


def test_a_renamed_task_is_reported_once():
    other = spec()
    tasks = other["root"]["dag"]["tasks"]
    tasks["read"] = tasks.pop("load")
    tasks["train"] = json.loads(json.dumps(tasks["train"]).replace('"load"', '"read"'))
    assert diff(spec(), other) == (Change("read", "task", "changed", "load", "read"),)


def test_of_two_equal_tasks_none_is_reported_as_renamed():
    two_tasks = {"a": task("comp-load"), "b": task("comp-load")}
    other = {"c": task("comp-load"), "d": task("comp-load")}
    assert {change.kind for change in diff(spec(two_tasks), spec(other))} == {"added", "removed"}


def test_a_task_that_moved_into_a_group_is_reported_once():
    flat = spec(
        {"tidy": task("comp-tidy")}, {"comp-tidy": component("exec-t")}, {"exec-t": container("t")}
    )
    grouped = copy.deepcopy(flat)
    inside = {"tidy": grouped["root"]["dag"]["tasks"].pop("tidy")}
    grouped["components"]["comp-condition-1"] = {"dag": {"tasks": inside}}
    grouped["root"]["dag"]["tasks"]["condition-1"] = task(
        "comp-condition-1", triggerPolicy={"condition": "true"}
    )
    assert diff(flat, grouped) == (
        Change("condition-1", "task", "added", None, "condition-1"),
        Change("condition-1/tidy", "task", "changed", "tidy", "condition-1/tidy"),
    )


STEPS = """
@dsl.component
def say(text: str) -> str:
    return text

@dsl.component
def count(text: str) -> int:
    return len(text)

@dsl.pipeline
def steps():
    {}
"""


def test_a_task_between_others_of_its_name_shifts_their_numbers_only(tmp_path):
    before = compiled(
        tmp_path, STEPS.format("a = say(text='a'); count(text=say(text='b').output)"), "a.py"
    )
    after = compiled(
        tmp_path,
        STEPS.format("a = say(text='a'); say(text='new'); count(text=say(text='b').output)"),
        "b.py",
    )
    assert summarize(diff(before, after)) == [
        ("say-2", "task", "", "added"),
        ("say-3", "task", "", "changed"),
    ]


def test_a_group_between_others_shifts_their_numbers_only(tmp_path):
    body = (
        "\n    with dsl.ParallelFor(['b']) as item:\n        say(text=a.output)\n       "
        " say(text=item)"
    )
    first = "a = say(text='a')" + body
    new = "\n    with dsl.ParallelFor(['c']):\n        count(text='x')"
    before = compiled(tmp_path, STEPS.format(first), "a.py")
    after = compiled(tmp_path, STEPS.format("a = say(text='a')" + new + body), "b.py")
    assert summarize(diff(before, after)) == [
        ("for-loop-2", "task", "", "added"),
        ("for-loop-2/count", "task", "", "added"),
        ("for-loop-4", "task", "", "changed"),
    ]


def test_a_changed_function_is_shown_as_lines_of_source(tmp_path):
    before = compiled(tmp_path, STEPS.format("count(text='a')"), "a.py")
    after = compiled(
        tmp_path,
        STEPS.format("count(text='a')").replace("return len(text)", "return len(text) + 1"),
        "b.py",
    )
    (change,) = diff(before, after)
    assert (change.path, change.what, change.kind) == ("count", "code", "changed")
    assert [line for line in change.lines if line[0] in "+-"] == [
        "-    return len(text)",
        "+    return len(text) + 1",
    ]
    assert change.lines[0].startswith("@@ ")
    assert change.to_dict()["diff"] == list(change.lines)


def test_packages_to_install_are_listed_one_by_one(tmp_path):
    before = compiled(tmp_path, STEPS.format("count(text='a')"), "a.py")
    packed = "@dsl.component(packages_to_install=['pandas==2.2.0', 'scipy'])\ndef count"
    after = compiled(
        tmp_path,
        STEPS.format("count(text='a')").replace("@dsl.component\ndef count", packed),
        "b.py",
    )
    assert diff(before, after) == (
        Change("count", "package", "added", None, "pandas==2.2.0", "pandas==2.2.0"),
        Change("count", "package", "added", None, "scipy", "scipy"),
    )


def test_the_sdks_version_and_the_order_of_keys_do_not_count(rich):
    installs = f"kfp=={version('kfp')}"
    text = json.dumps(rich, sort_keys=True)
    assert installs in text
    other = json.loads(text.replace(installs, "kfp==2.99.0"))
    other["sdkVersion"] = "kfp-9"
    assert diff(rich, other) == ()


def test_what_a_platform_says_of_a_task_follows_its_label():
    def platform(label, value):
        return {
            "platforms": {
                "kubernetes": {"deploymentSpec": {"executors": {label: {"nodeSelector": value}}}}
            }
        }

    renamed = json.loads(json.dumps(spec()).replace("exec-train", "exec-9"))
    assert (
        diff(spec(), renamed, platform("exec-train", {"a": "b"}), platform("exec-9", {"a": "b"}))
        == ()
    )
    assert diff(
        spec(), renamed, platform("exec-train", {"a": "b"}), platform("exec-9", {"a": "c"})
    ) == (
        Change("train", "platform", "changed", {"a": "b"}, {"a": "c"}, "kubernetes.nodeSelector"),
    )
    workspace = {"platforms": {"kubernetes": {"pipelineConfig": {"workspace": {"size": "1Gi"}}}}}
    assert summarize(diff(spec(), spec(), None, workspace)) == [
        ("", "platform", "kubernetes.pipelineConfig", "added")
    ]


def test_an_order_that_only_the_version_knows_counts():
    pairs = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]
    before = spec(executors={"exec-train": container("python:3.11", env=pairs)})
    after = spec(executors={"exec-train": container("python:3.11", env=pairs[::-1])})
    assert only_change(before, after) == Change(
        "train", "other", "changed", pairs, pairs[::-1], "env"
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_does_not_differ_from_itself(name):
    pipeline_spec = load(f"tests/pipelines/{name}").pipeline_spec
    assert diff(pipeline_spec, copy.deepcopy(pipeline_spec)) == ()


@pytest.fixture(scope="module")
def specs(rich_documents):
    return [load(f"tests/pipelines/{name}").pipeline_spec for name in PIPELINES] + [
        rich_documents[0]
    ]


def places(value, place=()):
    """Every place in a JSON value, those that hold others too, but for the whole."""
    if place:
        yield place
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*place, key))


def mutated(value, place, mutation):
    """A copy with one place taken out, or given another value, or twice."""
    value = copy.deepcopy(value)
    parent = value
    for step in place[:-1]:
        parent = parent[step]
    last = place[-1]
    if mutation == "remove":
        del parent[last]
    elif mutation == "repeat" and isinstance(parent, list):
        parent.insert(last, copy.deepcopy(parent[last]))
    elif isinstance(parent[last], dict):
        parent[last]["unheard-of"] = {"a": 1}
    elif isinstance(parent[last], list):
        parent[last] = parent[last][::-1]
    else:
        parent[last] = f"{parent[last]}!"
    return value


@settings(PROPERTY, max_examples=200)
@given(data=st.data())
def test_whatever_changes_the_version_is_a_change(specs, data):
    before = specs[data.draw(st.sampled_from(range(len(specs))))]
    place = data.draw(st.sampled_from(sorted(places(before), key=str)))
    after = mutated(before, place, data.draw(st.sampled_from(["remove", "change", "repeat"])))
    assert bool(diff(before, after)) == (digest(before) != digest(after)), place
    assert bool(diff(after, before)) == (digest(before) != digest(after)), place


@settings(PROPERTY, max_examples=40)
@given(data=st.data())
def test_a_change_is_json_and_has_a_word_and_a_side(specs, data):
    one, other = (specs[data.draw(st.sampled_from(range(len(specs))))] for _ in range(2))
    for change in diff(one, other):
        assert json.loads(json.dumps(change.to_dict())) == change.to_dict()
        assert change.what in facts.WORDS
        assert (change.before is None) == (change.kind == "added") or change.kind == "changed"


def test_differences_are_listed_in_one_order(rich):
    other = from_documents(
        [json.loads(json.dumps(rich).replace("python:3.11", "python:3.12"))], "x"
    ).pipeline_spec
    changes = diff(rich, other)
    assert {change.what for change in changes} == {"image"}
    assert [change.path for change in changes] == sorted(
        (c.path for c in changes), key=lambda path: path.split("/")
    )
    assert len(changes) == 7
