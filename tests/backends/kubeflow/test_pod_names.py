"""The names of pods, against Argo's own record of real runs (tests/recorded/cluster-2.17.0)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.kubeflow.pod_names import WorkflowPods, node_hash
from kfgcp.spec.graph import Component, Graph, build

RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"
RUNS = sorted(folder.name for folder in RECORDED.iterdir())
MOST_ITERATIONS = 10
"""More than any loop of the recordings has."""


def recorded(name: str, file: str) -> Any:
    return json.loads((RECORDED / name / file).read_text())


def details_and_graph(name: str) -> tuple[list[JsonDict], Graph]:
    run = recorded(name, "run.json")
    document = run["pipeline_spec"]
    return run["run_details"]["task_details"], build(document.get("pipeline_spec") or document)


def paths_below(component: Component, prefix: str, graph: Graph) -> Iterator[str]:
    """All paths that a run could have, with more iterations than there are."""
    assert component.dag is not None
    for key, task in component.dag.tasks.items():
        inner = graph.component(task)
        yield f"{prefix}{key}"
        around = [f"{prefix}{key}"]
        if task.iterator is not None:
            around = [f"{prefix}{key}[{number}]" for number in range(MOST_ITERATIONS)]
            yield from around
        if inner.dag is not None:
            for path in around:
                yield from paths_below(inner, f"{path}/", graph)


@pytest.mark.parametrize(
    ("node", "number"),
    [  # from the ids in workflow.json and pod-logs/index.json
        ("param-none-4zr6j.root.say-driver", 2245913054),
        ("param-none-4zr6j.root-driver", 70643365),
        ("loop-empty-6rl6l(0).root(0).total-driver(0)", 2638106318),
        ("exit-bad-pb6sq(0).root(0).exit-handler-1.onExit(0).ending(0).executor(0)", 1623622969),
    ],
)
def test_the_hash_is_that_of_argo(node: str, number: int) -> None:
    assert node_hash(node) == number


@pytest.mark.parametrize("name", RUNS)
def test_all_pods_of_a_run_are_found_by_the_paths_of_its_tasks(name: str) -> None:
    details, graph = details_and_graph(name)
    pods = WorkflowPods(details, graph)

    computed_names = {pods.driver("")}
    for path in paths_below(graph.root, "", graph):
        computed_names.update([pods.driver(path), *pods.executors(path)])

    numbers = {pod.rpartition("-")[2] for pod in computed_names if pod}
    nodes = recorded(name, "workflow.json")["nodes"].values()
    there = {node["id"].rpartition("-")[2] for node in nodes if node["type"] == "Pod"}
    skipped = {
        node["id"].rpartition("-")[2] for node in nodes if node["phase"] in ("Skipped", "Omitted")
    }
    assert there <= numbers
    assert numbers - there <= skipped, "a cached executor looks like one that ran"


@pytest.mark.parametrize(
    ("name", "task", "attempts"),
    [
        ("retry-good", "flaky", ["798296647", "328670410", "731480361"]),
        ("retry-bad", "fail", ["2784682676", "2180541297"]),
    ],
)
def test_attempts_are_listed_first_to_last(name: str, task: str, attempts: list[str]) -> None:
    workflow = recorded(name, "workflow.json")["name"]

    pods = WorkflowPods(*details_and_graph(name)).executors(task)

    assert pods == [f"{workflow}-retry-system-container-impl-{number}" for number in attempts]


@pytest.mark.recorded("Kubeflow: names of pods without ML Metadata", "cluster-2.17.0")
@pytest.mark.parametrize("name", RUNS)
def test_the_whole_name_is_that_of_the_pod(name: str) -> None:
    """As ML Metadata has it of the last attempts, and the UI server of all pods where their logs
    were recorded."""
    details, graph = details_and_graph(name)
    pods = WorkflowPods(details, graph)
    computed_names = {pods.driver("")}
    for path in paths_below(graph.root, "", graph):
        computed_names.update([pods.driver(path), *pods.executors(path)])

    properties = [
        execution["custom_properties"] for execution in recorded(name, "mlmd.json")["executions"]
    ]
    named = {
        custom_properties["pod_name"]["string_value"]
        for custom_properties in properties
        if "pod_name" in custom_properties
    } - {""}
    if (RECORDED / name / "pod-logs").exists():
        named |= {entry["pod"] for entry in recorded(name, "pod-logs/index.json")}
    assert named <= computed_names


# path -> what follows the workflow's name; by hand from the nodes of workflow.json
FAILED_DRIVERS = {
    "param-none": {"say": "system-container-driver-2245913054"},
    "param-none-with-default-configmap": {"say": "system-container-driver-3083210276"},
    "exit-driver": {"exit-handler-1": "system-dag-driver-2685854796"},
    "loop-empty": {"total": "system-container-driver-2638106318"},
    "collected-skipped": {"show": "system-container-driver-4123715148"},
}


@pytest.mark.parametrize("name", RUNS)
def test_only_failed_drivers_are_returned(name: str) -> None:
    details, graph = details_and_graph(name)
    nodes = recorded(name, "workflow.json")["nodes"].values()
    failed = {
        node["id"].rpartition("-")[2]
        for node in nodes
        if node["type"] == "Pod" and node["phase"] == "Failed" and "driver" in node["displayName"]
    }

    driver_pods = {
        path: WorkflowPods(details, graph).failed_driver(path)
        for path in ["", *paths_below(graph.root, "", graph)]
    }

    driver_pods = {path: pod for path, pod in driver_pods.items() if pod}
    assert {pod.rpartition("-")[2] for pod in driver_pods.values()} == failed
    workflow = recorded(name, "workflow.json")["name"]
    for path, pod in FAILED_DRIVERS.get(name, {}).items():
        assert driver_pods[path] == f"{workflow}-{pod}"


def test_the_iterations_whose_driver_failed_are_distinguished() -> None:
    details, graph = details_and_graph("loop-nested")

    failed = {
        path
        for path in paths_below(graph.root, "", graph)
        if WorkflowPods(details, graph).failed_driver(path)
    }

    assert failed == {  # the pods that failed in workflow.json
        "for-loop-2[0]/for-loop-5[0]/add",
        "for-loop-2[1]/for-loop-5[0]/add",
        "for-loop-2[1]/for-loop-5[1]/add",
    }


@pytest.mark.parametrize(
    "details",
    [
        [],
        [{}],
        [{"child_tasks": None}],
        [{"child_tasks": [{}]}],
        [{"child_tasks": [{"pod_name": None}]}],
        [{"child_tasks": [{"pod_name": "no-number"}]}],
        [{"display_name": "say-driver", "state": "FAILED"}],
    ],
)
def test_a_run_that_tells_nothing_has_no_pods(details: list[JsonDict]) -> None:
    graph = details_and_graph("param-none")[1]
    pods = WorkflowPods(details, graph)

    assert [pods.driver("say"), pods.failed_driver("say"), pods.executors("say")] == ["", "", []]


@pytest.mark.parametrize("path", ["nobody", "say/inside", "say[0]", "", "/", "a//b", "[0]"])
def test_a_path_that_the_pipeline_lacks_has_no_pods(path: str) -> None:
    pods = WorkflowPods(*details_and_graph("param-none"))

    assert pods.failed_driver(path) == ""
    assert pods.executors(path) == []
