"""What artifacts hold, as plain values: curves and confusion matrices in their metadata, texts in
their files.

Metadata are those of KFP's `system.ClassificationMetrics` and `system.SlicedClassificationMetrics`.
Local runs and Vertex AI keep them as they were logged; Kubeflow puts a list into `{"list": …}` and
a mapping into `{"struct": …}`. JSON text is read too, and numbers as text. What is not of that form
is left out: nothing here fails because of it.
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

_METRICS: Final = {"confidenceMetrics", "confusionMatrix", "evaluationSlices"}
MOST_FILES: Final = 1000
"""Names of files that are listed of a folder."""


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """How often each class was taken for which: `rows[i][j]` counts `labels[i]` that were taken for
    `labels[j]`."""

    labels: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """The text of an artifact, or of a folder the names of its files, one a line.

    truncated: there is more. folder: it is one. binary: it is no text, and content is empty.
    """

    content: str
    truncated: bool = False
    folder: bool = False
    binary: bool = False


def slices(artifact: Artifact) -> tuple[str, ...]:
    """The names of the slices that an artifact has metrics of; () when they are not sliced."""
    return tuple(_of_slices(artifact))


def roc(artifact: Artifact, slice: str | None = None) -> tuple[Point, ...]:
    """The ROC curve: (false positive rate, true positive rate, threshold) points, both rates
    ascending.

    A threshold that was not logged is NaN. Of sliced metrics: those of the slice, the first one
    when none is named.
    """
    return _points(artifact, slice, "falsePositiveRate", "recall", rising=True)


def precision_recall(artifact: Artifact, slice: str | None = None) -> tuple[Point, ...]:
    """(recall, precision, threshold) points, recall ascending; () when no precision was logged.
    Otherwise as `roc`."""
    return _points(artifact, slice, "recall", "precision", rising=False)


def confusion_matrix(artifact: Artifact, slice: str | None = None) -> ConfusionMatrix | None:
    """The confusion matrix, None when there is none that is whole. Slices as of `roc`."""
    matrix = _mapping(_metrics(artifact, slice).get("confusionMatrix"))
    labels = [_mapping(spec).get("displayName") for spec in _list(matrix.get("annotationSpecs"))]
    rows = [
        [_number(cell) for cell in _list(_mapping(row).get("row"))]
        for row in _list(matrix.get("rows"))
    ]
    size = len(labels)
    if not size or len(rows) != size or any(len(row) != size for row in rows) or None in labels:
        return None
    whole = tuple(
        tuple(cell for cell in row if cell is not None and math.isfinite(cell)) for row in rows
    )
    return (
        ConfusionMatrix(tuple(map(str, labels)), whole)
        if all(len(row) == size for row in whole)
        else None
    )


def text(
    artifact: Artifact,
    limit: int = 1_000_000,
    *,
    local: bool = True,
    buckets: BucketSettings = DEFAULTS,
    store: SupportsArtifacts | None = None,
) -> Text:
    """What an artifact's file holds, as text in UTF-8; of its HTML or Markdown, or the beginning of
    any other.

    Args:
        artifact: its URI is a path or `file://`, `gs://`, `s3://`, or `minio://`.
        limit: bytes to read; no more are, nor are they asked for.
        local: whether it may lie on this machine. For a run of a remote backend say False: there,
            whoever starts a run chooses the URIs of its artifacts, and could have any file of this
            machine shown.
        buckets: where buckets are: `BucketSettings.of_environment(env)` with the environment of the
            run. By default, as the environment variables say.
        store: what reads the artifacts that only the backend reaches: `artifact_store` of the run.

    Raises:
        NotFound: there is nothing at its URI.
        Unsupported: its URI is of another kind, or a path that must not be read.
        MissingExtra: the library for its bucket is not installed.
        ConfigError: the address of its bucket is not known.
        BackendError: it may not be read, or its bucket cannot be reached.
    """
    uri = artifact.uri
    if store is not None and store.keeps(uri):
        return _decoded(store.beginning(uri, limit + 1), limit)
    if is_bucket_uri(uri):
        content = preview.read_beginning(uri, limit + 1, buckets)
        if content is not None:
            return _decoded(content, limit)
        return _listed(preview.list_names(uri, MOST_FILES + 1, buckets), uri)
    if not local:
        raise Unsupported(
            f"{uri} cannot be read.", hint="It is no place that its backend and this machine share."
        )
    return _local(_path(uri), uri, limit)


def filled(
    artifact: Artifact,
    limit: int = 10_000_000,
    *,
    local: bool = True,
    buckets: BucketSettings = DEFAULTS,
    store: SupportsArtifacts | None = None,
) -> Artifact:
    """The artifact with the curves and matrices of its file when its metadata has none: some
    components write them, as the JSON that metadata would be. As it is when its file holds
    something else, or more than the limit.

    Arguments and errors as of `text`.
    """
    if any(name in artifact.metadata for name in _METRICS):
        return artifact
    found = text(artifact, limit, local=local, buckets=buckets, store=store)
    metrics = {} if found.truncated or found.folder else _mapping(found.content)
    return replace(
        artifact,
        metadata={**artifact.metadata, **{name: metrics[name] for name in _METRICS & set(metrics)}},
    )


def _points(
    artifact: Artifact, slice: str | None, x: str, y: str, *, rising: bool
) -> tuple[Point, ...]:
    """Points whose x and y are known, by x; those of one x by y, rising or falling."""
    found = []
    for each in map(_mapping, _list(_metrics(artifact, slice).get("confidenceMetrics"))):
        across, up, threshold = (_number(each.get(name)) for name in (x, y, "confidenceThreshold"))
        if across is not None and up is not None and math.isfinite(across) and math.isfinite(up):
            found.append((across, up, math.nan if threshold is None else threshold))
    return tuple(sorted(found, key=lambda point: (point[0], point[1] if rising else -point[1])))


def _metrics(artifact: Artifact, slice: str | None) -> Mapping[str, Any]:
    by_slice = _of_slices(artifact)
    if not by_slice and slice is None:
        return artifact.metadata
    return by_slice.get(next(iter(by_slice)) if slice is None else slice, {})


def _of_slices(artifact: Artifact) -> dict[str, Mapping[str, Any]]:
    found = map(_mapping, _list(artifact.metadata.get("evaluationSlices")))
    return {
        str(each["slice"]): _mapping(each.get("sliceClassificationMetrics"))
        for each in found
        if "slice" in each
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    value = _plain(value, "struct")
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    value = _plain(value, "list")
    return list(value) if isinstance(value, (list, tuple)) else []


def _plain(value: Any, wrapped: str) -> Any:
    """A value that was JSON text or wrapped."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and value.keys() == {wrapped}:
        return value[wrapped]
    return value


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _path(uri: str) -> Path:
    """Where an artifact lies on this machine."""
    if "://" in uri and not file_uris.is_file_uri(uri):
        hint = "Its text can be read from paths and file://, gs://, s3:// and minio:// URIs."
        raise Unsupported(f"{uri} cannot be read.", hint=hint)
    return Path(file_uris.to_path(uri))


