"""What is accepted as a PipelineSpec, and what the errors say."""

import copy

import pytest

from kfgcp.errors import SpecError
from kfgcp.spec.load import from_documents
from kfgcp.spec.validate import validate

OTHERS = (
    None,
    True,
    7,
    -0.5,
    "",
    "text",
    [],
    ["x"],
    {},
    {"x": {"y": 1}},
    {1: 2},
    [[]],
    float("nan"),
)


def smallest():
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "p"},
        "components": {
            "comp-a": {
                "executorLabel": "exec-a",
                "outputDefinitions": {"parameters": {"o": {"parameterType": "STRING"}}},
            }
        },
        "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "i"}}}},
        "root": {
            "inputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}},
            "dag": {
                "tasks": {
                    "a": {"componentRef": {"name": "comp-a"}},
                    "b": {"componentRef": {"name": "comp-a"}},
                }
            },
        },
    }


def put(spec, place, value):
    *parents, last = place.split("/")
    for step in parents:
        spec = spec.setdefault(step, {})
    if value is DROP:
        del spec[last]
    else:
        spec[last] = value


DROP = object()
TASK = "root/dag/tasks/b"


def message(spec):
    with pytest.raises(SpecError) as caught:
        from_documents([spec], "origin")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_smallest_spec_is_valid():
    spec = from_documents([smallest()], "origin")
    assert (spec.name, spec.platform_spec, spec.origin, list(spec.params)) == (
        "p",
        None,
        "origin",
        ["n"],
    )


def test_unknown_fields_are_tolerated_anywhere():
    spec = smallest()
    for place in ("new", f"{TASK}/new", "components/comp-a/new", "deploymentSpec/new"):
        put(spec, place, {"any": ["thing", None]})
    validate(spec)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("root", DROP, "root is missing"),
        ("root/dag", DROP, "root.dag is missing"),
        ("root/dag/tasks", DROP, "root.dag.tasks is missing"),
        ("components", DROP, "components is missing"),
        ("deploymentSpec", DROP, "deploymentSpec is missing"),
        ("pipelineInfo/name", DROP, "pipelineInfo.name is missing"),
        ("pipelineInfo/name", "", "pipelineInfo.name is empty"),
        ("schemaVersion", DROP, "schemaVersion is missing"),
        ("schemaVersion", "3.0.0", "schemaVersion is '3.0.0'; kfgcp reads 2.0.0 and 2.1.0"),
        ("root/dag/tasks", [], "root.dag.tasks must be a mapping, not a list"),
        ("components", None, "components must be a mapping, not null"),
        (f"{TASK}/componentRef", DROP, "root.dag.tasks.b.componentRef is missing"),
        (
            f"{TASK}/componentRef/name",
            "comp-x",
            "root.dag.tasks.b.componentRef.name is 'comp-x', which is not in components",
        ),
        (
            "components/comp-a/executorLabel",
            "exec-b",
            "components.comp-a.executorLabel is 'exec-b', which is not in deploymentSpec.executors",
        ),
        (
            "components/comp-a/executorLabel",
            DROP,
            "components.comp-a has neither a dag nor an executorLabel",
        ),
        ("components/comp-a/dag", {"tasks": {}}, "components.comp-a has both"),
        (f"{TASK}/dependentTasks", ["a", "c"], "root.dag.tasks.b.dependentTasks[1] is 'c'"),
        (
            f"{TASK}/dependentTasks",
            "a",
            "root.dag.tasks.b.dependentTasks must be a list, not text",
        ),
        (
            f"{TASK}/inputs/parameters/x",
            {"taskOutputParameter": {"producerTask": "c", "outputParameterKey": "o"}},
            "root.dag.tasks.b.inputs.parameters.x.taskOutputParameter.producerTask is 'c'",
        ),
        (
            f"{TASK}/inputs/parameters/x",
            {"taskOutputParameter": {"producerTask": "a", "outputParameterKey": "q"}},
            (
                "taskOutputParameter.outputParameterKey is 'q', which is not in the output"
                " parameters of comp-a"
            ),
        ),
        (
            f"{TASK}/inputs/parameters/x",
            {"componentInputParameter": "m"},
            "root.dag.tasks.b.inputs.parameters.x.componentInputParameter is 'm'",
        ),
        (
            f"{TASK}/inputs/parameters/x",
            {},
            "root.dag.tasks.b.inputs.parameters.x needs exactly one of",
        ),
        (
            f"{TASK}/inputs/artifacts/x.y",
            {},
            'root.dag.tasks.b.inputs.artifacts["x.y"] needs exactly one of',
        ),
        (
            f"{TASK}/cachingOptions",
            {"enableCache": "yes"},
            "cachingOptions.enableCache must be true or false, not text",
        ),
        (
            f"{TASK}/retryPolicy",
            {"maxRetryCount": 1.5},
            "retryPolicy.maxRetryCount must be a whole number of 0 or more, not 1.5",
        ),
        (
            f"{TASK}/retryPolicy",
            {"backoffDuration": "5m"},
            "retryPolicy.backoffDuration must be a number of seconds such as '60s', not '5m'",
        ),
        (f"{TASK}/triggerPolicy", {"strategy": "NOW"}, "triggerPolicy.strategy must be one of "),
        (
            "root/dag/outputs/parameters/r",
            {"valueFromParameter": {"producerSubtask": "z", "outputParameterKey": "o"}},
            "root.dag.outputs.parameters.r.valueFromParameter.producerSubtask is 'z'",
        ),
        (
            "root/inputDefinitions/parameters/n/parameterType",
            "INT",
            (
                "root.inputDefinitions.parameters.n.parameterType must be one of STRING,"
                " NUMBER_INTEGER"
            ),
        ),
        (
            "root/inputDefinitions/parameters/n",
            {"type": "INT"},
            "parameters.n.type is a field of KFP 1",
        ),
        (
            "deploymentSpec/executors/exec-a",
            {},
            "deploymentSpec.executors.exec-a needs exactly one of container",
        ),
        (
            "deploymentSpec/executors/exec-a/container/image",
            DROP,
            "executors.exec-a.container.image is missing",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(place, value, expected):
    spec = smallest()
    put(spec, place, value)
    assert expected in message(spec)


def test_a_name_that_is_nearly_right_gets_a_suggestion():
    spec = smallest()
    put(spec, f"{TASK}/componentRef/name", "comp_a")
    with pytest.raises(SpecError) as caught:
        from_documents([spec], "o")
    assert caught.value.hint == "Did you mean 'comp-a'?"


def test_tasks_that_wait_for_each_other_are_named():
    spec = smallest()
    put(spec, f"{TASK}/dependentTasks", ["a"])
    source = {"taskOutputParameter": {"producerTask": "b", "outputParameterKey": "o"}}
    put(spec, "root/dag/tasks/a/inputs/parameters/x", source)
    assert "root.dag.tasks has a cycle, the tasks wait for each other: a -> b -> a" in message(spec)


def test_a_task_that_waits_for_itself_is_named():
    spec = smallest()
    put(spec, f"{TASK}/dependentTasks", ["b"])
    assert "b -> b" in message(spec)


def test_components_that_contain_each_other_are_named():
    spec = smallest()
    for name, other in (("comp-x", "comp-y"), ("comp-y", "comp-x")):
        put(
            spec, f"components/{name}", {"dag": {"tasks": {"t": {"componentRef": {"name": other}}}}}
        )
    assert "the components contain each other: comp-x -> comp-y -> comp-x" in message(spec)


def test_whole_numbers_written_as_floats_are_accepted():
    spec = smallest()
    put(
        spec,
        f"{TASK}/retryPolicy",
        {"maxRetryCount": 2.0, "backoffDuration": "3.5s", "backoffFactor": 2.0},
    )
    put(spec, f"{TASK}/iteratorPolicy", {"parallelismLimit": 3.0})
    validate(spec)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, "platforms is missing"),
        ({"platforms": []}, "platforms must be a mapping, not a list"),
        (
            {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"e": 1}}}}},
            "executors.e must be a mapping, not a number",
        ),
    ],
)
def test_a_wrong_platform_document_is_named_by_its_place(document, place):
    with pytest.raises(SpecError, match=place):
        from_documents([smallest(), document], "o")


