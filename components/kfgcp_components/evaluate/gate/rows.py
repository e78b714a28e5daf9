"""Check that a test set has enough rows for a comparison."""

from __future__ import annotations

from typing import Final

import numpy as np

from kfgcp_components.class_scores import ClassPredictions
from kfgcp_components.messages import one_line
from kfgcp_components.scoring import Predictions

# With fewer rows, the resamples are too much alike to say how much a metric varies.
MINIMUM_ROWS: Final = 30
# The same for the rows of one class, where each class is measured on its own rows.
MINIMUM_CLASS_ROWS: Final = 10

_MEASURED_BY_CLASS: Final = ("balanced_accuracy", "precision", "recall", "f1", "roc_auc")


def describe_missing_rows(
    champion: Predictions, challenger: Predictions, metric: str
) -> str | None:
    """Return which rows a comparison lacks, or None if there are enough."""
    row_count = len(challenger.truth)
    if row_count < MINIMUM_ROWS:
        return (
            f"a comparison needs at least {MINIMUM_ROWS} rows, and the test set has {row_count}, so"
            " the models were not compared"
        )
    if not isinstance(challenger, ClassPredictions) or metric not in _MEASURED_BY_CLASS:
        return None
    for code, count in _counts(challenger.truth):
        if count < MINIMUM_CLASS_ROWS:
            name = one_line(challenger.categories[code], 60)
            return (
                f"a comparison by {metric} needs at least {MINIMUM_CLASS_ROWS} rows of each class,"
                f" and the test set has {count} of {name!r}, so the models were not compared"
            )
    if metric != "precision":
        return None
    assert isinstance(champion, ClassPredictions)
    for role, predictions in (("champion", champion), ("challenger", challenger)):
        for code, count in _counts(predictions.predicted):
            # With two classes, only the positive class counts.
            is_measured = predictions.class_count > 2 or code == 1
            if is_measured and count < MINIMUM_CLASS_ROWS:
                name = one_line(predictions.categories[code], 60)
                return (
                    f"a comparison by precision needs at least {MINIMUM_CLASS_ROWS} predictions of"
                    f" each class, and the {role} has {count} of {name!r}, so the models were not"
                    " compared"
                )
    return None


def _counts(codes: np.typing.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return each class that occurs, with its number of rows."""
    values, counts = np.unique(codes, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))
