"""The links of a submission to a Kubeflow Pipelines of one's own. Everything is read; nothing is
written.

To check a bucket of S3, an upload is started and then cancelled. S3 has no other way to ask for
permission to write.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.addresses import of_metadata
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors
from kfgcp.backends.kubeflow.server_version import HEALTH, OLD_HEALTH, Server, too_old
from kfgcp.backends.kubeflow.sign_in import NAMESPACE, address_and_tokens, in_cluster, port_forward
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.diagnosis.clock_skew import clock_skew
from kfgcp.diagnosis.connection import (
    CALL_LIMITS,
    HostProbe,
    describe_login,
    iam_member,
    unreachable,
)
from kfgcp.diagnosis.google_cloud import Cloud, gs_bucket
from kfgcp.diagnosis.s3_bucket import check_bucket, is_on_s3
from kfgcp.errors import (
    AuthError,
    BackendError,
    ConfigError,
    IapRefused,
    NotFound,
    Refused,
    Unreachable,
)
from kfgcp.hosts import LOOPBACK, is_loopback
from kfgcp.services.auth.google import google_tokens
from kfgcp.services.auth.sign_in import ca_file
from kfgcp.services.client import ServiceClient, ServiceResponse
from kfgcp.services.redact import redacted_line
from kfgcp.services.responses import is_page, title, wants_sign_in
from kfgcp.services.transport import TransportError

METADATA_SECONDS: Final = 5.0
KUBECTL_SECONDS: Final = 15.0
_KNOWN: Final = frozenset(("multi_user", "pipeline_store", "commit_sha", "tag_name"))
_KNOWN_OF_UI: Final = "apiServer"
"""What healthz answers: names of the API server, and how those begin that the UI in front of it
adds."""
_GOOGLE_SIGN_IN: Final = "accounts.google.com"
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"


def kubeflow_checks(env: Environment, images: Sequence[str] | None = None) -> list[Check]:
    """The checks in the order in which a submission would meet what they look at. images: of the
    pipeline, if any."""
    cluster = Cluster(env)
    root: str = env.get("pipeline_root") or ""
    return [
        *([("kubectl", cluster.kubectl)] if env.get("auth") == "port-forward" else []),
        ("host", cluster.host),
        ("tls", cluster.tls),
        ("clock", cluster.clock),
        ("credentials", cluster.credentials),
        *([("iap", cluster.iap)] if env.get("auth") == "iap" else []),
        ("sign-in", cluster.sign_in),
        ("server", cluster.server),
        ("version", cluster.version),
        ("namespace", cluster.namespace),
        ("rbac", cluster.rbac),
        *([("service_account", cluster.service_account)] if env.get("service_account") else []),
        ("pipeline_root", partial(cluster.pipeline_root, root)),
        ("images", partial(cluster.images, images)),
        ("metadata", cluster.metadata),
    ]


class Cluster:
    """A Kubeflow Pipelines, as an environment describes it."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._address, self._tokens = address_and_tokens(env)
        certificates = ca_file(env)
        self._door = HostProbe(self._address, HEALTH, certificates)
        how: dict[str, Any] = {
            "ca_file": certificates,
            "in_cluster": in_cluster(env),
            "errors": KubeflowErrors(),
            **CALL_LIMITS,
        }
        self._http = ServiceClient(
            self._address, self._tokens, service="Kubeflow Pipelines", paging=PAGE_KEYS, **how
        )
        self._metadata = of_metadata(
            self._address,
            lambda base: ServiceClient(base, self._tokens, service="ML Metadata", **how),
        )
        self._account = ""
        self._healthy: ServiceResponse | BackendError | None = None

    def kubectl(self) -> str:
        """kubectl forwards a port."""

        way = port_forward(self._env)
        way.get()
        return f"forwards {way.address} to {way.target}"

    def host(self) -> str:
        """Something answers there, trusted or not."""
        try:
            self._door.response()
        except TransportError as failure:
            if not failure.tls:
                hint = f"Is host in [env.{self._env.name}] of kfgcp.toml right? {failure.hint}"
                raise unreachable(self._door.host, failure, hint) from None
        return f"{self._door.host} answers"

    def tls(self) -> str | Aside:
        """Its certificate is trusted."""
        if not self._address.startswith("https:"):
            inside = in_cluster(self._env) and self._door.name not in LOOPBACK
            return Aside(
                "not used:"
                f" {'inside of a cluster it is plain http' if inside else 'the host is this machine'}"
            )
        try:
            self._door.response()
        except TransportError as failure:
            raise unreachable(self._door.host, failure) from None
        return "the certificate is trusted"

    def clock(self) -> str | Aside:
        return clock_skew(self._door.response().headers)

    def credentials(self) -> str | Aside:
        """There is a token; as whom."""
        said, self._account = describe_login(self._env, self._tokens.get(), is_google_token=False)
        return said

    def iap(self) -> str | Aside:
        """Identity-Aware Proxy is there, and takes the token, which is for the client
        `iap_client_id`."""
        found = self._health()
        if isinstance(found, IapRefused):
            client, there = self._env.get("iap_client_id"), self._iap_client()
            if there and there != client:
                raise found.amended(
                    message=(
                        f"{found.message.rstrip('.')}: it is of the client {there}, iap_client_id"
                        f" of {client}."
                    ),
                    hint=f'Set iap_client_id = "{there}" in [env.{self._env.name}] of kfgcp.toml.',
                )
            if self._account:
                raise found.amended(
                    hint="gcloud iap web add-iam-policy-binding --resource-type=backend-services "
                    f"--service=BACKEND_SERVICE --member={iam_member(self._account)} "
                    "--role=roles/iap.httpsResourceAccessor"
                )
            raise found
        return (
            "the token is accepted"
            if self._iap_client()
            else Aside("no Identity-Aware Proxy is seen to answer")
        )

    def _iap_client(self) -> str:
        """The client that the proxy sends people to sign in with, "" when it does not say."""
        place = urlsplit(self._door.response().headers.get("location", ""))
        return (
            parse_qs(place.query).get("client_id", [""])[0]
            if place.hostname == _GOOGLE_SIGN_IN
            else ""
        )

    def sign_in(self) -> str:
        """The token is accepted, by what is in front of Kubeflow too."""
        found = self._health()
        if isinstance(found, AuthError):
            raise found
        if (
            isinstance(found, ServiceResponse)
            and is_page(found.response)
            and wants_sign_in(found.response)
        ):
            found.json()  # raises
        return "accepted"

    def server(self) -> str:
        """What answers is a Kubeflow Pipelines with the v2 API."""
        found = self._health()
        hint = f"Is {self._address} the address of Kubeflow Pipelines? It may be below a path: https://HOST/pipeline"
        if isinstance(found, NotFound):
            raise self._not_v2(hint)
        if isinstance(found, BackendError):
            raise found
        if is_page(found.response):
            raise BackendError(
                f"{self._door.host} is not Kubeflow Pipelines: it answers with the web page"
                f" {title(found.response)}.",
                hint=hint,
            )
        said = found.json()
        if said and not any(key in _KNOWN or key.startswith(_KNOWN_OF_UI) for key in said):
            raise BackendError(
                f"{self._door.host} is not Kubeflow Pipelines: its {HEALTH} says other things.",
                hint=hint,
            )
        return "Kubeflow Pipelines" + (" for several users" if self._several_users(said) else "")

    def _not_v2(self, hint: str) -> BackendError:
        try:
            return too_old(self._http.get(OLD_HEALTH))
        except BackendError:
            return BackendError(
                f"{self._door.host} has no {HEALTH}: not Kubeflow Pipelines.", hint=hint
            )

    def version(self) -> str | Aside:
        said = [self._health_json()]
        with suppress(BackendError):
            said.append(self._http.get(OLD_HEALTH))
        for key in ("apiServerTagName", "tag_name"):
            found = next(
                (each[key] for each in said if isinstance(each.get(key), str) and each[key]), None
            )
            if found:
                return str(found)
        return Aside("the server does not tell its version")

    def namespace(self) -> str | Aside:
        """One is named where the server is for several users."""
        name = self._env.get("namespace")
        if not name and self._several_users(self._health_json()):
            raise ConfigError(
                f"Environment '{self._env.name}' has no namespace, and the server is for several"
                " users.",
                hint=(
                    f"Set namespace in [env.{self._env.name}] of kfgcp.toml to that of your"
                    " profile."
                ),
            )
        return name or Aside("not needed: the server is for one user")

    def rbac(self) -> str:
        """Runs of the namespace can be listed."""
        name = self._env.get("namespace")
        try:
            self._http.get("apis/v2beta1/runs", params={"namespace": name, "page_size": 1})
        except Refused as refused:
            if refused.status == 403 and name:
                who = self._account or "YOUR_ACCOUNT"
                inside = who.startswith(_SERVICE_ACCOUNT)
                subject = (
                    f"--serviceaccount={who.removeprefix(_SERVICE_ACCOUNT)}"
                    if inside
                    else f"--user={who}"
                )
                command = (
                    f"kubectl create rolebinding kfgcp-user --clusterrole=kubeflow-edit {subject}"
                    f" --namespace={name}"
                )
                raise refused.amended(hint=command) from refused
            raise
        return f"runs can be listed{f' in {name}' if name else ''}"

    def service_account(self) -> str | Aside:
        """The namespace has the service account that runs have; only kubectl can tell."""
        name: str = self._env.get("service_account")
        namespace = self._env.get("namespace") or self._env.get("kube_namespace", NAMESPACE)
        if self._env.get("auth") != "port-forward":
            return Aside(
                f"not checked: {name} is known to kubectl only",
                f"kubectl get serviceaccount {name} -n {namespace}",
            )
        context = self._env.get("kube_context")
        command = [
            "kubectl",
            *(["--context", context] if context else []),
            "get",
            "serviceaccount",
            name,
            "-n",
            namespace,
            # Without output and with status 0 there is no such account. Other failures keep their
            # status.
            "--ignore-not-found",
            "-o",
            "name",
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Aside(f"not checked: kubectl failed ({type(error).__name__})")
        if done.returncode != 0:
            return Aside(f"not checked: {redacted_line(done.stderr, limit=200)}")
        if not done.stdout.strip():
            raise BackendError(
                f"There is no service account {name} in the namespace {namespace}.",
                hint=f"kubectl create serviceaccount {name} --namespace={namespace}",
            )
        return f"{name} is there"

    def pipeline_root(self, root: str) -> str | Aside:
        """The bucket is there; it is the account of the pods that writes to it, not you."""
        if not root:
            return Aside("not set: the server has its own")
        if is_on_s3(root):
            return check_bucket(root, self._env)
        if not gs_bucket(root):
            return Aside(f"not checked: {root} is not in a bucket")
        try:
            return self._cloud().bucket(root, needs_your_access=False)
        except (AuthError, Unreachable) as error:
            return Aside(f"not checked: {error.message}", error.hint)

    def images(self, images: Sequence[str] | None) -> str | Aside:
        """The images of a pipeline that are in Artifact Registry are there."""
        try:
            return self._cloud().images(images)
        except (AuthError, Unreachable) as error:
            return Aside(f"not checked: {error.message}", error.hint)

    def _cloud(self) -> Cloud:
        """Google Cloud, which has its own sign-in when that of Kubeflow is another."""
        stand_in = is_loopback(
            self._env.get("api_endpoint") or self._env.get("artifact_registry_endpoint")
        )
        mine = self._env.get("auth", "google") == "google" or stand_in
        return Cloud(
            self._env,
            self._tokens if mine else google_tokens(self._env.get("impersonate_service_account")),
        )

    def metadata(self) -> str | Aside:
        """Return where the server keeps the tasks of runs: in the API server from 3.0 on, before in
        ML Metadata."""
        if Server(self._http).keeps_tasks(self._env.get("namespace") or ""):
            return (
                "not needed: the API server keeps tasks and metrics itself (Kubeflow Pipelines 3.0)"
            )
        asked = mlmd.message("GetContextByTypeAndNameRequest")(
            type_name=mlmd.PIPELINE_RUN, context_name="kfgcp-doctor"
        )
        try:
            reply = self._metadata.exchange(
                "POST",
                mlmd.path("GetContextByTypeAndName").lstrip("/"),
                data=mlmd.encode(asked),
                content_type=mlmd.CONTENT_TYPE,
                repeatable=True,
                retries=0,
                read_timeout=METADATA_SECONDS,
            )
            mlmd.decode("GetContextByTypeAndNameResponse", reply.body, reply.headers)
        except BackendError as error:
            return self._without_metrics(error.message)
        except mlmd.MlmdError as error:
            if error.code != mlmd.NOT_FOUND:
                return self._without_metrics(f"{self._door.host} answers for ML Metadata: {error}.")
        return "ML Metadata answers: it keeps tasks and metrics (Kubeflow Pipelines 2.x)"

    def _without_metrics(self, why: str) -> Aside:
        hint = (
            "Does it run, and is its route open? kubectl get deploy metadata-grpc-deployment"
            " metadata-envoy-deployment -n kubeflow"
        )
        if self._door.name.partition(".")[0] == "ml-pipeline":
            hint = (
                "The service ml-pipeline has the API alone; ml-pipeline-ui has metadata and logs of"
                " pods, too."
            )
        return Aside(f"Runs are shown without metrics. {why}", hint)

    def _health(self) -> ServiceResponse | BackendError:
        """The answer of healthz, or why there is none; asked for once."""
        if self._healthy is None:
            try:
                self._healthy = self._http.exchange("GET", HEALTH)
            except BackendError as error:
                self._healthy = error
        return self._healthy

    def _health_json(self) -> dict[str, Any]:
        found = self._health()
        if isinstance(found, BackendError):
            raise found
        return found.json()

    @staticmethod
    def _several_users(said: dict[str, Any]) -> bool:
        return bool(said.get("multi_user") or said.get("apiServerMultiUser"))
