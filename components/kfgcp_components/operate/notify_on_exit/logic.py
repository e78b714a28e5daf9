"""Describe how a run ended."""

from __future__ import annotations

from kfgcp_components.messages import one_line
from kfgcp_components.operate.notify.logic import Message

# The choices of `on`, with the final states that each includes.
CHOICES = {
    "always": None,
    "failure": ("FAILED", "CANCELLED"),
    "success": ("SUCCEEDED",),
}

# Kubeflow Pipelines 2 has another word for the end of a task that succeeded.
_SUCCEEDED = {"COMPLETE": "SUCCEEDED"}


def describe_end(
    pipeline: str, run_id: str, state: str, error: str, *, on: str, run_url: str = ""
) -> Message | None:
    """Return the message about the end of a run, or None when nobody wants to know it.

    Args:
        pipeline: the name of the pipeline.
        run_id: the run.
        state: the final state, as in PipelineTaskFinalStatus.
        error: the message of the error, empty without one.
        on: a key of CHOICES.
        run_url: a page about the run, empty without one.

    Raises:
        ValueError: `on` is not a key of CHOICES.

    Example:
        >>> describe_end("churn", "r1", "FAILED", "no data", on="failure").text
        'churn FAILED: no data (run r1)'
    """
    if on not in CHOICES:
        raise ValueError(f"on must be one of {', '.join(CHOICES)}, not {on!r}")
    final_state = _SUCCEEDED.get(state, state)
    states = CHOICES[on]
    if states is not None and final_state not in states:
        return None
    text = f"{pipeline} {final_state}"
    reason = one_line(error) if error else ""
    if reason:
        text += f": {reason}"
    text += f" (run {run_id})"
    if run_url:
        text += f" {run_url}"
    facts = {"pipeline": pipeline, "run_id": run_id, "state": final_state, "error": reason}
    return Message(text, facts | ({"run_url": run_url} if run_url else {}))
