"""Convert the outputs of a task to their stored form, and check that their files still exist."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kfgcp import file_uris
from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.services.storage import objects
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.services.storage.uris import is_bucket_uri


@dataclass(frozen=True, slots=True)
class Unusable:
    """The reason why outputs cannot be used.

    Attributes:
        reason: one line for the user.
        is_unreachable: whether the object store with the files does not answer. The files may
            still exist.
    """

    reason: str
    is_unreachable: bool = False


def format_outputs(outputs: Values) -> dict[str, Any]:
    """Return outputs in their stored form, as JSON values. `parse_outputs` does the reverse."""
    artifacts: dict[str, list[dict[str, Any]]] = {}
    for name, items in outputs.artifacts.items():
        artifacts[name] = [_format_artifact(item) for item in items]
    return {"params": dict(outputs.params), "artifacts": artifacts}


def parse_outputs(outputs: Mapping[str, Any]) -> Values:
    """Return the outputs for their stored form."""
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, items in outputs["artifacts"].items():
        artifacts[name] = tuple(ArtifactValue(**item) for item in items)
    return Values(outputs["params"], artifacts)


def has_files(outputs: Mapping[str, Any]) -> bool:
    """Return whether a file was written for any output. The outputs are in their stored form."""
    return any(item["stored"] for item in _artifacts(outputs))


def why_unusable(
    outputs: Mapping[str, Any], run_id: str, buckets: BucketSettings = DEFAULTS
) -> Unusable | None:
    """Return why outputs cannot be used.

    Args:
        outputs: the outputs in their stored form.
        run_id: the run that made the outputs, for the message.
        buckets: the addresses of object stores, and their time limits.

    Returns:
        None when the files of all artifacts still exist. An artifact for which nothing was written
        does not count.
    """
    for item in _artifacts(outputs):
        if not item["stored"]:
            continue
        try:
            exists = _exists(item["uri"], buckets)
        except StorageProblem as problem:
            reason = f"kfgcp cannot reach the files of run {run_id}: {problem}"
            return Unusable(reason, is_unreachable=True)
        if not exists:
            return Unusable(f"the files of run {run_id} were deleted")
    return None


def deleted_files(outputs: Mapping[str, Any]) -> list[str]:
    """Return the paths on this machine where an artifact was written and is now deleted.

    Args:
        outputs: the outputs in their stored form.
    """
    paths: list[str] = []
    for item in _artifacts(outputs):
        path = _local_path(item["uri"])
        if item["stored"] and path is not None and not os.path.exists(path):
            paths.append(path)
    return paths


def _artifacts(outputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for items in outputs["artifacts"].values():
        yield from items


def _format_artifact(item: ArtifactValue) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(item, name) for name in ArtifactValue.__slots__}
    fields["metadata"] = dict(item.metadata)
    path = _local_path(item.uri)
    # A component may report an output that it did not write. Such an output never counts as
    # deleted later.
    fields["stored"] = item.stored or (path is not None and os.path.exists(path))
    return fields


def _exists(uri: str, buckets: BucketSettings) -> bool:
    if is_bucket_uri(uri):
        return objects.exists(uri, buckets)
    return os.path.exists(file_uris.to_path(uri))


def _local_path(uri: str) -> str | None:
    """Return the path of a URI on this machine, None for any other URI."""
    path = file_uris.to_path(uri)
    return path if path.startswith("/") else None
