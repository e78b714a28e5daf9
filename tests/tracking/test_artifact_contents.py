"""What artifacts hold, whichever backend kept it."""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from json_types import JsonDict
from kfgcp.errors import BackendError, NotFound, Unsupported
from kfgcp.model import Artifact
from kfgcp.tracking.artifact_contents import (
    ConfusionMatrix,
    Text,
    confusion_matrix,
    filled,
    precision_recall,
    roc,
    slices,
    text,
)

KINDS = "system.ClassificationMetrics"


def artifact(metadata: Any = None, uri: str = "", kind: str = KINDS) -> Artifact:
    return Artifact("evaluate", "curves", kind, uri, metadata or {})


def logged() -> JsonDict:
    """Metadata as KFP's own class logs them, the curve not in its order."""
    kfp_metrics = dsl.ClassificationMetrics()
    kfp_metrics.log_confusion_matrix(["cat", "dog"], [[8, 2], [1, 9]])
    kfp_metrics.log_roc_curve(
        [1.0, 0.0, 0.25, 0.25], [1.0, 0.0, 0.75, 0.5], [0.1, math.inf, 0.4, 0.6]
    )
    return dict(kfp_metrics.metadata)


def kubeflow(metadata: JsonDict) -> JsonDict:
    """As ML Metadata of Kubeflow keeps them: its values are scalars or structs."""
    return {
        key: {"list": value}
        if isinstance(value, list)
        else {"struct": value}
        if isinstance(value, dict)
        else value
        for key, value in metadata.items()
    }


def as_text(metadata: JsonDict) -> JsonDict:
    return {key: json.dumps(value) for key, value in metadata.items()}


def numbers_as_text(metadata: Any) -> Any:
    if isinstance(metadata, dict):
        return {key: numbers_as_text(value) for key, value in metadata.items()}
    if isinstance(metadata, list):
        return [numbers_as_text(value) for value in metadata]
    return "Infinity" if metadata == math.inf else str(metadata)


KEPT = pytest.mark.parametrize(
    "stored_as",
    [dict, kubeflow, as_text, numbers_as_text],
    ids=lambda stored_as: stored_as.__name__,
)


@KEPT
def test_a_roc_curve_rises(stored_as: Callable[[Any], Any]) -> None:
    assert roc(artifact(stored_as(logged()))) == (
        (0, 0, math.inf),
        (0.25, 0.5, 0.6),
        (0.25, 0.75, 0.4),
        (1, 1, 0.1),
    )


@KEPT
def test_a_confusion_matrix_has_labels_and_rows(stored_as: Callable[[Any], Any]) -> None:
    assert confusion_matrix(artifact(stored_as(logged()))) == ConfusionMatrix(
        ("cat", "dog"), ((8, 2), (1, 9))
    )


@KEPT
def test_precision_is_there_when_it_was_logged(stored_as: Callable[[Any], Any]) -> None:
    points = [
        {"confidenceThreshold": 0.2, "recall": 1.0, "precision": 0.5},
        {"confidenceThreshold": 0.8, "recall": 0.5, "precision": 0.75},
        {"confidenceThreshold": 0.9, "recall": 0.5, "precision": 1.0},
    ]
    expected = ((0.5, 1, 0.9), (0.5, 0.75, 0.8), (1, 0.5, 0.2))

    assert precision_recall(artifact(stored_as({"confidenceMetrics": points}))) == expected
    assert precision_recall(artifact(stored_as(logged()))) == ()
    assert roc(artifact(stored_as({"confidenceMetrics": points}))) == ()


@KEPT
def test_sliced_metrics_are_read_by_slice(stored_as: Callable[[Any], Any]) -> None:
    other = dsl.ClassificationMetrics()
    other.log_roc_data_point(fpr=0.5, tpr=0.5, threshold=0.5)
    sliced = artifact(
        stored_as(
            {
                "evaluationSlices": [
                    {"slice": "old", "sliceClassificationMetrics": logged()},
                    {"slice": "new", "sliceClassificationMetrics": other.metadata},
                ]
            }
        ),
        kind="system.SlicedClassificationMetrics",
    )

    assert slices(sliced) == ("old", "new")
    assert roc(sliced) == roc(sliced, "old") == roc(artifact(logged()))
    assert roc(sliced, "new") == ((0.5, 0.5, 0.5),)
    assert confusion_matrix(sliced, "old") == confusion_matrix(artifact(logged()))
    assert confusion_matrix(sliced, "new") is None
    assert roc(sliced, "none such") == ()


def test_points_without_a_rate_are_left_out_and_thresholds_may_be_missing() -> None:
    points: list[Any] = [
        {"falsePositiveRate": 0.5, "recall": 0.5},
        {"falsePositiveRate": math.nan, "recall": 0.5, "confidenceThreshold": 0.5},
        {"falsePositiveRate": 0.5, "confidenceThreshold": 0.5},
        "no point",
        None,
    ]
    ((across, up, threshold),) = roc(artifact({"confidenceMetrics": points}))

    assert (across, up) == (0.5, 0.5)
    assert math.isnan(threshold)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"row": [1, 2]}],
        [{"row": [1]}, {"row": [1, 2]}],
        [{"row": [1, "x"]}, {"row": [1, 2]}],
        [1, 2],
        "rows",
        None,
    ],
)
def test_a_matrix_that_is_not_whole_is_none(rows: object) -> None:
    specs = [{"displayName": "a"}, {"displayName": "b"}]
    assert (
        confusion_matrix(artifact({"confusionMatrix": {"annotationSpecs": specs, "rows": rows}}))
        is None
    )


