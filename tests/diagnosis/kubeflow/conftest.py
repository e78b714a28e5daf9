"""A scripted Kubeflow Pipelines that works, and an environment that leads to it."""

import struct
from pathlib import Path

import pytest

from doctor_checks import HEALTH, HEALTH_V1, METADATA, RUNS, TOKEN, ScriptedServer

TRAILERS = b"grpc-status:5\r\ngrpc-message:no such context\r\n"
# A frame of gRPC-Web with trailers: the flag 0x80, the length, and the text.
GRPC_WEB = b"\x80" + struct.pack(">I", len(TRAILERS)) + TRAILERS


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    """A Kubeflow Pipelines that works."""
    scripted.answer(HEALTH, {"multi_user": False, "pipeline_store": "database"})
    scripted.answer(HEALTH_V1, {"commit_sha": "0a1b", "tag_name": "2.14.3", "multi_user": False})
    scripted.answer(RUNS, {"runs": [], "total_size": 0})
    scripted.answer(METADATA, GRPC_WEB, Content_Type="application/grpc-web+proto")
    return scripted


@pytest.fixture
def settings(server: ScriptedServer, tmp_path: Path) -> dict[str, str]:
    """The settings of an environment that leads to the server, with a token in a file."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    return {
        "backend": "kubeflow",
        "host": server.api_endpoint,
        "auth": "token-file",
        "token_file": str(token_file),
        "namespace": "growth",
    }
