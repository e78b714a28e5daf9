"""The folder of a test run: the one that the test names, or a temporary one."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path


class KeptFolder:
    """A folder for the files of a test run.

    A temporary folder is removed when neither the result of the run nor one of its artifacts is
    used any more.

    Args:
        path: the folder, None for a temporary one.

    Attributes:
        path: the absolute path of the folder.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        if path is not None:
            self.path = Path(path).absolute()
            return
        self.path = Path(tempfile.mkdtemp(prefix="kfgcp-test-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
