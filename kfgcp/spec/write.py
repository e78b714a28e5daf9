"""A compiled pipeline as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.atomic import write_file
from kfgcp.errors import StateError, UsageError

if TYPE_CHECKING:
    from kfgcp.spec.load import Spec


def write(spec: Spec, file: Path) -> None:
    """Writes the spec, and its platform document when it has one, as YAML or JSON by the file's
    ending.

    Raises:
        UsageError: the ending is another one, or it is `.json` and there are two documents.
        StateError: the file cannot be written.
    """
    documents = [spec.pipeline_spec, *([spec.platform_spec] if spec.platform_spec else [])]
    if file.suffix == ".json":
        if len(documents) > 1:
            raise UsageError(
                f"{spec.origin} has a platform document, and a JSON file holds one document only.",
                hint=f"Write YAML: -o {file.with_suffix('.yaml')}",
            )
        text = json.dumps(documents[0], indent=2, ensure_ascii=False) + "\n"
    elif file.suffix in (".yaml", ".yml"):
        import yaml

        text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=110)
    else:
        raise UsageError(f"{file} must end in .yaml or .json.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, text.encode())
    except OSError as error:
        raise StateError(
            f"{file} cannot be written: {error.strerror or error}.", hint="Choose another with -o."
        ) from error
