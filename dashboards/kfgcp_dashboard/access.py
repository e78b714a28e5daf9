"""Who looks, and what they may do.

Identity comes from Google's Identity-Aware Proxy, by the assertion that it signs, or from
Streamlit's own login with OpenID Connect. Other headers say who somebody claims to be, and are not
looked at. Without either the dashboard is for whoever sits at this machine, and answers on loopback
only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from kfgcp.config import Project
from kfgcp.hosts import LOOPBACK

IAP_HEADER: Final = "x-goog-iap-jwt-assertion"
IAP_ISSUER: Final = "https://cloud.google.com/iap"
IAP_KEYS: Final = "https://www.gstatic.com/iap/verify/public_key"
"""Public keys by their id, as PEM: https://cloud.google.com/iap/docs/signed-headers-howto."""
SKEW: Final = 30
"""Seconds that the clocks of Google and of this machine may be apart: the same page."""
KEYS_KEPT: Final = 3600.0
KEYS_PAUSE: Final = 10.0
"""Seconds between two fetches for ids that are not known: nobody can make us ask for keys all the
time."""


class DeniedError(Exception):
    """Nobody may look: the message says why, in words for the person."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may look. email: None for whoever sits at this machine. may_act: launch, cancel,
    rerun, annotate.

    reason: why not, when they may not.
    """

    email: str | None
    may_act: bool
    reason: str = ""


def visitor(project: Project, identity: str | None, *, read_only: bool) -> Visitor:
    """What somebody may do.

    Args:
        project: its `allow` is a list of patterns of e-mail addresses, `*@acme.example` for
            example.
        identity: their proven address, None when the dashboard has no way to prove one.
        read_only: nobody may do anything but look.
    """
    if read_only:
        return Visitor(identity, False, "This dashboard is read-only.")
    allowed = _setting(project, "allow")
    if identity is None:
        return Visitor(None, True)
    if any(fnmatchcase(identity.lower(), pattern.lower()) for pattern in allowed or ()):
        return Visitor(identity, True)
    return Visitor(
        identity, False, f"{identity} is not in the list `allow` of [dashboard] in kfgcp.toml."
    )


def proves_identity(project: Project, secrets: Mapping[str, Any]) -> bool:
    """Whether the dashboard can tell who looks: by IAP, or by a login of Streamlit's that is
    configured."""
    return bool(_setting(project, "iap_audience")) or "auth" in secrets


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can reach an address; none means all of them."""
    return host in LOOPBACK


class Assertions:
    """Verifies the assertions of Identity-Aware Proxy; threads may share one.

    Args:
        audience: `/projects/NUMBER/global/backendServices/ID`, for example.
        fetch: the public keys by their id, from Google.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        audience: str,
        fetch: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audience = audience
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, str] = {}
        self._asked_at = self._fetched_at = float("-inf")

    def email(self, assertion: str | None) -> str:
        """The address that an assertion proves.

        Raises:
            DeniedError: there is none, or it is not valid: signature, algorithm, issuer, audience,
                times.
        """
        if not assertion:
            raise DeniedError("The request did not come through Identity-Aware Proxy.")
        from google.auth import exceptions, jwt

        try:
            header = jwt.decode_header(assertion)
            if header.get("alg") != "ES256":
                raise DeniedError("The assertion of Identity-Aware Proxy is not signed with ES256.")
            key = self._key(header.get("kid"))
            claims = jwt.decode(
                assertion, {header["kid"]: key}, audience=self._audience, clock_skew_in_seconds=SKEW
            )
        except (exceptions.GoogleAuthError, ValueError, TypeError, KeyError) as error:
            raise DeniedError("The assertion of Identity-Aware Proxy is not valid.") from error
        if claims.get("iss") != IAP_ISSUER:
            raise DeniedError("The assertion was not issued by Identity-Aware Proxy.")
        email = claims.get("email")
        if not isinstance(email, str) or not email:
            raise DeniedError("The assertion of Identity-Aware Proxy names nobody.")
        return email

    def _key(self, kid: Any) -> str:
        """The public key of an id; the keys are fetched again when they are old, or when it is not
        among them."""
        now = self._clock()
        wanted = kid not in self._keys or now - self._fetched_at > KEYS_KEPT
        if wanted and now - self._asked_at > KEYS_PAUSE:
            self._asked_at = now
            try:
                self._keys = dict(self._fetch())
                self._fetched_at = now
            except Exception as error:  # whatever the network says
                if kid not in self._keys:
                    raise DeniedError(
                        "The public keys of Identity-Aware Proxy cannot be fetched."
                    ) from error
        if not isinstance(kid, str) or kid not in self._keys:
            raise DeniedError(
                "The assertion is signed with a key that Identity-Aware Proxy does not have."
            )
        return self._keys[kid]


def iap_assertions(project: Project) -> Assertions | None:
    """What verifies the assertions of the configured audience, None when none is configured."""
    audience = _setting(project, "iap_audience")
    if not audience:
        return None
    url = _setting(project, "iap_keys_url") or IAP_KEYS
    return Assertions(audience, lambda: _fetch_keys(url))


def oidc_email(claims: Mapping[str, Any]) -> str:
    """The address that Streamlit's login proved.

    Raises:
        DeniedError: the provider does not vouch for it.
    """
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise DeniedError(
            "The login proves no e-mail address: the provider has to say email_verified."
        )
    return email


def _setting(project: Project, key: str) -> Any:
    setting = project.dashboard.get(key)
    return None if setting is None else setting.value


def _fetch_keys(url: str) -> dict[str, str]:
    import requests

    answer = requests.get(url, timeout=10)
    answer.raise_for_status()
    keys: dict[str, str] = answer.json()
    return keys
