"""Where tokens come from, but for Google's: the settings, files, and the renewal that all of them
share."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfgcp.config import Environment
from kfgcp.errors import AuthError, ConfigError, Unreachable
from kfgcp.services.auth.sign_in import ca_file, token_source
from kfgcp.services.auth.tokens import RenewedTokens, Token, TokenFile
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from patience import PROCESS, REQUEST, wait_for
from service_fixtures import ReceivedRequest, Reply, Server

Client = Callable[..., ServiceClient]


def _env(**settings: str) -> Environment:
    return Environment(
        "dev", "vertex", {key: Setting(value, "test") for key, value in settings.items()}
    )


# -- anonymous


def test_an_emulator_gets_no_token(server: Server, client: Client) -> None:
    source = token_source(_env(auth="anonymous", api_endpoint=server.url))
    server.answers({"ok": 1})

    assert client(source=source).get("x") == {"ok": 1}
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"host": "https://kfp.example"},
        {"host": "http://127.0.0.1:1", "api_endpoint": "https://kfp.example"},
        {"api_endpoint": "http://127.0.0.1@evil.example"},
    ],
)
def test_anonymous_is_for_this_machine(settings: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match='auth = "anonymous" is allowed for an emulator on this machine only'
    ):
        token_source(_env(auth="anonymous", **settings))


def test_no_token_no_request_to_another_machine(client: Client, server: Server) -> None:
    source = token_source(_env(auth="anonymous", api_endpoint=server.url))

    with pytest.raises(AuthError, match=r"Vertex AI at kfp\.example needs a sign-in"):
        client("https://kfp.example", source).get("x")


def test_an_emulator_that_requires_a_token(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(reply(status=401))

    with pytest.raises(AuthError) as caught:
        client(source=token_source(_env(auth="anonymous", api_endpoint=server.url))).get("x")

    assert (
        caught.value.hint
        == "The service needs a sign-in. In [env.NAME] of kfgcp.toml, set auth to google, iap or"
        " token-file."
    )


def test_an_emulator_needs_no_google(
    server: Server, environment: Callable[[], dict[str, str]], home: Path
) -> None:
    """Importing google.auth would cost a fifth of a second."""
    server.answers({"ok": 1})
    code = f"""
import sys
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.config import Environment
from kfgcp.settings import Setting
assert "requests" not in sys.modules
endpoint = {server.url!r}
settings = {{"auth": Setting("anonymous", ""), "api_endpoint": Setting(endpoint, "")}}
env = Environment("dev", "vertex", settings)
http = ServiceClient(endpoint, token_source(env), service="Vertex AI")
assert "requests" not in sys.modules
assert http.get("x") == {{"ok": 1}}
assert "requests" in sys.modules
print([name for name in sys.modules if name.startswith(("google.auth", "google.oauth2"))])
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )
    assert process.stdout == "[]\n", process.stderr


# -- other settings


def test_a_token_file_has_to_be_named() -> None:
    with pytest.raises(
        ConfigError, match="Environment 'dev' has no token_file, which auth = \"token-file\" needs"
    ):
        token_source(_env(auth="token-file"))


# -- a file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


def test_a_token_from_a_file(file: Path, server: Server, client: Client) -> None:
    server.answers({})

    client(source=token_source(_env(auth="token-file", token_file=str(file)))).get("x")

    assert server.asked[0].headers["authorization"] == "Bearer first-token"


def test_a_file_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert TokenFile(Path("~/token")).get() == Token("first-token")


