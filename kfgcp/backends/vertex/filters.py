"""Write a RunFilter as clauses of the list filter of `pipelineJobs`.

The fields are those of the REST reference of `projects.locations.pipelineJobs.list`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from kfgcp.backends.vertex.read_run import DEFAULT_EXPERIMENT, RUN_STATES
from kfgcp.labels import label_value
from kfgcp.query import PREFIX_LABELS, RunFilter

# The names of labels that can be part of a filter. The filter syntax reads other characters as
# operators.
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")


def clauses(run_filter: RunFilter) -> list[str] | None:
    """Return the clauses that a job must all match, [] when every job matches.

    None when the service cannot choose the jobs. It has no filter for the beginning of a label, for
    jobs without a label (the default experiment has none), or for labels with other names.
    """
    if run_filter.experiment == DEFAULT_EXPERIMENT:
        return None
    if not set(run_filter.labels).isdisjoint(PREFIX_LABELS):
        return None
    if not all(_LABEL_NAME.fullmatch(name) for name in run_filter.labels):
        return None
    conditions = []
    if run_filter.pipeline is not None:
        conditions.append(f"pipeline_name={json.dumps(run_filter.pipeline)}")
    if run_filter.since is not None:
        conditions.append(f'create_time>="{run_filter.since}"')
    labels = dict(run_filter.labels)
    if run_filter.experiment is not None:
        labels["experiment"] = label_value(run_filter.experiment)
    for name, value in labels.items():
        conditions.append(f"labels.{name}={json.dumps(value)}")
    if run_filter.states:
        states = [name for name, state in RUN_STATES.items() if state in run_filter.states]
        alternatives = " OR ".join(f'state="{name}"' for name in states)
        conditions.append(f"({alternatives})" if len(states) > 1 else alternatives)
    return conditions
