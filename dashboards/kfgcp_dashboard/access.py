"""Identify visitors, and decide what they may do.

The identity comes from the assertion that Google's Identity-Aware Proxy (IAP) signs, or from
Streamlit's login with OpenID Connect. Other headers with the name of a user are ignored, because
any client can send them. With neither of the two, the dashboard answers on loopback only, and its
visitor is the person at this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from kfgcp import Project
from kfgcp.hosts import LOOPBACK

# All facts about IAP are from https://cloud.google.com/iap/docs/signed-headers-howto
IAP_HEADER: Final = "x-goog-iap-jwt-assertion"
IAP_ISSUER: Final = "https://cloud.google.com/iap"
IAP_ALGORITHM: Final = "ES256"

# The address of the public keys: a JSON object with the keys as PEM, by their ids.
IAP_KEYS_URL: Final = "https://www.gstatic.com/iap/verify/public_key"

# Google asks verifiers to allow 30 seconds between the clocks of Google and of this machine.
CLOCK_SKEW: Final = 30

# Google replaces the keys from time to time. A key that Google has withdrawn works here for at
# most this many seconds.
KEYS_MAX_AGE: Final = 3600.0

# Seconds between two downloads of the keys. Without it, anybody could make us send requests to
# Google all the time, with assertions that name unknown keys.
KEYS_FETCH_PAUSE: Final = 10.0

KEYS_TIMEOUT: Final = 10


class DeniedError(Exception):
    """The refusal of a visitor. Its message is for that person and says why."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who may see the runs.

    Attributes:
        email: None for the person at this machine.
        may_act: whether they may launch, cancel, rerun and annotate.
        reason: why they may not; empty when they may.
    """

    email: str | None
    may_act: bool
    reason: str = ""


def authorize(project: Project, identity: str | None, *, read_only: bool) -> Visitor:
    """Return the visitor with what they may do.

    Args:
        project: its setting `allow` is a list of patterns of e-mail addresses, for example
            `*@acme.example`.
        identity: the verified e-mail address, None when the dashboard cannot verify addresses.
        read_only: nobody may change anything.
    """
    if read_only:
        return Visitor(identity, False, "This dashboard is read-only.")
    if identity is None:
        return Visitor(None, True)
    for pattern in read_setting(project, "allow") or ():
        if fnmatchcase(identity.lower(), pattern.lower()):
            return Visitor(identity, True)
    reason = f"{identity} is not in the list `allow` of [dashboard] in kfgcp.toml."
    return Visitor(identity, False, reason)


def can_identify_visitors(project: Project, secrets: Mapping[str, object]) -> bool:
    """Return whether IAP is configured, or a login of Streamlit.

    Args:
        project: has the setting `iap_audience`.
        secrets: Streamlit's secrets; their table `auth` configures a login.
    """
    return bool(read_setting(project, "iap_audience")) or "auth" in secrets


def is_loopback(host: str | None) -> bool:
    """Return whether only this machine can reach an address. None means all addresses."""
    return host in LOOPBACK


class AssertionVerifier:
    """Verifies the assertions of Identity-Aware Proxy. Threads may share one.

    Args:
        audience: for example `/projects/NUMBER/global/backendServices/ID`.
        fetch_keys: returns the public keys as PEM, by their ids.
        clock: returns seconds that never go back.
    """

    def __init__(
        self,
        audience: str,
        fetch_keys: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audience = audience
        self._fetch_keys = fetch_keys
        self._clock = clock
        self._keys: Mapping[str, str] = {}
        self._last_fetch_attempt = float("-inf")
        self._fetched_at = float("-inf")

    def verify(self, assertion: str | None) -> str:
        """Return the e-mail address in an assertion of Identity-Aware Proxy, after all checks.

        Args:
            assertion: the content of the header of the request, None when the request has none.

        Raises:
            DeniedError: the request has no assertion. Or the assertion is not valid: its signature,
                algorithm, issuer, audience, times or e-mail address is wrong.
        """
        if not assertion:
            raise DeniedError("The request did not come through Identity-Aware Proxy.")
        from google.auth import exceptions, jwt

        try:
            header = jwt.decode_header(assertion)
            # The sender writes this field, and google-auth chooses the check by it. IAP uses one
            # algorithm only, so any other value is an attack.
            if header.get("alg") != IAP_ALGORITHM:
                raise DeniedError("The assertion of Identity-Aware Proxy is not signed with ES256.")
            key_id = header.get("kid")
            claims = jwt.decode(
                assertion,
                {key_id: self._get_key(key_id)},
                audience=self._audience,
                clock_skew_in_seconds=CLOCK_SKEW,
            )
        except (exceptions.GoogleAuthError, ValueError, TypeError, KeyError) as error:
            raise DeniedError("The assertion of Identity-Aware Proxy is not valid.") from error
        # google-auth checks the signature, the audience and the times, but not the issuer.
        if claims.get("iss") != IAP_ISSUER:
            raise DeniedError("Identity-Aware Proxy did not issue the assertion.")
        email = claims.get("email")
        if not isinstance(email, str) or not email:
            raise DeniedError("The assertion of Identity-Aware Proxy has no e-mail address.")
        return email

    def _get_key(self, key_id: object) -> str:
        """Return the public key of an id. Fetch the keys when they are old or lack this id."""
        now = self._clock()
        must_fetch = key_id not in self._keys or now - self._fetched_at > KEYS_MAX_AGE
        if must_fetch and now - self._last_fetch_attempt > KEYS_FETCH_PAUSE:
            self._last_fetch_attempt = now
            try:
                self._keys = dict(self._fetch_keys())
                self._fetched_at = now
            except Exception as error:
                # An outage of the key server must not lock out people whose key is here already.
                if key_id not in self._keys:
                    raise DeniedError(
                        "The public keys of Identity-Aware Proxy cannot be fetched."
                    ) from error
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise DeniedError(
                "The assertion is signed with a key that Identity-Aware Proxy does not have."
            )
        return self._keys[key_id]


def iap_verifier(project: Project) -> AssertionVerifier | None:
    """Return a verifier for the configured audience, None when none is configured."""
    audience = read_setting(project, "iap_audience")
    if not audience:
        return None
    url = read_setting(project, "iap_keys_url") or IAP_KEYS_URL
    return AssertionVerifier(audience, lambda: _fetch_keys(url))


def read_setting(project: Project, key: str) -> Any:
    """Return a setting of [dashboard] in kfgcp.toml, None when it is not set."""
    setting = project.dashboard.get(key)
    if setting is None:
        return None
    return setting.value


def read_oidc_email(claims: Mapping[str, object]) -> str:
    """Return the e-mail address of a login with OpenID Connect.

    Raises:
        DeniedError: the provider did not verify the address. Some providers let people type any
            address, so `email` alone proves nothing.
    """
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise DeniedError(
            "The login has no verified e-mail address: its claim email_verified must be true."
        )
    return email


def _fetch_keys(url: str) -> dict[str, str]:
    import requests

    response = requests.get(url, timeout=KEYS_TIMEOUT)
    response.raise_for_status()
    keys: dict[str, str] = response.json()
    return keys
