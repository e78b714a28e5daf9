"""The Docker engine of this machine: connect to it, and explain its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kfgcp.errors import MissingExtra, Unreachable, Unsupported

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
    # docker-py raises errors of requests for a connection that fails after the first answer.
    from requests import RequestException

    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, RequestException) as error:
        raise Unsupported(
            f"No Docker engine answers: {explain(error)}",
            hint=(
                "Start Docker, or set DOCKER_HOST. Lightweight Python components do not need"
                " Docker."
            ),
        ) from None
    return client


@contextmanager
def engine_errors(action: str) -> Iterator[None]:
    """Explain errors of the connection to the engine. Its answers (`APIError`) are not changed.

    Args:
        action: what the engine was doing: `pushing the image shop`.

    Raises:
        Unreachable: the engine does not answer, or not as an engine does.
    """
    from docker.errors import APIError, DockerException, StreamParseError
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError:
        raise
    except (DockerException, RequestException, HTTPError, StreamParseError) as error:
        raise Unreachable(
            f"The Docker engine stopped answering while {action}: {explain(error)}",
            hint="Check that Docker is running (docker info), then run the command again.",
        ) from None


def explain(error: Exception) -> str:
    """Return the explanation of a docker error, or the message of another error, as one line."""
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())
