"""No error and no log shows a token that an answer sends back."""

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from kfgcp.errors import BackendError
from kfgcp.services.client import ServiceClient
from service_errors import error_info, google_error
from service_fixtures import ReceivedRequest, Reply, Server, Tokens

Client = Callable[..., ServiceClient]


# -- tokens do not show


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("form", ["json", "text", "html", "list"])
def test_a_token_that_is_sent_back_does_not_show(
    server: Server, client: Client, reply: type[Reply], tokens: type[Tokens], status: int, form: str
) -> None:
    """Nor a part of it, nor it in another spelling; neither of a known form nor of an unknown
    one."""
    opaque = "a1/b2+c3=" * 6

    def echo(asked: ReceivedRequest) -> Reply:
        header = asked.headers["authorization"]
        text = (
            f"denied: {header} {header[7:40]}~ {header[7:].replace('/', '%2F').replace('+', '%2B')}"
        )
        bodies: dict[str, Any] = {
            "json": google_error(
                status,
                text,
                text,
                error_info(text, service=text, consumer=f"projects/{header[7:]}"),
            ),
            "text": text.encode(),
            "html": f"<html><title>Log in {text}</title>".encode(),
            "list": [text],
        }
        kind = {"html": "text/html", "text": "text/plain"}.get(form, "application/json")
        return reply(
            bodies[form], status, {"Content-Type": kind, "Location": f"https://h/login?{text}"}
        )

    for value in (opaque, "ya29.xyz-ABC_1234567890"):
        server.always(echo)
        source = tokens()
        source.values = [value]
        with pytest.raises(BackendError) as caught:
            client(source=source, retries=0).get(f"x/{value}" if form == "text" else "x")

        shown = (
            "".join(traceback.format_exception(caught.value))
            + caught.value.hint
            + repr(caught.value)
        )
        shown += str(getattr(caught.value, "reason", ""))
        assert value not in shown
        assert value[:12] not in shown
        assert value.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")[:14] not in shown


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html"])
def test_a_token_in_an_answer_of_status_200_does_not_show(
    server: Server, client: Client, reply: type[Reply], secret: str, kind: str
) -> None:
    server.answers(reply(f"{secret} <title>{secret}".encode(), headers={"Content-Type": kind}))

    with pytest.raises(BackendError) as caught:
        client().get("x")

    assert secret not in "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert "[hidden]" in caught.value.message


def test_objects_do_not_show_their_token(
    server: Server, client: Client, tokens: type[Tokens], secret: str
) -> None:
    server.answers({})
    http = client()
    answer = http.exchange("GET", "x")

    shown = repr(http) + repr(answer) + str(answer) + repr(answer.request) + repr(tokens().get())
    assert secret not in shown
