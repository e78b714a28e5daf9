"""Check an environment with Kubeflow Pipelines, for `kfgcp doctor`.

The checks change nothing, with one exception: the check of an S3 bucket starts an upload and
cancels it. S3 has no other way to test the permission to write.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.addresses import metadata_addresses
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors
from kfgcp.backends.kubeflow.server_version import (
    HEALTH,
    OLD_HEALTH,
    VERSION_KEYS,
    Server,
    too_old,
)
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.sign_in import (
    NAMESPACE,
    address_and_tokens,
    is_in_cluster,
    port_forward,
)
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
from kfgcp.services.client import ServiceClient
from kfgcp.services.redact import redacted_line
from kfgcp.services.responses import is_page, title, wants_sign_in
from kfgcp.services.service_response import ServiceResponse
from kfgcp.services.transport import TransportError

# Time limits of a request to ML Metadata and of a kubectl command, in seconds.
METADATA_SECONDS: Final = 5.0
KUBECTL_SECONDS: Final = 15.0

# The keys in the answer of healthz. When the UI server passes the answer on, it adds keys that
# begin with `apiServer`.
_HEALTH_KEYS: Final = frozenset({"multi_user", "pipeline_store", "commit_sha", "tag_name"})
_UI_PREFIX: Final = "apiServer"
_GOOGLE_SIGN_IN: Final = "accounts.google.com"

# The beginning of the name of a service account in a token of Kubernetes.
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"

# The Kubernetes service that has only the API.
_API_SERVICE: Final = "ml-pipeline"


def kubeflow_checks(env: Environment, images: Sequence[str] | None = None) -> list[Check]:
    """Return the checks. A check comes before the checks that depend on it.

    Args:
        env: the environment.
        images: the images of the pipeline that will run, None without a pipeline.
    """
    settings = KubeflowSettings.of(env.settings)
    cluster = Cluster(env)
    checks: list[Check] = [
        ("host", cluster.host),
        ("tls", cluster.tls),
        ("clock", cluster.clock),
        ("credentials", cluster.credentials),
    ]
    if settings.auth == "port-forward":
        checks.insert(0, ("kubectl", cluster.kubectl))
    if settings.auth == "iap":
        checks.append(("iap", cluster.iap))
    checks += [
        ("sign-in", cluster.sign_in),
        ("server", cluster.server),
        ("version", cluster.version),
        ("namespace", cluster.namespace),
        ("rbac", cluster.rbac),
    ]
    if settings.service_account:
        checks.append(("service_account", cluster.service_account))
    checks += [
        ("pipeline_root", partial(cluster.pipeline_root, settings.pipeline_root or "")),
        ("images", partial(cluster.images, images)),
        ("metadata", cluster.metadata),
    ]
    return checks


class Cluster:
    """The Kubeflow Pipelines of an environment, with one method for each check."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._settings = KubeflowSettings.of(env.settings)
        self._address, self._tokens = address_and_tokens(env)
        certificates = ca_file(env)
        self._probe = HostProbe(self._address, HEALTH, certificates)
        options: dict[str, Any] = {
            "ca_file": certificates,
            "in_cluster": is_in_cluster(env),
            "errors": KubeflowErrors(),
            **CALL_LIMITS,
        }
        self._http = ServiceClient(
            self._address, self._tokens, service=SERVICE, paging=PAGE_KEYS, **options
        )
        self._metadata = metadata_addresses(
            self._address,
            lambda address: ServiceClient(address, self._tokens, service="ML Metadata", **options),
        )
        self._account = ""
        self._health_answer: ServiceResponse | BackendError | None = None

    # -- the connection

    def kubectl(self) -> str:
        """Check that kubectl forwards a port."""
        forward = port_forward(self._env)
        forward.get()
        return f"forwards {forward.address} to {forward.target}"

    def host(self) -> str:
        """Check that a server answers at the address. Its certificate may be untrusted."""
        try:
            self._probe.response()
        except TransportError as failure:
            if not failure.tls:
                hint = f"Is host in [env.{self._env.name}] of kfgcp.toml right? {failure.hint}"
                raise unreachable(self._probe.host, failure, hint) from None
        return f"{self._probe.host} answers"

    def tls(self) -> str | Aside:
        """Check that the certificate of the server is trusted."""
        if not self._address.startswith("https:"):
            if is_in_cluster(self._env) and self._probe.name not in LOOPBACK:
                return Aside("not used: inside the cluster, kfgcp connects over plain http")
            return Aside("not used: the host is this machine")
        try:
            self._probe.response()
        except TransportError as failure:
            raise unreachable(self._probe.host, failure) from None
        return "the certificate is trusted"

    def clock(self) -> str | Aside:
        """Check that the clocks of this machine and of the server agree."""
        return clock_skew(self._probe.response().headers)

    # -- the sign-in

    def credentials(self) -> str | Aside:
        """Check that there is a token, and return the account of the token."""
        result, self._account = describe_login(self._env, self._tokens.get(), is_google_token=False)
        return result

    def iap(self) -> str | Aside:
        """Check that Identity-Aware Proxy accepts a token for the client `iap_client_id`."""
        answer = self._health()
        if not isinstance(answer, IapRefused):
            if self._iap_client():
                return "the token is accepted"
            return Aside("not checked: no Identity-Aware Proxy answered")
        configured_client = self._settings.iap_client_id
        client = self._iap_client()
        if client and client != configured_client:
            raise answer.amended(
                message=(
                    f"{answer.message.rstrip('.')}: the proxy uses the client {client}, but"
                    f" iap_client_id is {configured_client}."
                ),
                hint=f'Set iap_client_id = "{client}" in [env.{self._env.name}] of kfgcp.toml.',
            )
        if self._account:
            raise answer.amended(
                hint="gcloud iap web add-iam-policy-binding --resource-type=backend-services "
                f"--service=BACKEND_SERVICE --member={iam_member(self._account)} "
                "--role=roles/iap.httpsResourceAccessor"
            )
        raise answer

    def _iap_client(self) -> str:
        """Return the OAuth client in the proxy's redirect to a sign-in, "" without a redirect."""
        location = urlsplit(self._probe.response().headers.get("location", ""))
        if location.hostname != _GOOGLE_SIGN_IN:
            return ""
        return parse_qs(location.query).get("client_id", [""])[0]

    def sign_in(self) -> str:
        """Check that Kubeflow, and a proxy in front of it, accept the token."""
        answer = self._health()
        if isinstance(answer, AuthError):
            raise answer
        if isinstance(answer, ServiceResponse):
            response = answer.response
            if is_page(response) and wants_sign_in(response):
                # A page to sign in is not JSON, so this raises an error that says what to do.
                answer.json()
        return "accepted"

    # -- the server

    def server(self) -> str:
        """Check that the server is a Kubeflow Pipelines with the v2 API."""
        answer = self._health()
        hint = (
            f"Is {self._address} the address of Kubeflow Pipelines? It may be below a path:"
            " https://HOST/pipeline"
        )
        if isinstance(answer, NotFound):
            raise self._not_v2(hint)
        if isinstance(answer, BackendError):
            raise answer
        if is_page(answer.response):
            raise BackendError(
                f"{self._probe.host} is not {SERVICE}: it answers with a web page"
                f" ({title(answer.response)}).",
                hint=hint,
            )
        health = answer.json()
        is_known = any(key in _HEALTH_KEYS or key.startswith(_UI_PREFIX) for key in health)
        if health and not is_known:
            raise BackendError(
                f"{self._probe.host} is not {SERVICE}: its {HEALTH} has unexpected fields.",
                hint=hint,
            )
        if _is_multi_user(health):
            return f"{SERVICE} in multi-user mode"
        return SERVICE

    def _not_v2(self, hint: str) -> BackendError:
        """Return the error for a server without healthz of the v2 API."""
        try:
            return too_old(self._http.get(OLD_HEALTH))
        except BackendError:
            return BackendError(
                f"{self._probe.host} is not {SERVICE}: it has no {HEALTH}.", hint=hint
            )

    def version(self) -> str | Aside:
        """Return the release of the server."""
        answers: list[Mapping[str, Any]] = [self._health_json()]
        with suppress(BackendError):
            answers.append(self._http.get(OLD_HEALTH))
        for key in VERSION_KEYS:
            for answer in answers:
                tag = answer.get(key)
                if isinstance(tag, str) and tag:
                    return tag
        return Aside("the server does not report its version")

    def namespace(self) -> str | Aside:
        """Check that a namespace is set, if the server is for several users."""
        name = self._settings.namespace
        if name:
            return name
        if _is_multi_user(self._health_json()):
            raise ConfigError(
                f"Environment '{self._env.name}' has no namespace, but the server is in multi-user"
                " mode.",
                hint=(
                    f"Set namespace in [env.{self._env.name}] of kfgcp.toml to the namespace of"
                    " your profile."
                ),
            )
        return Aside("not needed: the server is not in multi-user mode")

    def rbac(self) -> str:
        """Check that the account may list the runs of the namespace."""
        name = self._settings.namespace
        try:
            self._http.get("apis/v2beta1/runs", params={"namespace": name, "page_size": 1})
        except Refused as refused:
            if refused.status == 403 and name:
                command = _rolebinding_command(self._account or "YOUR_ACCOUNT", name)
                raise refused.amended(hint=command) from refused
            raise
        return f"runs can be listed in {name}" if name else "runs can be listed"

    def service_account(self) -> str | Aside:
        """Check that the service account of runs exists in the namespace, if kubectl is used."""
        account = self._settings.service_account or ""
        kube_namespace = self._settings.kube_namespace or NAMESPACE
        namespace = self._settings.namespace or kube_namespace
        if self._settings.auth != "port-forward":
            return Aside(
                f"not checked: only kubectl can check the service account {account}",
                f"kubectl get serviceaccount {account} -n {namespace}",
            )
        try:
            result = self._run_kubectl(account, namespace)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Aside(f"not checked: kubectl failed ({type(error).__name__})")
        if result.returncode != 0:
            return Aside(f"not checked: {redacted_line(result.stderr, limit=200)}")
        if not result.stdout.strip():
            raise BackendError(
                f"The namespace {namespace} has no service account {account}.",
                hint=f"kubectl create serviceaccount {account} --namespace={namespace}",
            )
        return f"{account} exists"

    def _run_kubectl(self, account: str, namespace: str) -> subprocess.CompletedProcess[str]:
        command = ["kubectl"]
        if self._settings.kube_context:
            command += ["--context", self._settings.kube_context]
        command += ["get", "serviceaccount", account, "-n", namespace]
        # When the account does not exist, kubectl with this option writes nothing and has status 0.
        # For other failures its status is not 0.
        command += ["--ignore-not-found", "-o", "name"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
        )

    # -- what runs need

    def pipeline_root(self, root: str) -> str | Aside:
        """Check the bucket of the pipeline root. Pods write to it, not the user."""
        if not root:
            return Aside("not set: the server uses its default")
        if is_on_s3(root):
            return check_bucket(root, self._env)
        if not gs_bucket(root):
            return Aside(f"not checked: {root} is not in a bucket")
        try:
            return self._cloud().check_bucket(root, needs_your_access=False)
        except (AuthError, Unreachable) as error:
            return Aside(f"not checked: {error.message}", error.hint)

    def images(self, images: Sequence[str] | None) -> str | Aside:
        """Check that the images of a pipeline exist, if they are in Artifact Registry."""
        try:
            return self._cloud().check_images(images)
        except (AuthError, Unreachable) as error:
            return Aside(f"not checked: {error.message}", error.hint)

    def _cloud(self) -> Cloud:
        """Return the client of Google Cloud, with tokens that Google accepts."""
        settings = self._settings
        is_stand_in = is_loopback(settings.api_endpoint or settings.artifact_registry_endpoint)
        has_google_sign_in = (settings.auth or "google") == "google"
        if has_google_sign_in or is_stand_in:
            return Cloud(self._env, self._tokens)
        return Cloud(self._env, google_tokens(settings.impersonate_service_account))

    def metadata(self) -> str | Aside:
        """Check that the server's records of tasks can be read.

        From 3.0 on, the API server has these records. Before 3.0, ML Metadata has them.
        """
        if Server(self._http).keeps_tasks(self._settings.namespace or ""):
            return f"not needed: the API server keeps tasks and metrics itself ({SERVICE} 3.0)"
        # No run has this name, so the answer is an error or small.
        request = mlmd.message_class("GetContextByTypeAndNameRequest")(
            type_name=mlmd.PIPELINE_RUN, context_name="kfgcp-doctor"
        )
        try:
            response = self._metadata.exchange(
                "POST",
                mlmd.method_path("GetContextByTypeAndName").lstrip("/"),
                data=mlmd.encode_request(request),
                content_type=mlmd.CONTENT_TYPE,
                repeatable=True,
                retries=0,
                read_timeout=METADATA_SECONDS,
            )
            mlmd.decode_response("GetContextByTypeAndNameResponse", response.body, response.headers)
        except BackendError as error:
            return self._without_metrics(error.message)
        except mlmd.MlmdError as error:
            if error.code != mlmd.NOT_FOUND:
                return self._without_metrics(
                    f"ML Metadata at {self._probe.host} gives an unexpected answer: {error}."
                )
        return f"ML Metadata answers: it keeps tasks and metrics ({SERVICE} 2.x)"

    def _without_metrics(self, reason: str) -> Aside:
        """Return the result of the check when ML Metadata cannot be read."""
        hint = (
            "Check that ML Metadata runs and can be reached: kubectl get deploy"
            " metadata-grpc-deployment metadata-envoy-deployment -n kubeflow"
        )
        if self._probe.name.partition(".")[0] == _API_SERVICE:
            hint = (
                "Use the service ml-pipeline-ui instead of ml-pipeline: it also has metadata and"
                " the logs of pods."
            )
        return Aside(f"kfgcp shows runs without metrics. {reason}", hint)

    def _health(self) -> ServiceResponse | BackendError:
        """Return the answer of healthz, or the error of the request. Only one request is sent."""
        if self._health_answer is None:
            try:
                self._health_answer = self._http.exchange("GET", HEALTH)
            except BackendError as error:
                self._health_answer = error
        return self._health_answer

    def _health_json(self) -> dict[str, Any]:
        answer = self._health()
        if isinstance(answer, BackendError):
            raise answer
        return answer.json()


def _is_multi_user(health: Mapping[str, Any]) -> bool:
    return bool(health.get("multi_user") or health.get("apiServerMultiUser"))


def _rolebinding_command(account: str, namespace: str) -> str:
    """Return the kubectl command that allows an account to use Kubeflow in a namespace."""
    subject = f"--user={account}"
    if account.startswith(_SERVICE_ACCOUNT):
        subject = f"--serviceaccount={account.removeprefix(_SERVICE_ACCOUNT)}"
    return (
        f"kubectl create rolebinding kfgcp-user --clusterrole=kubeflow-edit {subject}"
        f" --namespace={namespace}"
    )
