"""Errors that services answer, and what a client makes of an answer, for tests."""

from collections.abc import Callable
from typing import Any

import pytest
import responses

from json_types import JsonDict
from kfgcp.errors import BackendError, Refused
from kfgcp.services.client import ServiceClient
from service_fixtures import Server

Client = Callable[..., ServiceClient]
EUROPE = "https://europe-west4-aiplatform.googleapis.com"
JOBS = "v1/projects/acme/locations/europe-west4/pipelineJobs"
HTML = {"Content-Type": "text/html; charset=utf-8"}
LOGIN = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in -"
    b" Google\nAccounts</title></head><body>password</body></html>"
)


def google_error(status: int, message: str, code: str = "", *details: object) -> JsonDict:
    return {"error": {"code": status, "message": message, "status": code, "details": list(details)}}


def error_info(reason: str, **metadata: str) -> JsonDict:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def error_of_answer(server: Server, client: Client, answer: object, **how: Any) -> BackendError:
    server.answers(answer)
    with pytest.raises(BackendError) as caught:
        client(retries=0).get("x", **how)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


@responses.activate
def error_of_europe(client: Client, status: int, body: object, path: str = JOBS) -> Refused:
    """The error of an answer of Vertex AI in europe-west4 to a request of the project acme."""
    responses.get(f"{EUROPE}/{path}", json=body, status=status)
    with pytest.raises(Refused) as caught:
        client(EUROPE, retries=0).get(path)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value
