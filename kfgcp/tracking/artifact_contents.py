"""Read curves and confusion matrices from the metadata of artifacts, and texts from their files.

The metadata is that of `system.ClassificationMetrics` and `system.SlicedClassificationMetrics` in
KFP. Local runs and Vertex AI keep it as it was logged. Kubeflow wraps a list into `{"list": …}` and
a mapping into `{"struct": …}`. A list or mapping may also be JSON text, and a number may be text.
Values of any other form are left out, because components write this metadata, and wrong metadata
must not break a page.
"""

from __future__ import annotations

import codecs
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.backends.base import SupportsArtifacts
from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.errors import BackendError, NotFound, Unsupported
from kfgcp.model import Artifact
from kfgcp.services.storage import preview
from kfgcp.services.storage.uris import is_bucket_uri

Point = tuple[float, float, float]
"""x, y and the threshold of a point of a curve."""

_METRICS: Final = ("confidenceMetrics", "confusionMatrix", "evaluationSlices")

MAX_FILES: Final = 1000
"""The largest number of file names in the listing of a folder."""

# A float can hold every integer below this number exactly.
_EXACT_FLOATS: Final = 2**53


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """How often each class was predicted as which class.

    Attributes:
        labels: the names of the classes.
        rows: `rows[i][j]` counts the items of the class `labels[i]` that were predicted as
            `labels[j]`.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """The text of an artifact.

    Attributes:
        content: the text. Of a folder, the names of its files, one in each line.
        truncated: the artifact has more than `content`.
        folder: the artifact is a folder.
        binary: the artifact is not a text, and `content` is empty.
    """

    content: str
    truncated: bool = False
    folder: bool = False
    binary: bool = False


def slices(artifact: Artifact) -> tuple[str, ...]:
    """Return the names of the slices that an artifact has metrics for, () without slices."""
    return tuple(_read_slices(artifact))


def roc(artifact: Artifact, slice: str | None = None) -> tuple[Point, ...]:
    """Return the ROC curve: (false positive rate, true positive rate, threshold) points.

    Both rates ascend. A threshold that was not logged is NaN.

    Args:
        artifact: the artifact with the metrics.
        slice: the slice, for metrics that have slices. None means the first slice.
    """
    return _read_points(artifact, slice, "falsePositiveRate", "recall", rising=True)


def precision_recall(artifact: Artifact, slice: str | None = None) -> tuple[Point, ...]:
    """Return (recall, precision, threshold) points. Recall ascends.

    () when no precision was logged.

    Thresholds and slices are as in `roc`.
    """
    return _read_points(artifact, slice, "recall", "precision", rising=False)


def confusion_matrix(artifact: Artifact, slice: str | None = None) -> ConfusionMatrix | None:
    """Return the confusion matrix, None when there is none or a part of it is missing.

    Slices are as in `roc`.
    """
    matrix = _read_mapping(_read_metrics(artifact, slice).get("confusionMatrix"))
    labels = []
    for spec in _read_list(matrix.get("annotationSpecs")):
        label = _read_mapping(spec).get("displayName")
        if label is None:
            return None
        labels.append(str(label))
    rows = []
    for row in _read_list(matrix.get("rows")):
        numbers = [_read_number(cell) for cell in _read_list(_read_mapping(row).get("row"))]
        finite = [cell for cell in numbers if cell is not None and math.isfinite(cell)]
        if len(numbers) != len(labels) or len(finite) != len(labels):
            return None
        rows.append(tuple(finite))
    if not labels or len(rows) != len(labels):
        return None
    return ConfusionMatrix(tuple(labels), tuple(rows))


def text(
    artifact: Artifact,
    limit: int = 1_000_000,
    *,
    local: bool = True,
    buckets: BucketSettings = DEFAULTS,
    store: SupportsArtifacts | None = None,
) -> Text:
    """Return the file of an artifact as UTF-8 text, or its beginning when the file is long.

    Args:
        artifact: its URI is a path, or begins with `file://`, `gs://`, `s3://` or `minio://`.
        limit: the largest number of bytes to read or request.
        local: whether the file may be on this machine. Pass False for a run of a remote backend:
            whoever starts such a run chooses the URIs of its artifacts, and could make kfgcp show
            any file of this machine.
        buckets: where buckets are: `BucketSettings.of_environment(env)` with the environment of the
            run. By default, the environment variables of the process say where.
        store: reads artifacts that only the backend can reach: `artifact_store` of the run.

    Raises:
        NotFound: there is no file or object at the URI.
        Unsupported: the URI is of another kind, or a path that must not be read.
        MissingExtra: the library for the bucket is not installed.
        ConfigError: the address of the bucket is not known.
        BackendError: the file may not be read, or the bucket cannot be reached.
    """
    uri = artifact.uri
    # One byte more than the limit shows whether the file is longer.
    if store is not None and store.keeps(uri):
        return _decode(store.beginning(uri, limit + 1), limit)
    if is_bucket_uri(uri):
        content = preview.read_beginning(uri, limit + 1, buckets)
        if content is not None:
            return _decode(content, limit)
        return _list_files(preview.list_names(uri, MAX_FILES + 1, buckets), uri)
    if not local:
        raise Unsupported(
            f"{uri} cannot be read.",
            hint="kfgcp can read a file only if this machine can reach its address.",
        )
    return _read_local(_parse_path(uri), uri, limit)


def filled(
    artifact: Artifact,
    limit: int = 10_000_000,
    *,
    local: bool = True,
    buckets: BucketSettings = DEFAULTS,
    store: SupportsArtifacts | None = None,
) -> Artifact:
    """Return the artifact with the curves and matrices from its file added to its metadata.

    Some components write them into the file, as JSON with the keys of the metadata. The artifact is
    returned unchanged when its metadata already has a curve or a matrix, or when its file contains
    something else or more than the limit.

    The arguments and errors are those of `text`.
    """
    if any(name in artifact.metadata for name in _METRICS):
        return artifact
    file = text(artifact, limit, local=local, buckets=buckets, store=store)
    if file.truncated or file.folder:
        return artifact
    content = _read_mapping(file.content)
    metrics = {name: content[name] for name in _METRICS if name in content}
    return replace(artifact, metadata={**artifact.metadata, **metrics})


def _read_points(
    artifact: Artifact, slice: str | None, x_name: str, y_name: str, *, rising: bool
) -> tuple[Point, ...]:
    """Return the points of a curve, without those whose x or y is missing or not finite.

    Args:
        artifact: the artifact with the metrics.
        slice: the slice, None for the first.
        x_name: the field that is x. The points ascend by it.
        y_name: the field that is y.
        rising: whether points with the same x ascend by y. Otherwise they descend.
    """
    points = []
    for item in _read_list(_read_metrics(artifact, slice).get("confidenceMetrics")):
        fields = _read_mapping(item)
        x = _read_number(fields.get(x_name))
        y = _read_number(fields.get(y_name))
        threshold = _read_number(fields.get("confidenceThreshold"))
        if x is None or y is None or not math.isfinite(x) or not math.isfinite(y):
            continue
        points.append((x, y, math.nan if threshold is None else threshold))
    sign = 1 if rising else -1
    return tuple(sorted(points, key=lambda point: (point[0], sign * point[1])))


def _read_metrics(artifact: Artifact, slice: str | None) -> Mapping[str, Any]:
    metrics_by_slice = _read_slices(artifact)
    if not metrics_by_slice and slice is None:
        return artifact.metadata
    if slice is None:
        slice = next(iter(metrics_by_slice))
    return metrics_by_slice.get(slice, {})


def _read_slices(artifact: Artifact) -> dict[str, Mapping[str, Any]]:
    metrics_by_slice = {}
    for item in _read_list(artifact.metadata.get("evaluationSlices")):
        fields = _read_mapping(item)
        if "slice" in fields:
            metrics = _read_mapping(fields.get("sliceClassificationMetrics"))
            metrics_by_slice[str(fields["slice"])] = metrics
    return metrics_by_slice


def _read_mapping(value: object) -> Mapping[str, Any]:
    """Return a value that is a mapping, or an empty mapping in place of any other value."""
    unwrapped = _unwrap(value, "struct")
    return unwrapped if isinstance(unwrapped, Mapping) else {}


def _read_list(value: object) -> list[Any]:
    """Return a value that is a list, or an empty list in place of any other value."""
    unwrapped = _unwrap(value, "list")
    return list(unwrapped) if isinstance(unwrapped, (list, tuple)) else []


def _unwrap(value: object, wrapper: str) -> object:
    """Return a value without the two forms around it: JSON text, and the wrapper of Kubeflow."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and value.keys() == {wrapper}:
        return value[wrapper]
    return value


