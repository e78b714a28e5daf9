"""Convert a RunFilter to clauses for the filter of `pipelineJobs.list`.

The names of the fields come from the REST reference of `projects.locations.pipelineJobs.list`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from kfgcp.backends.vertex.read_run import DEFAULT_EXPERIMENT, RUN_STATES
from kfgcp.labels import label_value
from kfgcp.query import PREFIX_LABELS, RunFilter

# Label names that a filter can contain. Other characters would be operators of the filter syntax.
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")


def clauses(run_filter: RunFilter) -> list[str] | None:
    """Return a RunFilter as clauses. A job matches when it matches every clause.

    Returns:
        [] when every job matches. None when Vertex AI cannot filter in this way, so that the caller
        must filter the jobs itself.
    """
    # Jobs of the default experiment have no experiment label. No filter finds a missing label.
    if run_filter.experiment == DEFAULT_EXPERIMENT:
        return None
    for name in run_filter.labels:
        # No filter compares only the beginning of a label's value.
        if name in PREFIX_LABELS or not _LABEL_NAME.fullmatch(name):
            return None
    filter_clauses = []
    if run_filter.pipeline is not None:
        filter_clauses.append(f"pipeline_name={json.dumps(run_filter.pipeline)}")
    if run_filter.since is not None:
        filter_clauses.append(f'create_time>="{run_filter.since}"')
    labels = dict(run_filter.labels)
    if run_filter.experiment is not None:
        labels["experiment"] = label_value(run_filter.experiment)
    for name, value in labels.items():
        filter_clauses.append(f"labels.{name}={json.dumps(value)}")
    if run_filter.states:
        state_clauses = []
        for service_state, state in RUN_STATES.items():
            if state in run_filter.states:
                state_clauses.append(f'state="{service_state}"')
        alternatives = " OR ".join(state_clauses)
        filter_clauses.append(f"({alternatives})" if len(state_clauses) > 1 else alternatives)
    return filter_clauses
