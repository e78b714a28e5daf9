"""How often a task ran on Kubeflow, by nodes of a workflow written by hand.

Ids and names are as Argo gives them: a node's id ends in the FNV-1a hash of its name, the name of
its pod in the same.
"""

import pytest

from json_types import JsonDict
from kfgcp.backends.kubeflow.pod_attempts import AttemptPods


def node(name: str, *children: str) -> JsonDict:
    return {
        "display_name": name,
        "child_tasks": [{"pod_name": f"train-x7k2p-{pod_suffix}"} for pod_suffix in children],
    }


DETAILS = [
    node("train-x7k2p", "1"),
    node("root", "10", "20"),
    node("good-driver", "11"),
    node("good", "12"),
    node("executor"),
    node("shaky-driver", "21"),
    node("shaky", "22"),
    node("executor", "30", "31", "32"),
    node("executor(0)"),
    node("executor(1)"),
    node("executor(2)", "40"),
]
"""`good` ran once; `shaky` three times, and what comes next is below its last attempt."""


@pytest.mark.parametrize("last", ["30", "32"])
def test_the_attempts_of_a_task_are_the_children_of_the_node_that_repeats(last: str) -> None:
    """While the next attempt starts, ML Metadata still names the pod of an earlier one."""
    pods = AttemptPods(DETAILS).find(f"train-x7k2p-retry-system-container-impl-{last}")

    assert pods == [f"train-x7k2p-retry-system-container-impl-{number}" for number in (30, 31, 32)]


def test_where_pods_are_called_like_their_nodes_so_are_those_of_attempts() -> None:
    """POD_NAMES=v1 of older Argo."""
    assert AttemptPods(DETAILS).find("train-x7k2p-31") == [
        f"train-x7k2p-{number}" for number in (30, 31, 32)
    ]


@pytest.mark.parametrize(
    "pod", ["train-x7k2p-system-container-impl-12", "train-x7k2p-system-container-impl-99", ""]
)
def test_other_pods_are_the_only_attempt_that_is_known(pod: str) -> None:
    assert AttemptPods(DETAILS).find(pod) == [pod]


def test_without_nodes_one_attempt_is_known() -> None:
    assert AttemptPods(()).find("train-x7k2p-retry-system-container-impl-31") == [
        "train-x7k2p-retry-system-container-impl-31"
    ]


def test_iterations_are_not_attempts() -> None:
    """Argo calls those of a loop `NAME(0:0)`."""
    details = [node("iteration-iterations", "50", "51"), node("iteration-iterations(0:0)", "52")]

    assert AttemptPods(details).find("train-x7k2p-impl-50") == ["train-x7k2p-impl-50"]