FIELDS = st.sampled_from(
    [
        *(
            "list",
            "struct",
            "row",
            "rows",
            "annotationSpecs",
            "displayName",
            "slice",
            "sliceClassificationMetrics",
        ),
        *("recall", "precision", "falsePositiveRate", "confidenceThreshold"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["confidenceMetrics", "confusionMatrix", "evaluationSlices"]), JSON
    )
)
def test_nothing_that_was_kept_makes_it_fail(metadata: JsonDict) -> None:
    damaged = artifact(metadata)

    for across, up, _ in (*roc(damaged), *precision_recall(damaged)):
        assert math.isfinite(across)
        assert math.isfinite(up)
    matrix = confusion_matrix(damaged)
    assert matrix is None or {len(row) for row in matrix.rows} == {len(matrix.labels)}
    assert all(isinstance(name, str) for name in slices(damaged))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "a page.html"
    file.write_text("<p>ä</p>", encoding="utf-8")
    return file


def test_a_file_is_read_by_path_and_by_uri(page: Path) -> None:
    for uri in (str(page), page.as_uri()):
        assert text(artifact(uri=uri, kind="system.HTML")) == Text("<p>ä</p>")


def test_only_the_beginning_of_a_long_file_is_read(page: Path) -> None:
    assert text(artifact(uri=str(page)), limit=9) == Text("<p>ä</p>")  # ä has two bytes
    assert text(artifact(uri=str(page)), limit=8) == Text("<p>ä</p", truncated=True)
    assert text(artifact(uri=str(page)), limit=4) == Text("<p>", truncated=True)  # not half an ä


def test_a_file_that_is_not_text_is_reported_as_binary(page: Path) -> None:
    page.write_bytes(b"PAR1\x00\x01")
    assert text(artifact(uri=str(page))) == Text("", binary=True)
    page.write_bytes(b"caf\xe9")
    assert text(artifact(uri=str(page))) == Text("caf\N{REPLACEMENT CHARACTER}")


def test_a_folder_lists_its_files(page: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part-0.csv").touch()
    assert text(artifact(uri=tmp_path.as_uri())) == Text(
        "a page.html\ndata/part-0.csv", folder=True
    )


def test_of_a_folder_with_many_files_a_thousand_are_listed(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).touch()
    artifact_text = text(artifact(uri=str(tmp_path)))
    assert artifact_text.truncated
    assert len(artifact_text.content.splitlines()) == 1000


@pytest.mark.parametrize(
    ("uri", "kind", "message"),
    [
        ("/no/such/file", NotFound, "/no/such/file does not exist."),
        ("", NotFound, "The artifact has no URI, so there is no file to read."),
        ("https://example.com/a", Unsupported, "https://example.com/a cannot be read."),
        ("oci://registry/model", Unsupported, "oci://registry/model cannot be read."),
        ("/dev/null", NotFound, "/dev/null does not exist."),
    ],
)
def test_what_cannot_be_read_is_one_of_our_errors(
    uri: str, kind: type[BackendError], message: str
) -> None:
    with pytest.raises(kind) as raised:
        text(artifact(uri=uri))
    assert raised.value.message == message
    assert raised.value.hint


def test_paths_of_this_machine_are_not_read_for_runs_elsewhere(page: Path) -> None:
    for uri in (str(page), page.as_uri(), str(page.parent), ""):
        with pytest.raises(Unsupported, match=re.escape(f"{uri} cannot be read.")):
            text(artifact(uri=uri), local=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_reported(page: Path) -> None:
    page.chmod(0)
    with pytest.raises(BackendError, match="cannot be read: Permission denied"):
        text(artifact(uri=str(page)))


def test_curves_and_matrices_of_a_file_are_read_when_metadata_has_none(tmp_path: Path) -> None:
    matrix = {
        "annotationSpecs": [{"displayName": "cat"}, {"displayName": "dog"}],
        "rows": [{"row": [3, 1]}, {"row": [0, 4]}],
    }
    points = [{"confidenceThreshold": 0.5, "falsePositiveRate": 0.1, "recall": 0.9}]
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps({"confusionMatrix": matrix, "confidenceMetrics": points, "else": 1}))

    filled_artifact = filled(artifact({"display": "evaluation"}, str(file)))

    assert confusion_matrix(filled_artifact) == ConfusionMatrix(("cat", "dog"), ((3, 1), (0, 4)))
    assert roc(filled_artifact) == ((0.1, 0.9, 0.5),)
    assert filled_artifact.metadata.keys() == {"display", "confusionMatrix", "confidenceMetrics"}
    logged_already = artifact({"confidenceMetrics": []}, "no/such/file")
    assert filled(logged_already) is logged_already
    file.write_text("no JSON")
    assert filled(artifact({}, str(file))) == artifact({}, str(file))
    with pytest.raises(NotFound):
        filled(artifact({}, str(tmp_path / "none")))


def test_a_bucket_is_read_like_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage import Client

    from kfgcp.testing.storage import Storage

    storage = Storage(123)
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        storage.make_bucket("made")
        bucket = Client.create_anonymous_client().bucket("made")
        bucket.blob("run/report.md").upload_from_string("# Report")

        assert text(artifact(uri="gs://made/run/report.md")) == Text("# Report")
        assert text(artifact(uri="gs://made/run/report.md"), limit=3) == Text("# R", truncated=True)
        assert text(artifact(uri="gs://made/run")) == Text("report.md", folder=True)
        with pytest.raises(NotFound, match="gs://made/none does not exist"):
            text(artifact(uri="gs://made/none"))
    finally:
        storage.close()
