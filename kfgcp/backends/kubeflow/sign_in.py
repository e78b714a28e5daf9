"""Where the Kubeflow Pipelines of an environment is, and how requests to it are signed in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kfgcp.config import Environment
from kfgcp.services.auth.port_forward import PortForward, shared_port_forward
from kfgcp.services.auth.sign_in import required, token_source
from kfgcp.services.auth.tokens import TokenFile, TokenSource

NAMESPACE: Final = "kubeflow"
SERVICE: Final = "ml-pipeline-ui"
"""Where Kubeflow is in its cluster unless the settings say otherwise. This service has logs and
metadata too."""
_PORTS: Final = {"ml-pipeline": 8888}
"""Ports of services by their manifests in Kubeflow Pipelines. All others have port 80."""
_PROJECTED: Final = "/var/run/secrets/kubeflow/pipelines/token"
_FILE_VARIABLE: Final = "KF_PIPELINES_SA_TOKEN_PATH"
"""Where a pod has its token for Kubeflow Pipelines, and the variable that names another place, as
in the KFP SDK."""
_TOKEN_HINT: Final = (
    "Give the pod a projected service account token for the audience pipelines.kubeflow.org, and"
    f" the account access to the namespace. {_FILE_VARIABLE} names another place of the token."
)


def address_and_tokens(env: Environment) -> tuple[str, TokenSource]:
    """Return the address of the Kubeflow Pipelines of an environment, and the tokens of its
    requests.

    Nothing is read, started or sent yet.

    Raises:
        ConfigError: a setting is missing.
    """
    if env.get("auth") == "port-forward":
        forward = port_forward(env)
        return forward.address, forward
    if in_cluster(env):
        tokens = TokenFile(
            Path(os.environ.get(_FILE_VARIABLE) or _PROJECTED), sign_in_hint=_TOKEN_HINT
        )
        return env.get("api_endpoint") or env.get("host") or _cluster_address(env), tokens
    return env.get("api_endpoint") or required(env, "host"), token_source(env)


def in_cluster(env: Environment) -> bool:
    """Return whether this machine is in the cluster of the service, so that plain http is
    allowed."""
    return bool(env.get("auth") == "in-cluster")


def port_forward(env: Environment) -> PortForward:
    """Return the forwarded port that the settings of an environment describe. Nothing is started
    yet."""
    service = env.get("kube_service", SERVICE)
    return shared_port_forward(
        env.get("kube_context"),
        env.get("kube_namespace", NAMESPACE),
        service,
        _PORTS.get(service, 80),
    )


def _cluster_address(env: Environment) -> str:
    service, namespace = env.get("kube_service", SERVICE), env.get("kube_namespace", NAMESPACE)
    port = f":{_PORTS[service]}" if service in _PORTS else ""
    return f"http://{service}.{namespace}.svc{port}"
