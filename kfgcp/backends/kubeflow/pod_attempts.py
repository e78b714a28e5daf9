"""The pods of all attempts of a task.

ML Metadata has one execution for all attempts, which names the pod of the last one. The nodes of
the workflow name the others. The id of a node ends in the same number as the name of its pod, and
a node lists the ids of those that come next (`child_tasks`). A node that repeats, `NAME`, has its
attempts `NAME(0)`, `NAME(1)`, ... as its only children, in their order. These are rules of Argo
(workflow/controller/operator.go, util.PodName); the server passes the nodes on as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer, workflow_nodes
from kfgcp.backends.kubeflow.tree import place_tasks


class AttemptPods:
    """Finds the attempts of tasks among the nodes of a workflow."""

    def __init__(self, nodes: Sequence[NodeAnswer]) -> None:
        names = {node.get("display_name") for node in nodes}
        # By the number of each attempt: the ids of all attempts of the same task.
        self._attempts: dict[str, list[str]] = {}
        for node in nodes:
            if f"{node.get('display_name')}(0)" not in names:
                continue
            ids = [child.get("pod_name") or "" for child in node.get("child_tasks") or ()]
            for node_id in ids:
                self._attempts[_number(node_id)] = ids

    def find(self, last_pod: str) -> list[str]:
        """Return the pods of the attempts of a task, first to last.

        Args:
            last_pod: the name of the last one. It is the only one of a task that did not repeat.
        """
        ids = self._attempts.get(_number(last_pod))
        if not ids:
            return [last_pod]
        prefix = last_pod.rpartition("-")[0]
        return [f"{prefix}-{_number(node_id)}" for node_id in ids]

    def of_execution(self, execution: Execution) -> list[str]:
        """Return the pods of the attempts of a task, first to last; [""] when none is known."""
        return list(execution.pods) or self.find(execution.pod)


def read_pods(run: RunAnswer, executions: Sequence[Execution]) -> dict[str, list[str]]:
    """Return the pods of the attempts of tasks, first to last, by the paths of the tasks.

    Tasks without a known pod are left out.

    Args:
        run: the answer of the server, with its spec.
        executions: of the run.
    """
    attempts = AttemptPods(workflow_nodes(run))
    pods: dict[str, list[str]] = {}
    for task in place_tasks(run, executions):
        if task.execution is not None and task.execution.pod:
            pods[task.path] = attempts.of_execution(task.execution)
        elif task.node is not None and task.node.get("pod_name"):
            pods[task.path] = attempts.find(task.node["pod_name"])
    return pods


def _number(name: str) -> str:
    return name.rpartition("-")[2]
