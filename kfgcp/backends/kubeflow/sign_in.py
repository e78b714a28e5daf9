"""Return the address of an environment's Kubeflow Pipelines, and the tokens for its requests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.config import Environment
from kfgcp.services.auth.port_forward import PortForward, shared_port_forward
from kfgcp.services.auth.sign_in import required_setting, token_source
from kfgcp.services.auth.tokens import TokenFile, TokenSource

# The default namespace and service of Kubeflow Pipelines in a cluster. This service also has logs
# and metadata. The service `ml-pipeline` has only the API.
NAMESPACE: Final = "kubeflow"
UI_SERVICE: Final = "ml-pipeline-ui"

# The ports of services in the manifests of Kubeflow Pipelines. All other services have port 80.
_PORTS: Final = {"ml-pipeline": 8888}
_HTTP_PORT: Final = 80

# The file with the token of a pod for Kubeflow Pipelines, and the environment variable for another
# file. The KFP SDK uses the same names.
_PROJECTED_PATH: Final = "/var/run/secrets/kubeflow/pipelines/token"
_PATH_VARIABLE: Final = "KF_PIPELINES_SA_TOKEN_PATH"
_TOKEN_HINT: Final = (
    "Give the pod a projected service account token for the audience pipelines.kubeflow.org, and"
    " give its service account access to the namespace. If the token is at another path, set"
    f" {_PATH_VARIABLE} to that path."
)


def address_and_tokens(env: Environment) -> tuple[str, TokenSource]:
    """Return the address of an environment's Kubeflow Pipelines, and the source of tokens.

    This reads no file, starts no process and sends no request.

    Raises:
        ConfigError: a setting is missing.
    """
    settings = KubeflowSettings.of(env.settings)
    if settings.auth == "port-forward":
        forward = port_forward(env)
        return forward.address, forward
    if is_in_cluster(env):
        path = Path(os.environ.get(_PATH_VARIABLE) or _PROJECTED_PATH)
        address = settings.api_endpoint or settings.host or _cluster_address(settings)
        return address, TokenFile(path, sign_in_hint=_TOKEN_HINT)
    return settings.api_endpoint or required_setting(env, "host"), token_source(env)


def is_in_cluster(env: Environment) -> bool:
    """Return whether kfgcp runs in the cluster of the service, where plain http is allowed."""
    return KubeflowSettings.of(env.settings).auth == "in-cluster"


def port_forward(env: Environment) -> PortForward:
    """Return the forwarded port of an environment. This does not start kubectl."""
    settings = KubeflowSettings.of(env.settings)
    service = settings.kube_service or UI_SERVICE
    namespace = settings.kube_namespace or NAMESPACE
    return shared_port_forward(settings.kube_context, namespace, service, _port(service))


def _cluster_address(settings: KubeflowSettings) -> str:
    """Return the address of Kubeflow Pipelines inside its cluster."""
    service = settings.kube_service or UI_SERVICE
    namespace = settings.kube_namespace or NAMESPACE
    port = _port(service)
    host = f"{service}.{namespace}.svc"
    if port == _HTTP_PORT:
        return f"http://{host}"
    return f"http://{host}:{port}"


def _port(service: str) -> int:
    return _PORTS.get(service, _HTTP_PORT)
