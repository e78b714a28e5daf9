"""A RunFilter as clauses of the list filter of `pipelineJobs`, whose fields are those of its REST
reference."""

from __future__ import annotations

import json
import re
from typing import Final

from kfgcp.backends.vertex.read_run import RUN_STATES
from kfgcp.labels import label_value
from kfgcp.query import PREFIX_LABELS, RunFilter

DEFAULT_EXPERIMENT: Final = "default"
_LABEL: Final = re.compile(r"[a-z][a-z0-9_-]*")
"""A name that stands in a filter as it is; another one would be read as something else."""


def clauses(wanted: RunFilter) -> list[str] | None:
    """What must all be true of a job, none for every job; None when the service cannot be asked so:
    it knows no beginnings of labels, does not find what lacks a label, and has no label of such a
    name."""
    if wanted.experiment == DEFAULT_EXPERIMENT or set(wanted.labels) & set(PREFIX_LABELS):
        return None
    if not all(_LABEL.fullmatch(name) for name in wanted.labels):
        return None
    found = []
    if wanted.pipeline is not None:
        found.append(f"pipeline_name={json.dumps(wanted.pipeline)}")
    if wanted.since is not None:
        found.append(f'create_time>="{wanted.since}"')
    labels = dict(wanted.labels)
    if wanted.experiment is not None:
        labels["experiment"] = label_value(wanted.experiment)
    found += [f"labels.{name}={json.dumps(value)}" for name, value in labels.items()]
    if wanted.states:
        states = [name for name, state in RUN_STATES.items() if state in wanted.states]
        either = " OR ".join(f'state="{name}"' for name in states)
        found.append(f"({either})" if len(states) > 1 else either)
    return found
