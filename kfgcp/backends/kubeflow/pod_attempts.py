"""Find the pods of all attempts of a task.

ML Metadata has one execution for all attempts. It names the pod of the last attempt. kfgcp computes
the names of the other pods from the nodes of the workflow, by these rules of Argo
(workflow/controller/operator.go, util.PodName):

- The id of a node and the name of its pod end in the same number.
- A node has the ids of the nodes that follow it (`child_tasks`).
- A node `NAME` with several attempts has the nodes `NAME(0)`, `NAME(1)`, ... as its only children,
  in the order of the attempts.
"""

from __future__ import annotations

from collections.abc import Sequence

from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer, workflow_nodes
from kfgcp.backends.kubeflow.tree import place_tasks


class AttemptPods:
    """Finds the pods of attempts with the nodes of a workflow."""

    def __init__(self, nodes: Sequence[NodeAnswer]) -> None:
        names = {node.get("display_name") for node in nodes}
        # The ids of all attempts of a task, by the number at the end of each of these ids.
        self._ids_by_number: dict[str, list[str]] = {}
        for node in nodes:
            if f"{node.get('display_name')}(0)" not in names:
                continue
            ids = [child.get("pod_name") or "" for child in node.get("child_tasks") or ()]
            for node_id in ids:
                self._ids_by_number[_last_number(node_id)] = ids

    def find(self, last_pod: str) -> list[str]:
        """Return the pods of all attempts of a task, from the first to the last.

        Args:
            last_pod: the name of the pod of the last attempt.
        """
        ids = self._ids_by_number.get(_last_number(last_pod))
        if not ids:
            return [last_pod]
        prefix = last_pod.rpartition("-")[0]
        return [f"{prefix}-{_last_number(node_id)}" for node_id in ids]

    def find_for_execution(self, execution: Execution) -> list[str]:
        """Return the pods of all attempts of a task, from the first to the last.

        Return [""] when no pod is known.
        """
        return list(execution.pods) or self.find(execution.pod)


def read_pods(run: RunAnswer, executions: Sequence[Execution]) -> dict[str, list[str]]:
    """Return the pods of the attempts, from the first to the last, by the paths of the tasks.

    Tasks without a known pod are left out.

    Args:
        run: the answer of the server, with its spec.
        executions: the executions of the run.
    """
    attempts = AttemptPods(workflow_nodes(run))
    pods: dict[str, list[str]] = {}
    for task in place_tasks(run, executions):
        if task.execution is not None and task.execution.pod:
            pods[task.path] = attempts.find_for_execution(task.execution)
        elif task.node is not None and task.node.get("pod_name"):
            pods[task.path] = attempts.find(task.node["pod_name"])
    return pods


def _last_number(name: str) -> str:
    """Return the number at the end of the name of a pod or the id of a node."""
    return name.rpartition("-")[2]
