"""Give a parameter of a pipeline the due time of the schedule that starts the run. Pure.

Vertex AI and Kubeflow Pipelines replace the placeholder for the due time only where it is the
constant value of a task's input. A value in the request of a run stays as it is. So the parameter
is replaced in the tasks of the pipeline.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

from kfgcp.errors import SpecError
from kfgcp.spec.load import Spec
from kfgcp.spec.wire import read_root, read_tasks, replace_param

PLACEHOLDER: Final = "{{$.pipeline_job_schedule_time_utc}}"


def with_schedule_time(spec: Spec, param: str) -> Spec:
    """Return the pipeline in which tasks get the due time instead of a parameter.

    Args:
        spec: the pipeline.
        param: the name of the parameter. The run must still give it a value.

    Raises:
        SpecError: the pipeline does not have the parameter, it is not a text, or a task reads a
            part of it.
    """
    declared = spec.params.get(param)
    if declared is None or declared.type != "STRING":
        problem = "does not have" if declared is None else f"has a {declared.type} instead of"
        raise SpecError(
            f"The pipeline {spec.name} {problem} the text parameter '{param}', which is time_param"
            " of a schedule.",
            hint=f"Declare it in the pipeline: {param}: str",
        )
    changed: dict[str, Any] = copy.deepcopy(dict(spec.pipeline_spec))
    for key, task in read_tasks(read_root(changed)).items():
        try:
            replace_param(task, param, PLACEHOLDER)
        except ValueError:
            raise SpecError(
                f"The task {key} of {spec.name} reads a part of '{param}', which is time_param of a"
                " schedule.",
                hint="Pass the whole parameter to the task, and read the part there.",
            ) from None
    return replace(spec, pipeline_spec=changed)
