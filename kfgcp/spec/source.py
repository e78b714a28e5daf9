"""Where a pipeline comes from: the name that the user gave, and the files it was compiled from.

The record of a run has this source, so that a rerun can say which of the files have changed since.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kfgcp.config_pipelines import is_pipeline_name
from kfgcp.model import JsonValue


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pipeline of a run comes from.

    Attributes:
        pipeline: the pipeline as the user named it: `pipelines/train.py:train`, or `churn` for
            [pipeline.churn] of kfgcp.toml.
        folder: the folder that a relative path in `pipeline` starts from.
        files: absolute path of each file that it was compiled from -> digest of the content.
    """

    pipeline: str
    folder: str
    files: Mapping[str, str]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        return {"pipeline": self.pipeline, "folder": self.folder, "files": dict(self.files)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON that `to_dict` returned."""
        return cls(data["pipeline"], data["folder"], data["files"])

    def changed_files(self) -> list[Path]:
        """Return the files whose content has changed, without those that no longer exist."""
        changed = []
        for file, old_digest in self.files.items():
            try:
                digest = digest_content(Path(file).read_bytes())
            except OSError:
                continue
            if digest != old_digest:
                changed.append(Path(file))
        return changed

    def run_command(self) -> str:
        """Return the command that runs the current pipeline from the current folder."""
        if is_pipeline_name(self.pipeline):
            return f"kfgcp run {self.pipeline}"
        file = self.pipeline
        function = ""
        # A file name may contain a colon. So if a file has the whole text as its name, there is no
        # function in the text.
        if not Path(self.folder, file).is_file():
            file, separator, name = self.pipeline.rpartition(":")
            function = f"{separator}{name}"
        path = display_path(Path(self.folder, file))
        return f"kfgcp run {shlex.quote(f'{path}{function}')}"


def digest_content(content: bytes) -> str:
    """Return the digest of a file's content, as `Source.files` has it.

    Example:
        >>> digest_content(b"print(1)")[:16]
        'd287bb7f9d15abdc'
    """
    return hashlib.sha256(content).hexdigest()


def display_path(path: Path) -> Path:
    """Return a path for display: relative to the current folder if it is below that folder.

    Example:
        >>> display_path(Path.cwd() / "pipelines" / "train.py").as_posix()
        'pipelines/train.py'
    """
    try:
        return path.relative_to(Path.cwd())
    # Path.cwd() raises FileNotFoundError when the current folder was deleted.
    except (ValueError, FileNotFoundError):
        return path
