"""A stand-in of Vertex AI, and the settings of an environment that leads there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from doctor_checks import TOKEN
from refusing_vertex import RUNNER, Vertex


@pytest.fixture
def vertex() -> Iterator[Vertex]:
    with Vertex() as stand_in:
        yield stand_in


@pytest.fixture
def settings(vertex: Vertex, tmp_path: Path) -> dict[str, str]:
    """An environment that signs in with a token."""
    (tmp_path / "token").write_text(TOKEN)
    return vertex.settings() | {
        "auth": "token-file",
        "token_file": str(tmp_path / "token"),
        "service_account": RUNNER,
    }