def test_a_file_that_is_written_again_is_read_again(file: Path, tmp_path: Path) -> None:
    source = TokenFile(file)
    before = source.get()

    file.write_text("second")
    written = source.get()
    (tmp_path / "new").write_text("third!")  # as long as the second
    os.utime(tmp_path / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    (tmp_path / "new").rename(file)
    replaced = source.get()

    assert [before, written, replaced] == [Token("first-token"), Token("second"), Token("third!")]


def test_a_link_that_is_turned_is_followed(tmp_path: Path) -> None:
    """Kubernetes replaces projected tokens so."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    link = tmp_path / "data"
    link.symlink_to("one")
    source = TokenFile(link / "token")
    assert source.get() == Token("one")

    (tmp_path / "turned").symlink_to("two")
    (tmp_path / "turned").rename(link)

    assert source.get() == Token("two")


def test_a_refused_token_of_a_file_that_was_replaced_meanwhile(
    file: Path, server: Server, client: Client, reply: type[Reply]
) -> None:
    def replace(_: ReceivedRequest) -> Reply:
        file.write_text("second")
        return reply(status=401)

    server.answers(replace, {"ok": 1})

    assert client(source=TokenFile(file)).get("x") == {"ok": 1}
    assert server.asked[1].headers["authorization"] == "Bearer second"


def test_a_refused_token_of_a_file_that_is_the_same(
    file: Path, server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers(reply(status=401))

    with pytest.raises(AuthError) as caught:
        client(source=TokenFile(file)).get("x")

    assert caught.value.hint == f"Write a new token to {file}."


def test_a_file_that_is_being_written_keeps_its_last_token(file: Path) -> None:
    source = TokenFile(file)
    source.get()

    file.write_text("")
    meanwhile = source.get()
    file.write_text("second")

    assert (meanwhile, source.get()) == (Token("first-token"), Token("second"))


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(AuthError, match=rf"The token file {file} is empty\."):
        TokenFile(file).get()


@pytest.mark.parametrize(
    "content",
    [b"hush two", b"hush\r\nX-Evil: 1", b"hush\xc3\xa9", b"\x00hush", b"{'t': 'hush'}\x7f"],
)
def test_a_file_with_something_else(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(AuthError) as caught:
        TokenFile(file).get()

    assert caught.value.message == f"The token file {file} must contain one token and nothing else."
    assert "hush" not in caught.value.message + caught.value.hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(AuthError) as caught:
            TokenFile(path).get()
        assert caught.value.message == f"The token file {path} cannot be read: {why}."
        assert caught.value.__suppress_context__


def test_an_unknown_way_to_sign_in_is_not_that_of_google() -> None:
    with pytest.raises(
        ConfigError, match="Environment 'dev': auth is 'oauth', which is not a way to sign in"
    ):
        token_source(_env(auth="oauth"))


def test_a_file_with_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").symlink_to(certifi.where())

    assert ca_file(_env()) is None
    assert ca_file(_env(ca_file="~/ca.pem")) == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(None, "cannot be read: No such file or directory"), ("x", "contains no certificates")],
)
def test_a_file_without_certificates(tmp_path: Path, content: str | None, wrong: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigError) as caught:
        ca_file(_env(ca_file=str(file)))

    assert caught.value.message == f"Environment 'dev' has ca_file = \"{file}\", which {wrong}."


# -- renewal


class Mint:
    """Makes tokens that last an hour by the clock of the test."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.made = 0
        self.life: float | None = 3600
        self.error: Exception | None = None

    def __call__(self) -> tuple[Token, float | None]:
        if self.error is not None:
            raise self.error
        self.made += 1
        return Token(f"token-{self.made}"), None if self.life is None else self.now + self.life


@pytest.fixture
def mint() -> Mint:
    return Mint()


@pytest.fixture
def renewing(mint: Mint) -> RenewedTokens:
    return RenewedTokens(mint, sign_in_hint="Sign in.", now=lambda: mint.now)


def test_a_token_is_kept_until_shortly_before_its_end(mint: Mint, renewing: RenewedTokens) -> None:
    values = []
    for now in (0, 3600 - 226, 3600 - 224, 3600, 2 * 3600 - 224 - 226):
        mint.now = 1_000_000.0 + now
        values.append(renewing.get().value)

    assert values == ["token-1", "token-1", "token-2", "token-2", "token-2"]


def test_a_token_with_a_short_life_is_kept_for_half_the_time(
    mint: Mint, renewing: RenewedTokens
) -> None:
    mint.life = 60
    values = []
    for _ in range(4):
        values.append(renewing.get().value)
        mint.now += 20

    assert values == ["token-1", "token-1", "token-2", "token-2"]


def test_a_token_without_an_end(mint: Mint, renewing: RenewedTokens) -> None:
    mint.life = None
    renewing.get()
    mint.now += 1e9

    assert renewing.get() == Token("token-1")


def test_renewing_ahead_may_fail(mint: Mint, renewing: RenewedTokens) -> None:
    """The token that is there is used to its end; the service is asked again only now and then."""
    renewing.get()
    mint.error = Unreachable("down")
    mint.now += 3500
    assert renewing.get() == Token("token-1")

    mint.error = None
    mint.now += 29
    assert renewing.get() == Token("token-1")
    mint.now += 2
    assert renewing.get() == Token("token-2")


def test_a_token_that_ended_is_not_used(mint: Mint, renewing: RenewedTokens) -> None:
    renewing.get()
    mint.error = Unreachable("down")
    mint.now += 3600

    with pytest.raises(Unreachable, match="down"):
        renewing.get()


def test_eight_threads_renew_a_refused_token_once(mint: Mint, renewing: RenewedTokens) -> None:
    first = renewing.get()
    gate = threading.Barrier(8, timeout=REQUEST)

    def renew(_: int) -> Token:
        gate.wait()
        return renewing.get(first)

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(renew, range(8)))

    assert tokens == {Token("token-2")}
    assert mint.made == 2


class CountingLock:
    """A lock that counts the threads that have it, had it, or wait for it."""

    def __init__(self) -> None:
        self.entered = 0
        self._count_lock = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._count_lock:
            self.entered += 1
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_failure_reaches_all_waiting_threads() -> None:
    """Eight threads do not each wait for a service that does not answer."""
    asked: list[int] = []

    def fetch() -> tuple[Token, float | None]:
        asked.append(1)
        wait_for(lambda: lock.entered == 8, REQUEST)
        raise AuthError("no", hint="Sign in.")

    source = RenewedTokens(fetch, sign_in_hint="")
    lock = CountingLock()
    source._lock = lock  # type: ignore[assignment]

    with ThreadPoolExecutor(8) as pool:
        errors = [
            future.exception(timeout=REQUEST)
            for future in [pool.submit(source.get) for _ in range(8)]
        ]

    assert [str(error) for error in errors] == ["no"] * 8
    assert len(set(map(id, errors))) == 8
    assert len(asked) == 1


def test_after_a_failure_it_is_tried_again(mint: Mint, renewing: RenewedTokens) -> None:
    mint.error = AuthError("no")
    with pytest.raises(AuthError):
        renewing.get()
    mint.error = None

    assert renewing.get() == Token("token-1")


def test_eight_threads_of_requests_renew_once(
    server: Server, client: Client, reply: type[Reply], mint: Mint, renewing: RenewedTokens
) -> None:
    gate = threading.Barrier(8, timeout=REQUEST)

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.headers["authorization"] == "Bearer token-1":
            gate.wait()  # all eight are refused before the first renews
            return reply(status=401)
        return reply({"token": asked.headers["authorization"]})

    server.always(answer)
    http = client(source=renewing)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: http.get(f"{n}"), range(8)))

    assert answers == [{"token": "Bearer token-2"}] * 8
    assert (mint.made, len(server.asked)) == (2, 16)
