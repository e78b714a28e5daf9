"""Who may look and who may act: assertions of Identity-Aware Proxy are verified, other headers are
not believed."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import crypt, jwt

from json_types import JsonDict
from kfgcp import config
from kfgcp.backends.registry import load_project
from kfgcp.spec.json_values import JsonObject
from kfgcp_dashboard import access

AUDIENCE = "/projects/1/global/backendServices/2"
NOW = 1_800_000_000
"""Seconds since 1970, as `iat` and `exp` count them: the time at which the tests of this file
happen."""


def _key() -> tuple[str, str]:
    """A private and a public key of the curve that IAP signs with, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


PRIVATE, PUBLIC = _key()
OTHER_PRIVATE, OTHER_PUBLIC = _key()


@pytest.fixture(autouse=True)
def _at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock by which google-auth judges `iat` and `exp`."""
    stopped = datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)
    monkeypatch.setattr("google.auth._helpers.utcnow", lambda: stopped)


def _assertion(private: str = PRIVATE, kid: str = "one", **claims: object) -> str:
    whole = {
        "iss": access.IAP_ISSUER,
        "aud": AUDIENCE,
        "iat": NOW,
        "exp": NOW + 600,
        "sub": "s",
        "email": "ann@acme.example",
    }
    whole |= claims
    signer = crypt.ES256Signer.from_string(private, kid)
    return jwt.encode(
        signer, {key: value for key, value in whole.items() if value is not None}
    ).decode()


def _part(value: JsonObject) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class _Keys:
    """Where the public keys come from, and how often they were asked for."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys
        self.asked = 0
        self.now = 1000.0

    def __call__(self) -> dict[str, str]:
        self.asked += 1
        if not self.keys:
            raise OSError("no network")
        return dict(self.keys)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def keys() -> _Keys:
    return _Keys(one=PUBLIC)


@pytest.fixture
def assertions(keys: _Keys) -> access.AssertionVerifier:
    return access.AssertionVerifier(AUDIENCE, keys, keys.clock)


def test_a_valid_assertion_proves_an_address(assertions: access.AssertionVerifier) -> None:
    assert assertions.verify(_assertion()) == "ann@acme.example"


HEAD, BODY, SIGNATURE = _assertion().split(".")
FORGED = {
    "none": None,
    "empty": "",
    "no assertion": "x",
    "no base64": "a.b.c",
    "no ASCII": "ä.ö.ü",
    "of another backend": _assertion(aud="/projects/1/global/backendServices/3"),
    "for nobody": _assertion(aud=None),
    "by another issuer": _assertion(iss="https://accounts.google.com"),
    "by no issuer": _assertion(iss=None),
    "expired": _assertion(exp=NOW - access.CLOCK_SKEW - 1, iat=NOW - 600),
    "for ever": _assertion(exp=None),
    "of the future": _assertion(iat=NOW + access.CLOCK_SKEW + 1, exp=NOW + 1200),
    "without a time": _assertion(iat=None),
    "without an address": _assertion(email=None),
    "with an empty address": _assertion(email=""),
    "with another key": _assertion(OTHER_PRIVATE),
    "with an unknown key": _assertion(kid="two"),
    "changed": f"{HEAD}.{BODY}.{'A' * len(SIGNATURE)}",
    "unsigned": f"{_part({'alg': 'none', 'kid': 'one'})}.{BODY}.",
    "signed with a shared key": f"{_part({'alg': 'HS256', 'kid': 'one'})}.{BODY}.{SIGNATURE}",
    "without the name of its key": f"{_part({'alg': 'ES256'})}.{BODY}.{SIGNATURE}",
}


@pytest.mark.parametrize("forged", FORGED)
def test_any_other_proves_nothing(assertions: access.AssertionVerifier, forged: str) -> None:
    with pytest.raises(access.DeniedError):
        assertions.verify(FORGED[forged])


def test_clocks_may_be_a_little_apart(assertions: access.AssertionVerifier) -> None:
    assert assertions.verify(_assertion(iat=NOW + access.CLOCK_SKEW - 1, exp=NOW + 600))
    assert assertions.verify(_assertion(iat=NOW - 600, exp=NOW - access.CLOCK_SKEW + 1))


