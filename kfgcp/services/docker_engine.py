"""The Docker engine of this machine: connect to it, and explain its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfgcp.errors import MissingExtra, Unsupported

if TYPE_CHECKING:
    from docker import DockerClient


def connect() -> DockerClient:
    """Return a client of the Docker engine of this machine.

    Raises:
        MissingExtra: the docker package is not installed.
        Unsupported: no Docker engine answers.
    """
    try:
        import docker
    except ImportError:
        raise MissingExtra("Running containers", "docker") from None
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise Unsupported(
            f"No Docker engine answers: {explain(error)}",
            hint=(
                "Start Docker, or set DOCKER_HOST. Lightweight Python components do not need"
                " Docker."
            ),
        ) from None
    return client


def explain(error: Exception) -> str:
    """Return the explanation of a docker error, or the message of another error, as one line."""
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())
