"""A model that has been read, and its predictions for tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from kfgcp_components.features import Features, prepare
from kfgcp_components.messages import format_names, one_line
from kfgcp_components.tables import Column, column_kind

Task: TypeAlias = Literal["classification", "regression"]
Label: TypeAlias = bool | int | str


class TableModel(Protocol):
    """Anything that predicts rows of a table."""

    @property
    def task(self) -> Task:
        """The task: classification or regression."""

    @property
    def target(self) -> str:
        """The name of the column that the model predicts."""

    @property
    def classes(self) -> list[Label] | None:
        """The classes in the order of the probabilities. None for a regression."""

    @property
    def columns(self) -> dict[str, str]:
        """For each column that the model reads, its kind: numeric or text."""

    def predict(self, table: pd.DataFrame) -> Column:
        """Return a prediction for each row."""

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return the probability of each class for each row. None for a regression."""


@dataclass(frozen=True)
class Model:
    """A model that predicts rows of a table.

    Attributes:
        task: classification or regression.
        target: the name of the column that it predicts.
        classes: the classes in the order of the probabilities. None for a regression.
        features: the columns that it reads.
        facts: how it was trained.
        libraries: the versions of Python and of the libraries that wrote it.
        fingerprint: the SHA-256 of the fitted pipeline. Equal pipelines have equal fingerprints.
        pipeline: the fitted pipeline of scikit-learn. It takes tables that `prepare` made.
    """

    task: Task
    target: str
    classes: list[Label] | None
    features: Features
    facts: Mapping[str, object]
    libraries: Mapping[str, str]
    fingerprint: str
    pipeline: Pipeline

    @property
    def columns(self) -> dict[str, str]:
        """For each column that the model reads, its kind: numeric or text."""
        kinds = dict.fromkeys(self.features.numeric, "numeric")
        return kinds | dict.fromkeys(self.features.text, "text")

    def predict(self, table: pd.DataFrame) -> Column:
        """Return the predicted class or number of each row, with the index of the table.

        Raises:
            ValueError: the table lacks a column of the model, or a numeric column has no numbers.
        """
        inputs = self._inputs(table)
        if table.empty:
            return pd.Series([], index=table.index, name=self.target, dtype=object)
        return pd.Series(self.pipeline.predict(inputs), index=table.index, name=self.target)

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return the probability of each class for each row. None for a regression.

        Returns:
            A table with the index of the given table and a column for each class.

        Raises:
            ValueError: the table lacks a column of the model, or a numeric column has no numbers.
        """
        if self.classes is None:
            return None
        inputs = self._inputs(table)
        shape = (0, len(self.classes))
        numbers = np.empty(shape) if table.empty else self.pipeline.predict_proba(inputs)
        columns: Any = pd.Index(self.classes, dtype=object)
        return pd.DataFrame(numbers, index=table.index, columns=columns)

    def _inputs(self, table: pd.DataFrame) -> pd.DataFrame:
        names = list(self.columns)
        require_columns(names, table.columns)
        inputs = prepare(table, self.features.numeric, self.features.text)
        for name in self.features.numeric:
            _require_numbers(table[name], inputs[name])
        return inputs[names]


def require_columns(names: Iterable[str], table_names: Collection[str]) -> None:
    """Check that a table has all columns of a model.

    Raises:
        ValueError: a column is missing.
    """
    missing = [name for name in names if name not in table_names]
    if missing:
        raise ValueError(
            f"the table lacks columns that the model was trained with: {format_names(missing)}"
        )


def _require_numbers(column: Column, numbers: Column) -> None:
    """Check that a column with values has a number among them.

    A column of another kind would become a column of missing values without a word.
    """
    if numbers.notna().any() or column.isna().all():
        return
    kind = column_kind(column)
    if kind != "numeric":
        name = one_line(column.name, 60)
        example = one_line(column.dropna().iloc[0], 40)
        raise ValueError(
            f"the model was trained with numbers in the column {name!r}, and the table has {kind}"
            f" there, such as {example!r}; give the table the types of the training set"
        )