def test_a_key_that_is_new_is_fetched_but_not_all_the_time(
    assertions: access.AssertionVerifier, keys: _Keys
) -> None:
    assertions.verify(_assertion())
    assertions.verify(_assertion())
    assert keys.asked == 1

    for _ in range(5):
        with pytest.raises(access.DeniedError):
            assertions.verify(_assertion(kid="made-up"))
    assert keys.asked == 1

    keys.keys["two"] = OTHER_PUBLIC
    keys.now += access.KEYS_FETCH_PAUSE + 1
    assert assertions.verify(_assertion(OTHER_PRIVATE, "two")) == "ann@acme.example"
    assert keys.asked == 2


def test_keys_that_were_taken_back_are_not_believed_for_ever(
    assertions: access.AssertionVerifier, keys: _Keys
) -> None:
    assertions.verify(_assertion())
    keys.keys = {"two": OTHER_PUBLIC}
    keys.now += access.KEYS_MAX_AGE + 1

    with pytest.raises(access.DeniedError):
        assertions.verify(_assertion())


def test_without_keys_nobody_gets_in_and_with_old_ones_those_who_could_before(
    assertions: access.AssertionVerifier, keys: _Keys
) -> None:
    served_keys, keys.keys = keys.keys, {}
    with pytest.raises(access.DeniedError, match="cannot be fetched"):
        assertions.verify(_assertion())

    keys.keys = served_keys
    keys.now += access.KEYS_FETCH_PAUSE + 1
    assertions.verify(_assertion())
    keys.keys = {}
    keys.now += access.KEYS_MAX_AGE + 1
    assert assertions.verify(_assertion()) == "ann@acme.example"


def _project(folder: Path, text: str) -> config.Project:
    (folder / "kfgcp.toml").write_text(text)
    return load_project(folder, {})


@pytest.mark.parametrize(
    ("allow", "email", "may"),
    [
        ('["*@acme.example"]', "ann@acme.example", True),
        ('["*@acme.example"]', "Ann@ACME.example", True),
        ('["*@acme.example"]', "ann@acme.example.evil.test", False),
        ('["*@acme.example"]', "ann@evil-acme.example", False),
        ('["ann@acme.example", "ops-*@acme.example"]', "ops-1@acme.example", True),
        ("[]", "ann@acme.example", False),
        (None, "ann@acme.example", False),
    ],
)
def test_who_may_act_is_a_list_of_patterns(
    tmp_path: Path, allow: str | None, email: str, may: bool
) -> None:
    project = _project(tmp_path, "[dashboard]\n" + (f"allow = {allow}\n" if allow else ""))

    user = access.authorize(project, email, read_only=False)

    assert (user.email, user.may_act) == (email, may)
    assert bool(user.reason) is not may


def test_at_this_machine_everything_is_allowed_but_when_read_only(tmp_path: Path) -> None:
    project = _project(tmp_path, '[dashboard]\nallow = ["*@acme.example"]\n')

    assert access.authorize(project, None, read_only=False).may_act
    assert not access.authorize(project, None, read_only=True).may_act
    assert not access.authorize(project, "ann@acme.example", read_only=True).may_act


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "a@b.c"},
        {"email": "a@b.c", "email_verified": False},
        {"email": "a@b.c", "email_verified": "true"},
    ],
)
def test_a_login_has_to_vouch_for_the_address(claims: JsonDict) -> None:
    with pytest.raises(access.DeniedError):
        access.read_oidc_email(claims)
    assert access.read_oidc_email({"email": "a@b.c", "email_verified": True}) == "a@b.c"


def test_what_proves_identity(tmp_path: Path) -> None:
    assert not access.can_identify_visitors(_project(tmp_path, ""), {})
    assert not access.can_identify_visitors(
        _project(tmp_path, "[dashboard]\niap_audience = ''\n"), {}
    )
    assert access.can_identify_visitors(
        _project(tmp_path, f"[dashboard]\niap_audience = '{AUDIENCE}'\n"), {}
    )
    assert access.can_identify_visitors(_project(tmp_path, ""), {"auth": {"client_id": "x"}})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback(host: str | None, loopback: bool) -> None:
    assert access.is_loopback(host) is loopback


def test_keys_come_from_the_configured_address(
    tmp_path: Path, json_server: Callable[[JsonObject], str]
) -> None:
    url = json_server({"one": PUBLIC})
    project = _project(
        tmp_path, f"[dashboard]\niap_audience = '{AUDIENCE}'\niap_keys_url = '{url}'\n"
    )

    assertions = access.iap_verifier(project)

    assert assertions is not None
    assert assertions.verify(_assertion()) == "ann@acme.example"
