"""Models whose predictions are columns of the table, for tests that compute metrics by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kfgcp_components.models.model import Label, Task
from kfgcp_components.tables import Column


class ColumnClassifier:
    """A classifier whose probabilities are columns of the table, one per class."""

    task: Task = "classification"
    target = "label"

    def __init__(self, *classes: Label, prefix: str = "p") -> None:
        """Take the classes, and the beginning of the names of the columns: p0, p1, …."""
        self.classes: list[Label] | None = list(classes)
        self.labels = np.array(classes)
        self.columns = dict.fromkeys([f"{prefix}{i}" for i in range(len(classes))], "numeric")

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return the columns."""
        return self.probabilities(table)

    def predict(self, table: pd.DataFrame) -> Column:
        """Return the class with the largest probability."""
        codes = self.probabilities(table).to_numpy().argmax(axis=1)
        return pd.Series(self.labels[codes], index=table.index)

    def probabilities(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the columns."""
        return table[list(self.columns)]


class WithoutProbabilities(ColumnClassifier):
    """A classifier without probabilities."""

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return None."""
        return None


class ColumnRegressor:
    """A regressor whose prediction is a column of the table."""

    task: Task = "regression"
    target = "y"

    def __init__(self, classes: list[Label] | None = None, column: str = "p") -> None:
        """Take the name of the column, and classes for tests of a wrong task."""
        self.classes = classes
        self.column = column
        self.columns = {column: "numeric"}

    def predict(self, table: pd.DataFrame) -> Column:
        """Return the column."""
        return table[self.column]

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return None."""
        return None
