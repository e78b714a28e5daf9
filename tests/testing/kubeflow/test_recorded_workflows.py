"""The nodes of workflows, compared with the nodes that Argo made of the same pipelines.

Argo's nodes are in tests/recorded/cluster-2.17.0. Each node must have the name, the state and the
children of Argo's node. The stand-in invents the run: it fails, skips and caches the tasks that
failed, were skipped or were cached in the recording. Some recordings are left out because the
stand-in cannot repeat them: loops over outputs of tasks, and tasks that end differently in
different places of a pipeline.
"""

import json
from pathlib import Path

import pytest
import requests
import yaml

from json_types import JsonDict
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp.testing.kubeflow_server.nodes import pod_name
from kfgcp.testing.kubeflow_server.workflows import build_nodes
from patience import REQUEST, WaitFor

RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"
NAMES = (
    "artifacts",
    "caching",
    "collected-nested",
    "conditions",
    "containers",
    "defaults",
    "digits",
    "exit-bad",
    "exit-good",
    "exit-loop",
    "exit-pipeline",
    "fail-dep",
    "fail-ignore",
    "fail-only",
    "fail-sub",
    "hello",
    "importing",
    "list-arguments",
    "loop-artifacts",
    "loop-constants",
    "nan-metrics",
    "not-taken",
    "odd-metrics",
    "oneof-artifacts",
    "param-none",
    "retry-bad",
    "sub-artifact",
    "sub-optional",
    "values",
)
STATES = {
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Skipped": "SKIPPED",
    "Omitted": "",
    "Error": "FAILED",
}


@pytest.mark.recorded("Stand-in: the nodes of workflows in task details", "cluster-2.17.0")
@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_those_that_argo_made(name: str) -> None:
    workflow = json.loads((RECORDED / name / "workflow.json").read_text())
    recorded = list(workflow["nodes"].values())
    names = {node["id"]: node["name"] for node in recorded}
    with kubeflow(mode="instant") as env:
        env.runs.workflow_defaults = f"{workflow['name']}(0)" in names.values()
        repeat(env.instant, recorded)
        record = env.runs.find(submit(env, name))
        assert record is not None
        record.workflow = workflow["name"]
        nodes = build_nodes(record)

    assert {node.name: described(node) for node in nodes} == {
        node["name"]: (
            STATES[node["phase"]],
            sorted(names[child] for child in node.get("children", ())),
        )
        for node in recorded
    }


@pytest.mark.recorded(
    "Stand-in: the names of pods",
    "cluster-2.17.0/importing",
    "cluster-2.17.0/param-none",
    "cluster-2.17.0/retry-bad",
)
@pytest.mark.parametrize("name", ["importing", "param-none", "retry-bad"])
def test_pods_have_the_names_that_argo_gave_them(name: str) -> None:
    index = json.loads((RECORDED / name / "pod-logs" / "index.json").read_text())
    workflow = json.loads((RECORDED / name / "workflow.json").read_text())
    recorded = list(workflow["nodes"].values())
    with kubeflow(mode="instant") as env:
        env.runs.workflow_defaults = any(
            node["name"] == f"{workflow['name']}(0)" for node in recorded
        )
        repeat(env.instant, recorded)
        record = env.runs.find(submit(env, name))
        assert record is not None
        record.workflow = workflow["name"]
        pod_names = {node.name: pod_name(record.workflow, node) for node in build_nodes(record)}

    assert {pod["node"]: pod["pod"] for pod in index} == {
        pod["node"]: pod_names[pod["node"]] for pod in index
    }


@pytest.mark.recorded(
    "Stand-in: retries of programs", "cluster-2.17.0/retry-good-with-default-configmap"
)
@pytest.mark.parametrize(("version", "attempts"), [("2.17.0", 1), ("2.14.3", 4)])
def test_a_program_that_fails_is_tried_again_where_the_server_does_it(
    eventually: WaitFor, version: str, attempts: int
) -> None:
    """The task has three retries. 2.14.3 has no workflow defaults, as the server of
    cluster-2.17.0/retry-good.

    The program counts its attempts by a variable of that server, so here it fails each time.
    """
    with kubeflow(version=version) as env:
        record = env.runs.find(submit(env, "retry-good"))
        assert record is not None
        run = eventually(lambda: (ended_run := record.current_run()).state.final and ended_run)
        display_names = [node.name.rpartition(".")[2] for node in build_nodes(record)]

    assert run.state.value == "FAILED"
    assert len([name for name in display_names if name.startswith("executor(")]) == attempts


def described(node: JsonObject) -> tuple[str, list[str]]:
    """Return the state of a node, and the names of its children."""
    return node.state, sorted(child.name for child in node.children)


def repeat(instant: KubeflowStandIn, recorded: list[JsonDict]) -> None:
    """Let invented runs fail, skip and cache the same tasks as a recorded workflow."""
    instant.cached, instant.skipped = set(), set()
    for node in recorded:
        display, phase = node["displayName"].partition("(")[0], node["phase"]
        above = node["name"].rpartition(".")[0].rpartition(".")[2].partition("(")[0]
        if display == "executor" and phase == "Skipped":
            instant.cached.add(above)
        elif display == "executor" and phase == "Failed":
            instant.failing[above] = "on purpose"
        elif display.endswith("-driver") and phase == "Failed":
            instant.failing_drivers[display.removesuffix("-driver")] = "on purpose"
        elif phase == "Skipped" and display != "iteration-iterations":
            instant.skipped.add(display)


def submit(env: KubeflowStandIn, name: str) -> str:
    """Submit a recorded pipeline with its parameters, and return the id of the run."""
    spec, *platform = yaml.safe_load_all((RECORDED / name / "pipeline.yaml").read_text())
    if platform:
        spec = {"pipeline_spec": spec, "platform_spec": platform[0]}
    runtime = json.loads((RECORDED / name / "run.json").read_text()).get("runtime_config", {})
    config = {"parameters": runtime.get("parameters", {})}
    body = {"display_name": name, "pipeline_spec": spec, "runtime_config": config}
    answer = requests.post(f"{env.host}/apis/v2beta1/runs", json=body, timeout=REQUEST)
    assert answer.status_code == 200, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id
