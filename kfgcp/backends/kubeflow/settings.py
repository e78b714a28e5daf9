"""The keys of an environment with backend = "kubeflow"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from kfgcp.backends.remote_settings import RemoteSettings, is_in_cluster
from kfgcp.errors import ConfigError
from kfgcp.hosts import CLUSTER_DOMAINS
from kfgcp.settings import Setting
from kfgcp.translation_tables import Form

# The ways to sign in that need no host. With "port-forward", kubectl makes the address. With
# "in-cluster", kfgcp uses the default address in a cluster.
_WITHOUT_HOST: Final = ("port-forward", "in-cluster")

# The zone in the manifests of Kubeflow Pipelines (ml-pipeline-scheduledworkflow-deployment.yaml).
DEFAULT_ZONE: Final = "UTC"


@dataclass(frozen=True, kw_only=True)
class KubeflowSettings(RemoteSettings):
    """The keys of an environment with backend = "kubeflow". See docs/guides/gke.md.

    Attributes:
        host: the address of Kubeflow Pipelines.
        namespace: the namespace of the user, on a server for several users.
        iap_client_id: the OAuth client of Identity-Aware Proxy, for auth = "iap".
        project: the Google Cloud project whose Cloud Logging has the logs of pods.
        ca_file: a file with certificates of authorities. Only these authorities are trusted.
        kube_context: the context of kubectl, for auth = "port-forward".
        kube_namespace: the namespace in which Kubeflow Pipelines is installed.
        kube_service: the Kubernetes service of Kubeflow Pipelines.
        schedule_time_zone: the zone in which the server reads cron expressions, which is the
            variable CRON_SCHEDULE_TIMEZONE of its controller of scheduled workflows.
    """

    host: str | None = None
    namespace: str | None = None
    iap_client_id: str | None = None
    project: str | None = None
    ca_file: str | None = None
    kube_context: str | None = None
    kube_namespace: str | None = None
    kube_service: str | None = None
    schedule_time_zone: str = DEFAULT_ZONE

    form = Form.KUBERNETES
    auth_modes: ClassVar = (
        "google",
        "iap",
        "token-file",
        "in-cluster",
        "port-forward",
        "anonymous",
    )
    http_hint: ClassVar = (
        "A service of the pod's own cluster"
        f" ({', '.join(f'*{domain}' for domain in CLUSTER_DOMAINS)}) may be used over http with"
        ' auth = "in-cluster".'
    )

    @classmethod
    def required(cls, settings: Mapping[str, Setting]) -> tuple[str, ...]:
        auth = settings.get("auth")
        if auth is not None and auth.value in _WITHOUT_HOST:
            return ()
        return ("host",)

    @property
    def place(self) -> str:
        """The text that identifies the server and the namespace of an environment.

        It contains no address of a forwarded port, because that address changes each time.
        """
        cluster = "/".join(
            [self.kube_context or "", self.kube_namespace or "", self.kube_service or ""]
        )
        server = self.api_endpoint or self.host or f"cluster:{cluster}"
        return f"{server.rstrip('/')}/{self.namespace or ''}/"

    @property
    def addresses(self) -> dict[str, str]:
        host = {} if self.host is None else {"host": self.host}
        return host | super().addresses

    def validate(self, where: str) -> None:
        super().validate(where)
        if self.auth == "port-forward" and self.host is not None:
            raise ConfigError(
                f'{where}: host must not be set, because auth = "port-forward" sets the address.',
                hint="Remove host, or forward the port yourself and set auth to anonymous.",
            )
        if self.schedule_time_zone != DEFAULT_ZONE:
            # Imported late, because each command reads kfgcp.toml.
            from kfgcp.cron import CronError, load_zone

            try:
                load_zone(self.schedule_time_zone)
            except CronError as error:
                raise ConfigError(
                    f"{where}: schedule_time_zone: {error.message}", hint=error.hint
                ) from None

    def allows_http(self, key: str, host: str) -> bool:
        return self.auth == "in-cluster" and key == "host" and is_in_cluster(host)
