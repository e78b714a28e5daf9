"""The keys that environments of all remote backends have.

They say where the service is, and how requests are signed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kfgcp.errors import ConfigError
from kfgcp.hosts import CLUSTER_DOMAINS, LOOPBACK, parse_address
from kfgcp.settings import BackendSettings


@dataclass(frozen=True, kw_only=True)
class RemoteSettings(BackendSettings):
    """The keys of environments whose runs are on a service.

    Attributes:
        service_account: the account of the tasks of a run.
        auth: how requests are signed in. See docs/guides/sign-in.md.
        token_file: the file with the token, for auth = "token-file".
        impersonate_service_account: the account that requests act as.
        api_endpoint: the address of the service when it is not the usual address, such as the
            address of a stand-in.
        logging_endpoint: the address of Cloud Logging when it is not the usual address.
        artifact_registry_endpoint: the address of Artifact Registry when it is not the usual
            address.
    """

    service_account: str | None = None
    auth: str | None = None
    token_file: str | None = None
    impersonate_service_account: str | None = None
    api_endpoint: str | None = None
    logging_endpoint: str | None = None
    artifact_registry_endpoint: str | None = None

    auth_modes: ClassVar[tuple[str, ...]] = ("google", "token-file", "anonymous")
    """The ways to sign in."""
    http_hint: ClassVar[str] = ""
    """The hint of the error when plain http is refused."""

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses that an environment sets, by the keys of the settings."""
        addresses_by_key = {
            "api_endpoint": self.api_endpoint,
            "logging_endpoint": self.logging_endpoint,
            "artifact_registry_endpoint": self.artifact_registry_endpoint,
        }
        return {key: address for key, address in addresses_by_key.items() if address is not None}

    def validate(self, where: str) -> None:
        """Check the values of keys beyond their types, see `BackendSettings.validate`."""
        if self.auth is not None and self.auth not in self.auth_modes:
            modes = ", ".join(self.auth_modes)
            raise ConfigError(
                f"{where}: auth is {self.auth!r}, which is not a way to sign in.",
                hint=f"Set auth to one of: {modes}.",
            )
        super().validate(where)
        for key, address in self.addresses.items():
            self._validate_address(where, key, address)
        if self.auth == "anonymous" and not self.addresses:
            raise ConfigError(
                f'{where}: auth = "anonymous" is allowed for a loopback api_endpoint only.'
            )

    def _validate_address(self, where: str, key: str, address: str) -> None:
        """Check that an address is safe.

        Plain http and requests without a sign-in may go to this machine only. A backend may allow
        http to other hosts (`allows_http`).
        """
        scheme, host = parse_address(address, f"{where}: {key}")
        if host in LOOPBACK or self.allows_http(key, host):
            return
        if scheme != "http" and self.auth != "anonymous":
            return
        refused = "plain http" if scheme == "http" else 'auth = "anonymous"'
        raise ConfigError(
            f"{where}: {refused} is allowed for a loopback {key} only, not for {host}.",
            hint=self.http_hint if scheme == "http" else "",
        )

    def allows_http(self, key: str, host: str) -> bool:
        """Return whether plain http to another machine is allowed.

        Args:
            key: the key of the address, such as `host` or `api_endpoint`.
            host: the name of the host in the address.
        """
        return False


def is_in_cluster(host: str) -> bool:
    """Return whether a host is a service of a Kubernetes cluster."""
    return host.endswith(CLUSTER_DOMAINS)
