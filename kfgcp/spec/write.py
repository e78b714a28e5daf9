"""Write a compiled pipeline to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfgcp.atomic import write_file
from kfgcp.errors import StateError, UsageError

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


def _format(spec: Spec, file: Path) -> str:
    documents: list[dict[str, Any]] = [spec.pipeline_spec]
    if spec.platform_spec:
        documents.append(spec.platform_spec)
    if file.suffix == ".json":
        if len(documents) > 1:
            raise UsageError(
                f"{spec.origin} has a platform document, and a JSON file holds one document only.",
                hint=f"Write YAML: -o {file.with_suffix('.yaml')}",
            )
        return json.dumps(documents[0], indent=2, ensure_ascii=False) + "\n"
    if file.suffix in (".yaml", ".yml"):
        # yaml is slow to import, and only this branch needs it.
        import yaml

        text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=110)
        return text
    raise UsageError(f"{file} must end in .yaml or .json.")
