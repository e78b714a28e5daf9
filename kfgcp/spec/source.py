"""Where a pipeline comes from: what the user named, and the content of the files that it was
compiled from."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pipeline of a run comes from.

    Attributes:
        pipeline: what the user named, `pipelines/train.py:train` for example.
        folder: the folder that a relative `pipeline` starts from.
        files: the absolute paths of the files that it was compiled from, with the digests of their
            content.
    """

    pipeline: str
    folder: str
    files: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"pipeline": self.pipeline, "folder": self.folder, "files": dict(self.files)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["pipeline"], data["folder"], data["files"])

    def changed_files(self) -> list[Path]:
        """Return the files whose content has changed, without those that no longer exist."""
        changed = []
        for file, before in self.files.items():
            try:
                now = digest_content(Path(file).read_bytes())
            except OSError:
                continue
            if now != before:
                changed.append(Path(file))
        return changed

    def run_command(self) -> str:
        """Return the command that runs the current pipeline from the current folder."""
        file, separator, function = self.pipeline, "", ""
        if not Path(self.folder, file).is_file():
            file, separator, function = self.pipeline.rpartition(":")
        shown = display_path(Path(self.folder, file))
        return f"kfgcp run {shlex.quote(f'{shown}{separator}{function}')}"


def digest_content(content: bytes) -> str:
    """Return the digest of a file's content, as `Source.files` has it."""
    return hashlib.sha256(content).hexdigest()


def display_path(place: Path) -> Path:
    """Return a path for display: relative to the current folder if it is below that folder."""
    try:
        return place.relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):
        return place
