"""Google's Application Default Credentials on a machine at Google: tokens of a metadata server."""

from collections.abc import Callable

import pytest

from google_credentials import ACCOUNT, error_of, granted, source_of
from kfgcp.errors import AuthError, Unreachable
from service_fixtures import ReceivedRequest, Reply, Server

pytestmark = pytest.mark.usefixtures("nobody")


# -- a machine at Google

GOOGLE_TEXT = {"Metadata-Flavor": "Google", "Content-Type": "text/plain"}


@pytest.fixture
def machine(metadata: Server, reply: type[Reply]) -> Callable[[Reply], None]:
    """Return a function that turns this machine into one of Google Cloud.

    Its argument `universe` is the answer to a request for the universe domain.
    """

    def make(universe: Reply) -> None:
        def answer(asked: ReceivedRequest) -> Reply:
            google = {"Metadata-Flavor": "Google"}
            if asked.path.endswith("/universe/universe-domain"):
                return universe
            if asked.path.endswith("/token"):
                return reply(granted("ya29.machine"), headers=google)
            if asked.path.endswith("/service-accounts/default/"):
                return reply(
                    {"email": ACCOUNT, "scopes": ["x"], "aliases": ["default"]}, headers=google
                )
            return reply(b"acme", headers=GOOGLE_TEXT)

        metadata.always(answer)

    return make


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"googleapis.com", 200),
        (b"googleapis.com\n", 200),
        (b"", 200),
        (b"no such path", 404),
        (b"not now", 503),
    ],
    ids=["public", "line", "empty", "older", "fails"],
)
def test_a_machine_at_google(
    metadata: Server, machine: Callable[[Reply], None], reply: type[Reply], body: bytes, status: int
) -> None:
    machine(reply(body, status, GOOGLE_TEXT))

    assert source_of().get().value == "ya29.machine"  # type: ignore[union-attr]
    assert all(asked.headers["metadata-flavor"] == "Google" for asked in metadata.asked)
    assert [asked.path for asked in metadata.asked].count(
        "/computeMetadata/v1/universe/universe-domain"
    ) == 1


@pytest.mark.parametrize(
    "settings", [{}, {"impersonate_service_account": ACCOUNT}], ids=["itself", "impersonates"]
)
def test_a_machine_of_another_universe_is_refused_by_its_name(
    metadata: Server, machine: Callable[[Reply], None], reply: type[Reply], settings: dict[str, str]
) -> None:
    machine(reply(b"cloud.acme.example", headers=GOOGLE_TEXT))

    error = error_of(source_of(**settings))

    assert isinstance(error, AuthError)
    assert "universe domain cloud.acme.example" in error.message
    paths = [asked.path for asked in metadata.asked]
    assert paths.count("/computeMetadata/v1/universe/universe-domain") == 1
    assert not [path for path in paths if path.endswith("/token")]


def test_a_machine_without_a_service_account(metadata: Server, reply: type[Reply]) -> None:
    def answer(asked: ReceivedRequest) -> Reply:
        if asked.path.endswith("/universe/universe-domain"):
            return reply(b"googleapis.com", headers=GOOGLE_TEXT)
        exists = "/service-accounts/" not in asked.path
        return reply(b"acme", 200 if exists else 404, GOOGLE_TEXT)

    metadata.always(answer)

    error = error_of(source_of())

    assert isinstance(error, AuthError)
    assert error.message == "This machine in Google Cloud has no service account."


def test_a_metadata_server_that_fails(
    metadata: Server, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)

    def answer(asked: ReceivedRequest) -> Reply:
        broken = "/service-accounts/" in asked.path or asked.path.endswith(
            "/universe/universe-domain"
        )
        return reply(
            b"acme",
            503 if broken else 200,
            {"Metadata-Flavor": "Google", "Content-Type": "text/plain"},
        )

    metadata.always(answer)

    error = error_of(source_of())

    assert isinstance(error, Unreachable)
    assert (
        error.message == "The metadata server, which gives tokens to this machine, does not answer."
    )