def _local(path: Path, uri: str, limit: int) -> Text:
    try:
        if uri and path.is_dir():
            return _listed(sorted(_files(path)), uri)
        if not (uri and path.is_file()):
            raise NotFound(
                f"{uri or 'An artifact without a URI'} does not exist.", hint=preview.MISSING_HINT
            )
        with path.open("rb") as file:
            return _decoded(file.read(limit + 1), limit)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise BackendError(
            f"{uri} cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from None


def _files(folder: Path) -> Iterator[str]:
    """Paths of files below a folder, from it; in no order, and not many more than are shown."""
    found = 0
    for around, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(around, name), folder) for name in names)
        found += len(names)
        if found > MOST_FILES:
            return


def _listed(names: list[str], uri: str) -> Text:
    """A folder; there are none without objects in a bucket."""
    if not names and is_bucket_uri(uri):
        raise NotFound(f"{uri} does not exist.", hint=preview.MISSING_HINT)
    return Text("\n".join(names[:MOST_FILES]), truncated=len(names) > MOST_FILES, folder=True)


def _decoded(content: bytes, limit: int) -> Text:
    """Bytes as text; a letter that the end cuts apart is left out."""
    truncated = len(content) > limit
    content = content[:limit]
    if b"\0" in content:
        return Text("", truncated, binary=True)
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    return Text(decoder.decode(content, final=not truncated), truncated)
