"""Answers that are read as they come: of any length; what goes wrong is an error as of other
answers."""

from collections.abc import Callable

import pytest

from kfgcp.errors import AuthError, NotFound, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.services.transport import CHUNK
from service_fixtures import Reply, Server

TEXT = {"Content-Type": "text/plain"}


def test_it_comes_in_pieces(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    body = bytes(range(256)) * 1000
    server.answers(reply(body, headers=TEXT))

    pieces = list(client().stream("log", params={"pod": "a b"}))

    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= CHUNK
    assert server.asked[0].query == {"pod": "a b"}


def test_an_empty_one_is_none(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(b"", headers=TEXT))

    assert list(client().stream("log")) == []


def test_refusals_come_before_the_first_piece(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(b"pod not found", status=404, headers=TEXT))

    with pytest.raises(NotFound, match="pod not found"):
        client().stream("log")


def test_it_is_asked_for_again_until_it_begins(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(status=503), reply(b"here", headers=TEXT))

    assert list(client().stream("log")) == [b"here"]


def test_an_outage_has_its_status(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(b"no pod", status=500, headers=TEXT))

    with pytest.raises(Unreachable, match="no pod") as caught:
        client().stream("log", retries=0)
    assert caught.value.status == 500


def test_an_answer_that_breaks_off_is_not_complete(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(b"the beginning", headers=TEXT, missing=10))
    pieces = client().stream("log")

    with pytest.raises(Unreachable, match="ended the connection") as caught:
        list(pieces)
    assert caught.value.status == 0


def test_a_sign_in_page_is_not_taken_for_a_log(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(
        reply(b"<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html"})
    )

    with pytest.raises(AuthError, match="Sign in"):
        client().stream("log")


def test_it_may_be_left_in_the_middle(
    server: Server, client: Callable[..., ServiceClient], reply: type[Reply]
) -> None:
    server.answers(reply(b"x" * 1_000_000, headers=TEXT), {"next": True})
    http = client()
    pieces = http.stream("log")
    next(pieces)
    pieces.close()

    assert http.get("again") == {"next": True}
