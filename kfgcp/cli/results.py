"""The results of a run, as `run`, `rerun`, `retry` and `show` print them."""

from __future__ import annotations

from typing import Final

from kfgcp.cli import output
from kfgcp.model import Run

# The most characters of an output. A long output, such as a report, would push the other outputs
# off the screen. `kfgcp show --json` prints whole outputs.
_MAX_OUTPUT_LENGTH: Final = 200


def print_results(run: Run) -> None:
    """Print the metrics and the outputs of a run on stdout, each only if the run has some."""
    metrics = [(metric.key, output.number(metric.value)) for metric in run.metrics]
    output.print_section(("METRIC", "VALUE"), metrics, right=(1,))
    outputs = [
        (name, output.value_text(value, _MAX_OUTPUT_LENGTH)) for name, value in run.outputs.items()
    ]
    output.print_section(("OUTPUT", "VALUE"), outputs)
