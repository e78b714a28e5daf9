"""Parse conditions on metrics such as "roc_auc >= 0.8", and check them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kfgcp_components.evaluate.gate.numbers import exact, next_to

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Threshold:
    """A condition on a metric.

    Attributes:
        metric: the name of the metric.
        symbol: one of >=, <=, > and <.
        limit: the number to compare with.
    """

    metric: str
    symbol: str
    limit: float

    def failure(self, metrics: Mapping[str, float]) -> str | None:
        """Return why the metrics do not meet the condition, or None if they do.

        A metric that is missing, infinite or not a number never meets a condition.
        """
        value = metrics.get(self.metric, math.nan)
        if not math.isfinite(value):
            return f"{self.metric} is undefined on the test set, so {self} cannot hold"
        if _OPERATORS[self.symbol](value, self.limit):
            return None
        shown = next_to(value, self.limit)
        return f"{self.metric} is {shown}, and must be {self.symbol} {exact(self.limit)}"

    def __str__(self) -> str:
        return f"{self.metric} {self.symbol} {exact(self.limit)}"


def parse_threshold(text: object) -> Threshold:
    """Return the condition in a text.

    Raises:
        ValueError: the text is not a metric, a comparison and a finite number.

    Example:
        >>> parse_threshold("roc_auc >= 0.8")
        Threshold(metric='roc_auc', symbol='>=', limit=0.8)
    """
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    limit = math.nan
    if match:
        try:
            limit = float(match[3])
        except ValueError:
            match = None
    if not match or not math.isfinite(limit):
        raise ValueError(
            f"the threshold {text!r} is not a condition; write one such as 'roc_auc >= 0.8' or"
            " 'log_loss < 0.4'"
        )
    return Threshold(match[1], match[2], limit)
