"""The numbers that a comparison resamples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

# One number for each row, shape (rows,).
RowValues: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RowGroup:
    """Rows that are resampled together, so that their number does not vary.

    The improvement minus the minimum effect is the sum of the mean effects of all groups.

    Attributes:
        effects: how much each row counts for the challenger.
        worst_effect: the effect of the worst row that can come.
    """

    effects: RowValues
    worst_effect: float
