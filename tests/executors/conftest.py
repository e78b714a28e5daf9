"""Running a pipeline file on the real engine, and small wheels that need no index."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.model import Run

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def execute(home: Path) -> Callable[..., Run]:
    def run(source: str, **options: Any) -> Run:
        file = home / "pipeline.py"
        file.write_text(source, encoding="utf-8")
        handle, opened = api.open_run(str(file), **options)
        opened.execute()
        return handle.refresh().snapshot

    return run


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[str, str], Path]:
    """A wheel of a module with one constant: name and version in, file out."""

    def make(name: str, version: str) -> Path:
        file = tmp_path / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", WHEEL)
            archive.writestr(f"{info}/RECORD", "")
        return file

    return make
