"""The pods of all attempts of a task. ML Metadata has one execution for them, which names the pod
of the last one.

Nodes of a workflow have ids that end in the number their pods' names end in, and tell the ids of
those that come next (`child_tasks`). A node that repeats, `NAME`, has its attempts, `NAME(0)`,
`NAME(1)`, ... and nothing else below it, in their order: Argo's rules
(workflow/controller/operator.go, util.PodName), which the service hands on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class AttemptPods:
    """Finds attempts in the `task_details` of a run."""

    def __init__(self, details: Sequence[Mapping[str, Any]]) -> None:
        names = {str(detail.get("display_name")) for detail in details}
        self._attempts: dict[str, list[str]] = {}
        for detail in details:
            if f"{detail.get('display_name')}(0)" in names:
                ids = [
                    str(child.get("pod_name") or "") for child in detail.get("child_tasks") or ()
                ]
                self._attempts.update(dict.fromkeys(map(_number, ids), ids))

    def of(self, pod: str) -> list[str]:
        """Those of a task, first to last, by the last one's name; that one alone when it was not
        repeated."""
        prefix = pod.rpartition("-")[0]
        ids = self._attempts.get(_number(pod), ())
        return [f"{prefix}-{_number(each)}" for each in ids] or [pod]


def _number(name: str) -> str:
    return name.rpartition("-")[2]
