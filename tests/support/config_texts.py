"""Projects from the text of a kfgcp.toml, and the errors of wrong ones."""

from pathlib import Path

from kfgcp.backends.registry import load_project
from kfgcp.config import Project
from kfgcp.errors import ConfigError

VERTEX = '[env.dev]\nbackend = "vertex"\nproject = "p"\nlocation = "l"\npipeline_root = "gs://b"\n'


def load_text(folder: Path, text: str, **environ: str) -> Project:
    """Return the project of a folder whose kfgcp.toml has this text."""
    (folder / "kfgcp.toml").write_text(text, encoding="utf-8")
    return load_project(folder, environ)


def read_error(folder: Path, text: str, **environ: str) -> tuple[str, str]:
    """Return the message and the hint of the error of a kfgcp.toml with this text.

    It is the error of the file itself, or else of its first invalid environment.
    """
    try:
        project = load_text(folder, text, **environ)
    except ConfigError as error:
        return error.message, error.hint
    error = next(iter(project.invalid_environments.values()))
    return error.message, error.hint
