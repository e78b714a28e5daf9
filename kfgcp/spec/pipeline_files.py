"""The files that a pipeline was made from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from kfgcp.spec.load import Spec

_ENDINGS: Final = (".py", ".yaml", ".yml", ".json")

# The word of every comment that suppresses a rule: `# kfgcp: V203 because the secret is public`.
_COMMENT_WORD: Final = b"kfgcp:"


def pipeline_files(spec: Spec) -> list[Path]:
    """Return the files of a pipeline, the one that the user named first."""
    files = [Path(file) for file in spec.files]
    # A function of a Python program has no files, but its origin names the file.
    named = named_file(spec)
    if not files and named.is_file():
        files = [named.absolute()]
    return sorted(files, key=lambda file: file.name != named.name)


def named_file(spec: Spec) -> Path:
    """Return the file that the user named, with or without a function in it."""
    origin = spec.origin
    if origin.lower().endswith(_ENDINGS):
        return Path(origin)
    return Path(origin.rpartition(":")[0] or origin)


def may_suppress_rules(spec: Spec) -> bool:
    """Return whether a file of a pipeline may have a comment that suppresses a rule.

    This takes much less time than reading the comments.
    """
    for file in pipeline_files(spec):
        with suppress(OSError):
            if _COMMENT_WORD in file.read_bytes():
                return True
    return False
