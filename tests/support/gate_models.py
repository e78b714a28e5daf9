"""Models and test sets for the tests of the gate. Models of `q` are better than those of `p`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from column_models import ColumnClassifier, ColumnRegressor

ROWS = 300


def make_classes(class_count: int, decimals: int = 9) -> pd.DataFrame:
    """Return probabilities of two models: those in q0, q1, … are better than those in p0, p1, …."""
    rng = np.random.default_rng(class_count)
    truth = rng.integers(0, class_count, ROWS)
    columns: dict[str, Any] = {"label": [f"class {code}" for code in truth]}
    for prefix, strength in (("p", 0.6), ("q", 1.5)):
        logits = rng.normal(size=(ROWS, class_count)) + strength * np.eye(class_count)[truth]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for code in range(class_count - 1):
            columns[f"{prefix}{code}"] = probabilities[:, code].round(decimals)
        others = sum(columns[f"{prefix}{code}"] for code in range(class_count - 1))
        columns[f"{prefix}{class_count - 1}"] = 1 - others
    return pd.DataFrame(columns)


def classifier(class_count: int, prefix: str = "p") -> Any:
    """Return a model with a fingerprint, as the gate takes it."""
    model: Any = ColumnClassifier(*[f"class {i}" for i in range(class_count)], prefix=prefix)
    model.fingerprint = prefix
    return model


def regressor(column: str) -> Any:
    model: Any = ColumnRegressor(column=column)
    model.fingerprint = column
    return model


TWO = make_classes(2)
NUMBERS = pd.DataFrame({"y": np.random.default_rng(1).normal(50, 10, ROWS)})
NUMBERS["p"] = NUMBERS["y"] + np.random.default_rng(2).normal(1, 5, ROWS)
NUMBERS["q"] = NUMBERS["y"] + np.random.default_rng(3).normal(0, 3, ROWS)
