"""Write a compiled pipeline to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.atomic import write_file
from kfgcp.errors import StateError, UsageError
from kfgcp.spec.json_values import JsonObject

if TYPE_CHECKING:
    from kfgcp.spec.load import Spec


def write(spec: Spec, file: Path) -> None:
    """Write a spec, and its platform document when it has one, as YAML or JSON.

    Args:
        spec: the pipeline.
        file: its ending decides about the format: `.yaml`, `.yml` or `.json`. Missing folders are
            created.

    Raises:
        UsageError: the ending is another one, or it is `.json` and there are two documents.
        StateError: the file cannot be written.
    """
    text = _format(spec, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, text.encode())
    except OSError as error:
        raise StateError(
            f"{file} cannot be written: {error.strerror or error}.",
            hint="Choose another file with -o.",
        ) from error


def to_yaml(spec: Spec) -> str:
    """Return a spec, and its platform document when it has one, as YAML."""
    # yaml is slow to import, and JSON does not need it.
    import yaml

    documents = _documents(spec)
    text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=110)
    return text


def _documents(spec: Spec) -> list[JsonObject]:
    documents: list[JsonObject] = [spec.pipeline_spec]
    if spec.platform_spec:
        documents.append(spec.platform_spec)
    return documents


def _format(spec: Spec, file: Path) -> str:
    documents = _documents(spec)
    if file.suffix == ".json":
        if len(documents) > 1:
            raise UsageError(
                f"{spec.origin} has a platform document, and a JSON file holds one document only.",
                hint=f"Write YAML: -o {file.with_suffix('.yaml')}",
            )
        return json.dumps(documents[0], indent=2, ensure_ascii=False) + "\n"
    if file.suffix in (".yaml", ".yml"):
        return to_yaml(spec)
    raise UsageError(f"{file} must end in .yaml or .json.")