def test_a_compiled_pipeline_is_valid(rich_documents):
    spec = from_documents(rich_documents, "rich")
    assert spec.platform_spec == rich_documents[1]
    assert set(spec.params) == {"n", "names", "options", "data"}


def places(value, place=()):
    if place:
        yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*place, index))


def test_every_mutation_of_a_compiled_pipeline_loads_or_is_a_spec_error(rich_documents):
    refused = 0
    for place in list(places(rich_documents)):
        documents = copy.deepcopy(rich_documents)
        parent = documents
        for step in place[:-1]:
            parent = parent[step]
        original = parent[place[-1]]
        for other in OTHERS:
            parent[place[-1]] = other
            refused += _is_refused(documents)
        if isinstance(parent, dict):
            del parent[place[-1]]
            parent["renamed"] = original
            refused += _is_refused(documents)
    assert refused > 1000


def _is_refused(documents):
    try:
        spec = from_documents(documents, "mutated")
    except SpecError:
        return True
    # What loads can be worked with.
    assert spec.version.startswith("sha256:")
    assert spec.params is not None
    assert spec.name
    return False


@pytest.mark.parametrize(
    "key",
    [
        "a/b",
        "/a",
        "b/",
        "../../x",
        "..",
        ".",
        "",
        "a\0b",
        "a\nb",
        "a\x7f",
        "a[0]",
        "a[12]",
        "a[1]b",
        "[0]",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_key_of_a_task_that_would_be_another_path_is_refused(key, nested):
    """Files of a task are kept below its path, and iterations are told apart by `[N]`."""
    spec = smallest()
    dag = {"tasks": {key: {"componentRef": {"name": "comp-a"}}}}
    if nested:
        spec["components"]["comp-inner"] = {"dag": dag}
        spec["root"]["dag"]["tasks"]["a"] = {"componentRef": {"name": "comp-inner"}}
    else:
        spec["root"]["dag"] = dag

    place = "components.comp-inner.dag.tasks" if nested else "root.dag.tasks"
    assert f"{place} has the task {key!r}, whose key " in message(spec)


@pytest.mark.parametrize(
    "key", ["a-2", "a b", "A_1", "ü", ".a", "a.b", "...", "a[x]", "a[]", "%2F", "a\\b"]
)
def test_other_keys_of_tasks_are_accepted(key):
    spec = smallest()
    spec["root"]["dag"]["tasks"] = {key: {"componentRef": {"name": "comp-a"}}}

    validate(spec)
