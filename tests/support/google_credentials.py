"""Google credentials of people, and what a sign-in with them gives, for tests."""

import traceback

import pytest

from json_types import JsonDict
from kfgcp.config import Environment
from kfgcp.errors import BackendError
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.settings import Setting

ACCOUNT = "runner@acme.iam.gserviceaccount.com"
REFRESH = "1//0e-a-refresh-token-that-is-long"


def user_file(**more: str) -> JsonDict:
    secret = {"client_secret": "GOCSPX-client-secret", "refresh_token": REFRESH}
    return {"type": "authorized_user", "client_id": "c"} | secret | more


def source_of(**settings: str) -> TokenSource:
    return token_source(
        Environment(
            "dev", "vertex", {key: Setting(value, "test") for key, value in settings.items()}
        )
    )


def error_of(source: TokenSource) -> BackendError:
    with pytest.raises(BackendError) as caught:
        source.get()
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for secret in (REFRESH, "GOCSPX", "assertion=", "ya29.source"):
        assert secret not in shown
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def granted(token: str = "ya29.granted", seconds: int = 3600) -> JsonDict:  # noqa: S107
    return {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}
