"""The links of a submission to a Kubeflow Pipelines of one's own. Everything is read; nothing is written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from kfgcp.backends.answers import is_page, title, wants_sign_in
from kfgcp.backends.auth import address_and_tokens, ca_file, in_cluster
from kfgcp.backends.http import Http, Reply
from kfgcp.backends.kubeflow.server import HEALTH, OLD_HEALTH
from kfgcp.backends.wire import NoAnswer
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.diagnosis.clock import clock_skew
from kfgcp.diagnosis.service import PATIENCE, Doorbell, signed_in, unreachable
from kfgcp.errors import AuthError, BackendError, ConfigError, NotFound, Refused

METADATA: Final = "ml_metadata.MetadataStoreService/GetContextByTypeAndName"
METADATA_SECONDS: Final = 5.0
_KNOWN: Final = frozenset(("multi_user", "pipeline_store", "commit_sha", "tag_name"))
_KNOWN_OF_UI: Final = "apiServer"
"""What healthz answers: names of the API server, and how those begin that the UI in front of it adds."""
_RUN_TYPE, _NO_RUN = b"system.PipelineRun", b"kfgcp-doctor"


def kubeflow_checks(env: Environment) -> list[Check]:
    """The checks in the order in which a submission would meet what they look at."""
    cluster = Cluster(env)
    return [
        *([("kubectl", cluster.kubectl)] if env.get("auth") == "port-forward" else []),
        ("host", cluster.host),
        ("tls", cluster.tls),
        ("clock", cluster.clock),
        ("sign-in", cluster.sign_in),
        ("server", cluster.server),
        ("version", cluster.version),
        ("namespace", cluster.namespace),
        ("metadata", cluster.metadata),
    ]


class Cluster:
    """A Kubeflow Pipelines, as an environment describes it."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._address, self._tokens = address_and_tokens(env)
        certificates = ca_file(env)
        self._door = Doorbell(self._address, HEALTH, certificates)
        self._http = Http(
            self._address,
            self._tokens,
            service="Kubeflow Pipelines",
            snake_case=True,
            ca_file=certificates,
            in_cluster=in_cluster(env),
            **PATIENCE,
        )
        self._account = ""
        self._healthy: Reply | BackendError | None = None

    def kubectl(self) -> str:
        """kubectl forwards a port."""
        from kfgcp.backends.port_forward import forwarded

        way = forwarded(self._env)
        way.get()
        return f"forwards {way.address} to {way.target}"

    def host(self) -> str:
        """Something answers there, trusted or not."""
        try:
            self._door.ring()
        except NoAnswer as failure:
            if not failure.tls:
                hint = f"Is host in [env.{self._env.name}] of kfgcp.toml right? {failure.hint}"
                raise unreachable(self._door.host, failure, hint) from None
        return f"{self._door.host} answers"

    def tls(self) -> str | Aside:
        """Its certificate is trusted."""
        if not self._address.startswith("https:"):
            return Aside("not used: the host is this machine")
        try:
            self._door.ring()
        except NoAnswer as failure:
            raise unreachable(self._door.host, failure) from None
        return "the certificate is trusted"

    def clock(self) -> str | Aside:
        return clock_skew(self._door.ring().headers)

    def sign_in(self) -> str | Aside:
        """The token is accepted, by what is in front of Kubeflow too."""
        said, self._account = signed_in(self._env, self._tokens.get())
        found = self._health()
        if isinstance(found, AuthError):
            raise found
        if isinstance(found, Reply) and is_page(found.answer) and wants_sign_in(found.answer):
            found.json()  # raises
        return said

    def server(self) -> str:
        """What answers is a Kubeflow Pipelines with the v2 API."""
        found = self._health()
        hint = f"Is {self._address} the address of Kubeflow Pipelines? It may be below a path: https://HOST/pipeline"
        if isinstance(found, NotFound):
            raise BackendError(
                f"{self._door.host} has no {HEALTH}: not Kubeflow Pipelines, or older than 2.0.", hint=hint
            )
        if isinstance(found, BackendError):
            raise found
        if is_page(found.answer):
            raise BackendError(
                f"{self._door.host} is not Kubeflow Pipelines: it answers with the web page {title(found.answer)}.",
                hint=hint,
            )
        said = found.json()
        if said and not any(key in _KNOWN or key.startswith(_KNOWN_OF_UI) for key in said):
            raise BackendError(
                f"{self._door.host} is not Kubeflow Pipelines: its {HEALTH} says other things.", hint=hint
            )
        return "Kubeflow Pipelines" + (" for several users" if self._several_users(said) else "")

    def version(self) -> str | Aside:
        said = [self._health_json()]
        with suppress(BackendError):
            said.append(self._http.get(OLD_HEALTH))
        for key in ("apiServerTagName", "tag_name"):
            found = next((each[key] for each in said if isinstance(each.get(key), str) and each[key]), None)
            if found:
                return str(found)
        return Aside("the server does not tell its version")

    def namespace(self) -> str:
        """Runs of the namespace can be listed."""
        name = self._env.get("namespace")
        if not name and self._several_users(self._health_json()):
            raise ConfigError(
                f"Environment '{self._env.name}' has no namespace, and the server is for several users.",
                hint=f"Set namespace in [env.{self._env.name}] of kfgcp.toml to that of your profile.",
            )
        try:
            self._http.get("apis/v2beta1/runs", params={"namespace": name, "page_size": 1})
        except Refused as refused:
            if refused.status == 403 and name:
                who = self._account or "YOUR_ACCOUNT"
                refused.hint = (
                    f"kubectl create rolebinding kfgcp-user --clusterrole=kubeflow-edit --user={who} --namespace={name}"
                )
            raise
        return f"runs can be listed{f' in {name}' if name else ''}"

    def metadata(self) -> str | Aside:
        """ML Metadata answers; without it runs are shown without metrics."""
        try:
            reply = self._http.exchange(
                "POST",
                METADATA,
                data=_question(),
                content_type="application/grpc-web+proto",
                repeatable=True,
                retries=0,
                read_timeout=METADATA_SECONDS,
            )
        except BackendError as error:
            return _without_metrics(error.message)
        if "grpc-status" not in reply.headers and b"grpc-status" not in reply.body:
            return _without_metrics(f"{self._door.host} does not speak gRPC-Web at {METADATA}.")
        return "answers"

    def _health(self) -> Reply | BackendError:
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


def _without_metrics(why: str) -> Aside:
    return Aside(
        f"Runs are shown without metrics. {why}",
        "Does it run, and is its route open? kubectl get deploy metadata-grpc-deployment metadata-envoy-deployment -n "
        "kubeflow",
    )


def _question() -> bytes:
    """A GetContextByTypeAndNameRequest {type_name = 1, context_name = 2} for a run that is not there, as gRPC-Web."""
    message = bytes([0x0A, len(_RUN_TYPE)]) + _RUN_TYPE + bytes([0x12, len(_NO_RUN)]) + _NO_RUN
    return b"\0" + len(message).to_bytes(4, "big") + message