def _read_number(value: object) -> float | int | None:
    """Return a number, or None for any other value. A whole number becomes an integer."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and abs(number) < _EXACT_FLOATS else number


def _parse_path(uri: str) -> Path:
    """Return the path of an artifact on this machine."""
    if "://" in uri and not file_uris.is_file_uri(uri):
        hint = "kfgcp reads artifacts only at paths and at file://, gs://, s3:// and minio:// URIs."
        raise Unsupported(f"{uri} cannot be read.", hint=hint)
    return Path(file_uris.to_path(uri))


def _read_local(path: Path, uri: str, limit: int) -> Text:
    try:
        if uri and path.is_dir():
            return _list_files(sorted(_walk(path)), uri)
        if not uri:
            raise NotFound(
                "The artifact has no URI, so there is no file to read.",
                hint="See the metadata of the artifact. The values of metrics are in the metadata.",
            )
        if not path.is_file():
            raise NotFound(f"{uri} does not exist.", hint=preview.MISSING_HINT)
        with path.open("rb") as file:
            return _decode(file.read(limit + 1), limit)
    except (OSError, ValueError) as error:
        # A ValueError means that the name contains a zero byte.
        reason = getattr(error, "strerror", None) or error
        raise BackendError(f"{uri} cannot be read: {reason}.") from None


def _walk(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, relative to the folder, in any order.

    Stop after the subfolder with which the number of files exceeds `MAX_FILES`.
    """
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)
        count += len(names)
        if count > MAX_FILES:
            return


def _list_files(names: list[str], uri: str) -> Text:
    """Return the names of files as the text of a folder.

    Raises:
        NotFound: no object in the bucket is below the URI. A bucket has no empty folders.
    """
    if not names and is_bucket_uri(uri):
        raise NotFound(f"{uri} does not exist.", hint=preview.MISSING_HINT)
    return Text("\n".join(names[:MAX_FILES]), truncated=len(names) > MAX_FILES, folder=True)


def _decode(content: bytes, limit: int) -> Text:
    truncated = len(content) > limit
    content = content[:limit]
    if b"\0" in content:
        return Text("", truncated, binary=True)
    # The limit may cut a character of several bytes. With `final=False` the decoder drops it.
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    return Text(decoder.decode(content, final=not truncated), truncated)
