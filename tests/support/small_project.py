"""A Python project that is built without an index: its build backend lies beside it."""

from __future__ import annotations

from pathlib import Path

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "mine"
version = "1"
"""
BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "mine-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.write("mine.py", "mine.py")
        metadata = "Metadata-Version: 2.1\\nName: mine\\nVersion: 1\\n"
        wheel.writestr("mine-1.dist-info/METADATA", metadata)
        wheel.writestr(
            "mine-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        wheel.writestr("mine-1.dist-info/RECORD", "")
    return name

build_editable = build_wheel
"""


def write(folder: Path, value: str) -> Path:
    """Make a project whose module `mine` has the constant VALUE, or give the constant another
    value.

    Args:
        folder: of the project.
        value: of the constant.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(PROJECT)
        (folder / "backend.py").write_text(BACKEND)
    (folder / "mine.py").write_text(f"VALUE = {value!r}\n")
    return folder
