"""The HTTP clients of an environment: for its API, ML Metadata, UI server and Cloud Logging."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kfgcp.backends.kubeflow.addresses import Addresses, metadata_addresses, ui_addresses
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.sign_in import address_and_tokens, is_in_cluster
from kfgcp.config import Environment
from kfgcp.hosts import is_loopback
from kfgcp.services.auth.google import google_tokens
from kfgcp.services.auth.sign_in import ca_file
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING_ADDRESS
from kfgcp.services.cloud_logging import CloudLogging


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of one environment.

    Attributes:
        host: the address of Kubeflow Pipelines, without a slash at its end.
        tokens: sign its requests in.
        certificates: the path of the certificates of the trusted authorities, None for the usual
            ones.
        api: the pipelines API.
        metadata: ML Metadata.
        ui: the UI server's own routes.
        logging: Cloud Logging, None when the environment names no Google Cloud project.
    """

    host: str
    tokens: TokenSource
    certificates: str | None
    api: ServiceClient
    metadata: Addresses
    ui: Addresses
    logging: CloudLogging | None


def open_clients(env: Environment) -> Clients:
    """Return the clients of an environment. Nothing is sent yet.

    Raises:
        ConfigError: a setting is missing, or the certificates cannot be read.
    """
    settings = KubeflowSettings.of(env.settings)
    address, tokens = address_and_tokens(env)
    host = address.rstrip("/")
    certificates = ca_file(env)
    client = partial(
        ServiceClient,
        tokens=tokens,
        ca_file=certificates,
        in_cluster=is_in_cluster(env),
        seconds=env.request_seconds,
        errors=KubeflowErrors(),
    )
    return Clients(
        host=host,
        tokens=tokens,
        certificates=certificates,
        api=client(host, service=SERVICE, paging=PAGE_KEYS),
        metadata=metadata_addresses(host, partial(client, service="ML Metadata")),
        ui=ui_addresses(host, partial(client, service=SERVICE)),
        logging=_cloud_logging(settings, tokens),
    )


def _cloud_logging(settings: KubeflowSettings, tokens: TokenSource) -> CloudLogging | None:
    if not settings.project:
        return None
    address = settings.logging_endpoint or LOGGING_ADDRESS
    # The tokens of Kubeflow may be those of a cluster or a proxy, which Google does not accept. A
    # stand-in on this machine accepts any.
    if not is_loopback(address):
        tokens = google_tokens(settings.impersonate_service_account)
    client = ServiceClient(
        address, tokens, service="Cloud Logging", seconds=float(settings.request_seconds)
    )
    return CloudLogging(client, settings.project)
