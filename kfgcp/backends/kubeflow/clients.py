"""Open the HTTP clients of an environment: pipelines API, ML Metadata, UI server, Cloud Logging."""

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
        tokens: sign the requests to Kubeflow Pipelines in.
        certificates: the path of a file with the certificates of the trusted authorities, None for
            the default authorities.
        api: the client of the pipelines API.
        metadata: the client of ML Metadata.
        ui: the client of the UI server, which has logs and artifacts.
        logging: the client of Cloud Logging, None when the environment has no Google Cloud project.
    """

    host: str
    tokens: TokenSource
    certificates: str | None
    api: ServiceClient
    metadata: Addresses
    ui: Addresses
    logging: CloudLogging | None


def open_clients(env: Environment) -> Clients:
    """Return the clients of an environment. This sends no request.

    Raises:
        ConfigError: a setting is missing, or the certificates cannot be read.
    """
    settings = KubeflowSettings.of(env.settings)
    address, tokens = address_and_tokens(env)
    host = address.rstrip("/")
    certificates = ca_file(env)
    make_client = partial(
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
        api=make_client(host, service=SERVICE, paging=PAGE_KEYS),
        metadata=metadata_addresses(host, partial(make_client, service="ML Metadata")),
        ui=ui_addresses(host, partial(make_client, service=SERVICE)),
        logging=_open_cloud_logging(settings, tokens),
    )


def _open_cloud_logging(settings: KubeflowSettings, tokens: TokenSource) -> CloudLogging | None:
    if not settings.project:
        return None
    address = settings.logging_endpoint or LOGGING_ADDRESS
    # The tokens for Kubeflow may be tokens of a cluster or a proxy, which Google does not accept. A
    # stand-in on this machine accepts any token.
    if not is_loopback(address):
        tokens = google_tokens(settings.impersonate_service_account)
    client = ServiceClient(
        address, tokens, service="Cloud Logging", seconds=float(settings.request_seconds)
    )
    return CloudLogging(client, settings.project)
