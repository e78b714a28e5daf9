from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn import metrics as score
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from column_models import ColumnClassifier, WithoutProbabilities
from kfgcp_components import evaluate_classifier
from kfgcp_components.evaluate.classifier.logic import evaluate, roc_points
from kfgcp_components.models import Model, read_model, write_model
from kfgcp_components.tables import write_parquet
from kfgcp_components.train.classifier.logic import train


def trained_model(table: pd.DataFrame, folder: Path) -> Model:
    """Train a logistic regression, and return it as a task reads it."""
    trained = train(table, "label")
    write_model(
        trained.pipeline,
        folder,
        task="classification",
        target="label",
        features=trained.features,
        facts=trained.facts,
    )
    return read_model(folder)


def make_test_set(labels: list[Any], positive: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"p0": [1 - p for p in positive], "p1": positive, "label": labels})


SIX_ROWS = make_test_set(["a", "a", "a", "b", "b", "b"], [0.1, 0.2, 0.6, 0.4, 0.8, 0.9])


def test_a_case_computed_by_hand() -> None:
    result = evaluate(ColumnClassifier("a", "b"), SIX_ROWS, "label")
    assert result.metrics == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (2 / 3 + 2 / 3) / 2,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
            "log_loss": -sum(map(math.log, [0.9, 0.8, 0.4, 0.4, 0.8, 0.9])) / 6,
            "roc_auc": 8 / 9,
        }
    )
    assert result.categories == ["a", "b"]
    assert result.confusion == [[2, 1], [1, 2]]
    assert np.array(result.roc) == pytest.approx(
        np.array(
            [
                (0, 0, 1.0),
                (0, 1 / 3, 0.9),
                (0, 2 / 3, 0.8),
                (1 / 3, 2 / 3, 0.6),
                (1 / 3, 1, 0.4),
                (1, 1, 0.1),
            ]
        )
    )
    assert result.notes == []


def test_two_classes_agree_with_scikit_learn_on_real_data(tmp_path: Path) -> None:
    data = load_breast_cancer(as_frame=True)
    names = data.target.map({0: "malignant", 1: "benign"})
    fit, held, fit_names, held_names = train_test_split(
        data.data, names, random_state=7, stratify=names
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit, fit_names)
    predicted, positive = model.predict(held), model.predict_proba(held)[:, 1]

    ours = trained_model(fit.assign(label=fit_names), tmp_path / "model")
    result = evaluate(ours, held.assign(label=held_names), "label")
    is_malignant = held_names == "malignant"
    assert result.metrics == pytest.approx(
        {
            "accuracy": score.accuracy_score(held_names, predicted),
            "balanced_accuracy": score.balanced_accuracy_score(held_names, predicted),
            "precision": score.precision_score(held_names, predicted, pos_label="malignant"),
            "recall": score.recall_score(held_names, predicted, pos_label="malignant"),
            "f1": score.f1_score(held_names, predicted, pos_label="malignant"),
            "log_loss": score.log_loss(is_malignant, positive),
            "roc_auc": score.roc_auc_score(is_malignant, positive),
        },
        abs=1e-9,
    )
    assert result.confusion == score.confusion_matrix(held_names, predicted).tolist()
    fpr, tpr, _ = score.roc_curve(is_malignant, positive)
    assert np.array(result.roc)[:, :2] == pytest.approx(np.column_stack([fpr, tpr]))


def test_three_classes_agree_with_scikit_learn_on_real_data(tmp_path: Path) -> None:
    data = load_iris(as_frame=True)
    fit, held, fit_y, held_y = train_test_split(
        data.data[["sepal width (cm)"]], data.target, random_state=1
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit, fit_y)
    predicted, probabilities = model.predict(held), model.predict_proba(held)

    ours = trained_model(fit.assign(label=fit_y), tmp_path / "model")
    result = evaluate(ours, held.assign(label=held_y), "label")
    assert result.metrics == pytest.approx(
        {
            "accuracy": score.accuracy_score(held_y, predicted),
            "balanced_accuracy": score.balanced_accuracy_score(held_y, predicted),
            "precision": score.precision_score(held_y, predicted, average="macro", zero_division=0),
            "recall": score.recall_score(held_y, predicted, average="macro"),
            "f1": score.f1_score(held_y, predicted, average="macro"),
            "log_loss": score.log_loss(held_y, probabilities),
            "roc_auc": score.roc_auc_score(held_y, probabilities, multi_class="ovr"),
        },
        abs=1e-9,
    )
    assert result.categories == ["0", "1", "2"]
    assert result.confusion == score.confusion_matrix(held_y, predicted).tolist()
    micro = score.roc_auc_score(np.eye(3)[held_y].ravel(), probabilities.ravel())
    fpr, tpr, _ = zip(*result.roc, strict=True)
    assert np.trapezoid(tpr, fpr) == pytest.approx(micro, abs=1e-9)


def test_ten_classes_keep_the_numeric_order_of_their_labels() -> None:
    labels = list(range(1, 11))
    frame = pd.DataFrame(np.eye(10), columns=[f"p{i}" for i in range(10)]).assign(label=labels)
    result = evaluate(ColumnClassifier(*labels), frame, "label")
    assert result.categories == [str(label) for label in labels]
    assert result.confusion == np.eye(10, dtype=int).tolist()
    assert result.metrics["log_loss"] == pytest.approx(0, abs=1e-9)


