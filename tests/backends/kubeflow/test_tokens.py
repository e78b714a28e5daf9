"""A run is watched while its tokens end again and again: each way to sign in renews them by
itself."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
from kfgcp import api
from kfgcp.errors import AuthError
from kfgcp.model import RunState
from kfgcp.testing import KubeflowStandIn
from patience import PROCESS
from service_fixtures import ReceivedRequest, Reply, Server

PROXY = "123-iap.apps.googleusercontent.com"
ACCOUNT = "runner@acme.iam.gserviceaccount.com"
PERSON = {
    "type": "authorized_user",
    "client_id": "desktop",
    "client_secret": "GOCSPX-secret",
    "refresh_token": "1//0e-a-refresh-token-that-is-long",
}
GOOGLE = {"Metadata-Flavor": "Google"}
EVERY = 4
"""So many requests, and the tokens that were used are not good any more."""
OFTEN = 3
"""So many times the used tokens end before the runs do."""


class Tokens:
    """The tokens that were given away. ended: how often those were refused from then on that had
    been used. file: where the newest one is written, too."""

    def __init__(self, cluster: KubeflowStandIn, id_token: Callable[..., str]) -> None:
        self._cluster = cluster
        self._id_token = id_token
        self._numbers = itertools.count(1)
        self.given: list[str] = []
        self.ended = 0
        self.file: Path | None = None

    def new(self, seconds: float = 3600) -> str:
        number = next(self._numbers)
        self.given.append(self._id_token(PROXY, seconds, n=number))
        return self.given[-1]

    def write(self) -> None:
        """As somebody else does who keeps the file fresh: in another file first."""
        assert self.file is not None
        fresh = self.file.with_name("fresh")
        fresh.write_text(self.new())
        fresh.rename(self.file)

    def end(self, entry: Any) -> None:
        """Tokens that were used so far are not good any more, as often as requests were handled.
        The runs end when that has happened often."""
        if (entry.number + 1) % EVERY == 0:
            if self.file is not None:
                self.write()
            self._cluster.expire_tokens()
            self.ended += 1
        if self.ended >= OFTEN:
            self._cluster.finish_runs()


@pytest.fixture
def tokens(cluster: KubeflowStandIn, id_token: Callable[..., str]) -> Tokens:
    return Tokens(cluster, id_token)


@pytest.fixture
def settings(
    request: pytest.FixtureRequest,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nobody: None,
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
) -> dict[str, str]:
    """Settings of a way to sign in; `server` gives Google's tokens, `another_server` is IAM
    Credentials."""
    monkeypatch.setattr("kfgcp.services.auth.iap.TOKEN_ADDRESS", f"{server.url}/token")
    monkeypatch.setattr(
        "kfgcp.services.auth.iap.ACCOUNTS_ADDRESS", f"{another_server.url}/accounts/"
    )

    def google(asked: ReceivedRequest) -> Reply:
        if asked.path.endswith("/identity"):
            return reply(tokens.new().encode(), headers=GOOGLE | {"Content-Type": "text/plain"})
        if asked.path.endswith("/service-accounts/default/"):
            return reply(
                {"email": ACCOUNT, "scopes": ["x"], "aliases": ["default"]}, headers=GOOGLE
            )
        if asked.path == "/token":
            return reply(
                {"id_token": tokens.new(), "access_token": tokens.new(), "expires_in": 3600}
            )
        return reply(b"acme", headers=GOOGLE | {"Content-Type": "text/plain"})

    server.always(google)
    another_server.always(lambda asked: reply({"token": tokens.new()}))
    kind = request.param
    if kind in ("token-file", "in-cluster"):
        tokens.file = tmp_path / "token"
        tokens.write()
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tokens.file))
        return {"auth": kind, **({"token_file": str(tokens.file)} if kind == "token-file" else {})}
    if kind in ("iap: a key", "iap: a machine"):
        request.getfixturevalue("key_file" if kind == "iap: a key" else "metadata")
    else:
        sign_in(PERSON)
    if kind == "google":  # what hosts of the inverse proxy take
        return {"auth": "google"}
    acting = {"impersonate_service_account": ACCOUNT} if kind == "iap: acting" else {}
    return {"auth": "iap", "iap_client_id": PROXY, **acting}


WAYS = (
    "google",
    "iap: a person",
    "iap: a key",
    "iap: a machine",
    "iap: acting",
    "token-file",
    "in-cluster",
)


@pytest.fixture
def signed(
    cluster: KubeflowStandIn, settings: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> KubeflowStandIn:
    """The stand-in, which the environment `cloud` signs in to; watching looks twenty times a
    second."""
    env_settings = cluster.settings() | settings
    lines = [f'{name} = "{value}"' for name, value in env_settings.items()]
    (home / "kfgcp.toml").write_text("\n".join(["[env.cloud]", *lines]))
    monkeypatch.setattr("kfgcp.tracking.updates.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("kfgcp.backends.mirror.Mirror.pace", api.Pace(0.05, 0.05))
    cluster.instant.seconds = 86400
    return cluster


@pytest.mark.parametrize("settings", WAYS, indirect=True)
def test_a_run_is_watched_to_its_end_while_tokens_end(
    signed: KubeflowStandIn, tokens: Tokens, pipeline: Callable[[str], Path]
) -> None:
    signed.requests.watcher = tokens.end
    notices: list[str] = []

    handle = public.submit(str(pipeline("two_scores")), env="cloud")
    updates = list(public.watch(handle, notice=notices.append))

    assert updates[-1].run.state is RunState.SUCCEEDED
    assert notices == []
    assert tokens.ended >= OFTEN, "too few tokens expired, so the test proves nothing"
    assert len(tokens.given) >= tokens.ended
    refused = [entry.status for entry in signed.requests].count(401)
    assert refused == 0 if tokens.file else 1 <= refused <= tokens.ended, (
        "the file is read before the token expires"
    )
    assert public.show(handle.run_id).artifacts, "requests to ML Metadata have the new token too"


@pytest.mark.filterwarnings(
    "ignore::kfgcp.NotWhole"
)  # ML Metadata is not asked for a while after a refusal
@pytest.mark.parametrize("settings", ["token-file"], indirect=True)
def test_a_token_that_nobody_renews_ends_the_watching_with_what_to_do(
    signed: KubeflowStandIn, tokens: Tokens, pipeline: Callable[[str], Path]
) -> None:
    handle = public.submit(str(pipeline("echo")), env="cloud")
    file, tokens.file = tokens.file, None
    signed.requests.watcher = tokens.end

    with pytest.raises(AuthError, match="did not accept the sign-in") as caught:
        list(public.watch(handle))

    assert caught.value.hint == f"Write a new token to {file}."
    assert all(token not in str(caught.value) for token in tokens.given)
    tokens.file = file
    tokens.write()
    signed.requests.watcher = None
    signed.finish_runs()
    assert public.show(handle.run_id).wait(PROCESS).state is RunState.SUCCEEDED
