"""Write log lines as JSON, so that Cloud Logging reads their severity without a client.

Cloud Logging collects the standard output of containers on Vertex AI and GKE. It takes a line that
is a JSON object apart: `severity` and `message` get their own fields.
"""

from __future__ import annotations

import json
import math
from typing import Final

SEVERITIES: Final = ("DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")


def log(message: str, severity: str = "INFO", **fields: object) -> None:
    """Print one line of JSON with a severity and a message.

    Args:
        message: what happened. Line breaks are kept, because JSON escapes them.
        severity: one of SEVERITIES.
        fields: more values by name. A value that JSON does not have becomes a text.

    Raises:
        ValueError: the severity is unknown.

    Example:
        >>> log("2 rows have no target", severity="WARNING", rows=2)
        {"severity": "WARNING", "message": "2 rows have no target", "rows": 2}
    """
    if severity not in SEVERITIES:
        raise ValueError(f"no severity {severity!r}; there are: {', '.join(SEVERITIES)}")
    line: dict[str, object] = {"severity": severity, "message": message}
    for name, value in fields.items():
        # JSON has neither NaN nor infinity.
        is_finite = not isinstance(value, float) or math.isfinite(value)
        line[name] = value if is_finite else str(value)
    # A task can end by a signal, so no line may wait in a buffer.
    print(json.dumps(line, ensure_ascii=False, default=str), flush=True)