def test_a_class_missing_from_the_test_set_is_noted_and_what_it_makes_undefined_left_out() -> None:
    result = evaluate(
        ColumnClassifier("a", "b"), make_test_set(["a", "a", "a"], [0.1, 0.2, 0.3]), "label"
    )
    assert result.metrics.keys() == {"accuracy", "balanced_accuracy", "log_loss"}
    assert result.confusion == [[3, 0], [0, 0]]
    assert result.roc == []
    assert "these classes have no rows in the test set: b" in result.notes
    assert "roc_auc is undefined on this test set and left out" in result.notes


def test_precision_without_a_positive_prediction_is_left_out() -> None:
    result = evaluate(ColumnClassifier("a", "b"), make_test_set(["a", "b"], [0.1, 0.2]), "label")
    assert "precision" not in result.metrics
    assert result.metrics["recall"] == 0
    assert "precision is undefined on this test set and left out" in result.notes


def test_one_of_three_classes_missing_averages_roc_auc_over_the_others() -> None:
    frame = pd.DataFrame(
        {
            "p0": [0.7, 0.2, 0.5],
            "p1": [0.2, 0.5, 0.1],
            "p2": [0.1, 0.3, 0.4],
            "label": ["a", "b", "a"],
        }
    )
    result = evaluate(ColumnClassifier("a", "b", "c"), frame, "label")
    assert result.metrics["roc_auc"] == 1.0
    assert result.metrics["accuracy"] == 1.0
    assert result.notes == ["these classes have no rows in the test set: c"]


def test_a_class_the_model_never_saw_counts_as_wrong_and_leaves_log_loss_out() -> None:
    frame = make_test_set(["a", "b", "zebra", "alien"], [0.1, 0.9, 0.8, 0.3])
    result = evaluate(ColumnClassifier("a", "b"), frame, "label")
    assert result.categories == ["a", "b", "alien", "zebra"]
    assert result.confusion == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert result.metrics["accuracy"] == 0.5
    assert result.metrics["precision"] == 0.5
    assert result.metrics["balanced_accuracy"] == 0.5
    assert result.metrics["roc_auc"] == 1.0
    assert "log_loss" not in result.metrics
    assert result.notes[0] == "the model never saw these classes of the test set: alien, zebra"


def test_a_model_without_probabilities_gets_the_other_metrics() -> None:
    result = evaluate(WithoutProbabilities("a", "b"), SIX_ROWS, "label")
    assert result.metrics.keys() == {"accuracy", "balanced_accuracy", "precision", "recall", "f1"}
    assert result.notes == [
        "the model gives no probabilities: no log_loss, no roc_auc, no ROC curve"
    ]


def test_a_long_roc_curve_is_thinned_but_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 20_000)
    positive = np.clip(rng.normal(0.4 + 0.2 * truth, 0.15), 0, 1)
    points = roc_points(truth, np.column_stack([1 - positive, positive]))
    fpr, tpr, thresholds = (list(values) for values in zip(*points, strict=True))
    assert 100 < len(points) <= 200
    assert points[0] == (0.0, 0.0, 1.0)
    assert points[-1][:2] == (1.0, 1.0)
    assert fpr == sorted(fpr)
    assert tpr == sorted(tpr)
    assert thresholds == sorted(thresholds, reverse=True)
    assert np.trapezoid(tpr, fpr) == pytest.approx(score.roc_auc_score(truth, positive), abs=1e-3)


def test_a_test_set_without_a_needed_column_or_target_is_refused(tmp_path: Path) -> None:
    model = trained_model(SIX_ROWS, tmp_path / "model")
    with pytest.raises(ValueError, match="lacks columns that the model was trained with: p1"):
        evaluate(model, SIX_ROWS.drop(columns="p1"), "label")
    with pytest.raises(ValueError, match=r"no target column 'lable' .* Did you mean 'label'\?"):
        evaluate(ColumnClassifier("a", "b"), SIX_ROWS, "lable")
    with pytest.raises(ValueError, match="none of the 6 rows of the test set has a value"):
        evaluate(ColumnClassifier("a", "b"), SIX_ROWS.assign(label=None), "label")


def test_a_model_of_numbers_is_refused() -> None:
    model = ColumnClassifier("a", "b")
    model.classes = None
    with pytest.raises(ValueError, match="predicts numbers, not classes; use evaluate_regressor"):
        evaluate(model, SIX_ROWS, "label")


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c"], [True, False]])
def test_the_component_logs_finite_json_through_kfp_artifacts(
    tmp_path: Path, labels: list[Any]
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=90), "label": labels * (90 // len(labels))})
    write_parquet(frame, tmp_path / "test")
    trained_model(frame, tmp_path / "model")
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    curves = dsl.ClassificationMetrics(name="classification_metrics", uri=str(tmp_path / "curves"))
    evaluate_classifier.python_func(
        classifier=dsl.Model(name="classifier", uri=str(tmp_path / "model")),
        test=dsl.Dataset(name="test", uri=str(tmp_path / "test")),
        target="label",
        metrics=metrics,
        classification_metrics=curves,
    )
    json.dumps([metrics.metadata, curves.metadata], allow_nan=False)
    assert {type(value) for value in metrics.metadata.values()} == {float}
    categories = [
        spec["displayName"] for spec in curves.metadata["confusionMatrix"]["annotationSpecs"]
    ]
    assert categories == sorted(str(label) for label in labels)
    assert sum(sum(row["row"]) for row in curves.metadata["confusionMatrix"]["rows"]) == 90
    assert curves.metadata["confidenceMetrics"][0] == {
        "confidenceThreshold": 1.0,
        "recall": 0.0,
        "falsePositiveRate": 0.0,
    }
