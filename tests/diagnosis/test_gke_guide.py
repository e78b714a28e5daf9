"""The table of errors in the guide to Kubeflow Pipelines: each row is the text of a real error."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from doctor_checks import HEALTH, Broken, Diagnose, ScriptedServer, WithTls
from kfgcp import api
from kfgcp.diagnosis.checks import Finding
from kfgcp.errors import BackendError, KfgcpError
from kfgcp.services.auth import port_forward
from kfgcp.testing import kubeflow
from patience import PROCESS

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "gke.md").read_text(encoding="utf-8")
TABLE = GUIDE.partition("| the error says |")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| `([^`]+)` \|", TABLE, re.MULTILINE)
Situation = Callable[["Stage"], str]
SITUATIONS: dict[str, Situation] = {}
"""The row of the table -> the function that causes the error and returns its text."""


def situation(row: str) -> Callable[[Situation], Situation]:
    """Register a function as the situation for a row of the table."""

    def register(function: Situation) -> Situation:
        SITUATIONS[row] = function
        return function

    return register


class Stage:
    """The servers and settings for a situation."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._get = request.getfixturevalue
        self.folder: Path = self._get("tmp_path")
        self.patch: pytest.MonkeyPatch = self._get("monkeypatch")

    @property
    def server(self) -> ScriptedServer:
        """A scripted Kubeflow Pipelines that works. A situation changes its answers."""
        server = self._get("scripted")
        server.answer(HEALTH, {"multi_user": False, "pipeline_store": "database"})
        return server

    @property
    def stand_in(self) -> Any:
        """A stand-in for several users. The environment `gke` of the project leads to it."""
        return self._get("stand_in")

    def with_token(self, host: str, **settings: str) -> str:
        """Return the text of the check that fails, with a token in a file."""
        (self.folder / "token").write_text("a-token")
        return self.broken(
            host=host, auth="token-file", token_file=str(self.folder / "token"), **settings
        )

    def broken(self, **settings: str) -> str:
        """Return the text of the check that fails."""
        broken: Broken = self._get("broken")
        return broken(self.findings(**settings)).detail

    def findings(self, **settings: str) -> dict[str, Finding]:
        """Return the findings for these settings, by the names of the checks."""
        diagnose: Diagnose = self._get("diagnose")
        return diagnose(backend="kubeflow", **settings)

    def secure(self, server: ScriptedServer) -> str:
        """Let a server use TLS, and return its address."""
        tls: WithTls = self._get("tls")
        return tls(server)

    def kubectl(self, error: str | None) -> str:
        """Return the text of the check when kubectl fails with an error, or is missing (None)."""
        folder = self.folder / "bin"
        folder.mkdir()
        if error is not None:
            (folder / "kubectl").write_text(f"#!/bin/sh\necho '{error}' >&2\nexit 1\n")
            (folder / "kubectl").chmod(0o755)
        self.patch.setenv("PATH", str(folder))
        self.patch.setattr(port_forward, "_port_forwards", {})
        return self.broken(auth="port-forward")

    def signed_in_as(self, login: dict[str, str], **settings: str) -> str:
        """Return the text of the check behind IAP, when Google refuses all requests for tokens."""
        google = self.server
        google.answer(
            "POST /token",
            {"error": "invalid_audience", "error_description": "not in one project"},
            400,
        )
        google.answer(
            "POST /accounts/*",
            {"error": {"message": "Permission denied", "status": "PERMISSION_DENIED"}},
            403,
        )
        self.patch.setattr("kfgcp.services.auth.iap.TOKEN_ADDRESS", f"{google.api_endpoint}/token")
        self.patch.setattr(
            "kfgcp.services.auth.iap.ACCOUNTS_ADDRESS", f"{google.api_endpoint}/accounts/"
        )
        file = self.folder / "login.json"
        file.write_text(json.dumps(login))
        self.patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        return self.broken(
            host=google.api_endpoint, auth="iap", iap_client_id="1234-abc", **settings
        )

    def refused(self, call: Callable[[], Any]) -> str:
        """Return the message of the error that a call raises."""
        with pytest.raises(KfgcpError) as caught:
            call()
        return caught.value.message

    @property
    def pipeline(self) -> Path:
        return self.named("echo")

    def named(self, name: str) -> Path:
        """A pipeline of the tests."""
        return Path(self._get("pipeline")(name))

    def submit(self, pipeline: Path | None = None, **options: Any) -> Any:
        return api.submit(str(pipeline or self.pipeline), env="gke", **options)


@pytest.fixture
def stand_in(home: Path) -> Iterator[Any]:
    with kubeflow(multi_user=True, namespaces=("growth",), mode="instant") as env:
        (home / "kfgcp.toml").write_text(env.toml("gke"))
        yield env
        assert env.unused_faults == []


def test_every_row_has_its_situation() -> None:
    assert sorted(ROWS) == sorted(SITUATIONS)
    assert len(ROWS) == TABLE.count("\n| `")


@pytest.mark.parametrize("row", ROWS)
def test_the_error_is_as_the_guide_has_it(row: str, request: pytest.FixtureRequest) -> None:
    message = SITUATIONS[row](Stage(request))

    # An ellipsis in the table stands for any text.
    pattern = ".*".join(map(re.escape, row.split("…")))
    assert re.fullmatch(pattern, message), message


@situation("… needs kubectl, which is not on the PATH.")
def _(stage: Stage) -> str:
    return stage.kubectl(None)


@situation(
    "kubectl cannot forward a port to svc/ml-pipeline-ui in the namespace kubeflow: … is"
    " forbidden: …"
)
def _(stage: Stage) -> str:
    user = (
        'User "me@example.com" cannot get resource "services" in API group "" in the namespace'
        ' "kubeflow"'
    )
    return stage.kubectl(
        f'Error from server (Forbidden): services "ml-pipeline-ui" is forbidden: {user}'
    )


@situation("kubectl cannot forward a port to svc/ml-pipeline-ui in the namespace kubeflow: …")
def _(stage: Stage) -> str:
    return stage.kubectl('error: context "gke_a_b_c" does not exist')


@situation("… cannot be found: its name is unknown.")
def _(stage: Stage) -> str:
    return stage.with_token("https://kfp.invalid")


@situation("… has a certificate that is not trusted…")
def _(stage: Stage) -> str:
    return stage.with_token(stage.secure(stage.server))


@situation(
    "Identity-Aware Proxy, in front of …, did not accept the sign-in to Kubeflow Pipelines (…)."
)
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(HEALTH, b"Invalid IAP credentials", 401, X_Goog_IAP_Generated_Response="true")
    return stage.with_token(server.api_endpoint)


@situation("You are not signed in to Google: …")
def _(stage: Stage) -> str:
    stage.patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    stage.patch.setenv("CLOUDSDK_CONFIG", str(stage.folder / "gcloud"))
    stage.patch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    return stage.broken(host=stage.server.api_endpoint, auth="google")


@situation("Google gives your login no token for the IAP client …")
def _(stage: Stage) -> str:
    keys = {"client_id": "desktop", "client_secret": "s", "refresh_token": "r"}
    return stage.signed_in_as({"type": "authorized_user", **keys})


@situation("You are not allowed to act as …")
def _(stage: Stage) -> str:
    stage.patch.setattr("kfgcp.services.auth.iap.google_tokens", lambda login: _Tokens())
    return stage.signed_in_as(
        {"type": "authorized_user"}, impersonate_service_account="ci@p.iam.gserviceaccount.com"
    )


class _Tokens:
    def get(self) -> Any:
        from kfgcp.services.auth.tokens import Token

        return Token("an-access-token")


@situation("The token file … cannot be read: …")
def _(stage: Stage) -> str:
    stage.patch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(stage.folder / "none"))
    return stage.broken(host=stage.server.api_endpoint, auth="in-cluster")


@situation("Kubeflow Pipelines did not answer …, but redirects to a sign-in at …")
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(HEALTH, b"", 302, Location="https://dex.example/dex/auth?client_id=kubeflow")
    return stage.with_token(server.api_endpoint)


@situation("… answered … with a web page, not with JSON: …")
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(
        "GET /apis/v2beta1/experiments",
        b"<html><title>Grafana</title></html>",
        Content_Type="text/html",
    )
    (stage.folder / "kfgcp.toml").write_text(
        f'[env.gke]\nbackend = "kubeflow"\nhost = "{server.api_endpoint}"\nauth = "anonymous"\n'
    )
    stage.patch.chdir(stage.folder)
    return stage.refused(stage.submit)


@situation("Kubeflow Pipelines did not accept the sign-in: …")
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(HEALTH, {"message": "there is no user identity header", "code": 16}, 401)
    return stage.with_token(server.api_endpoint)


@situation("… is not Kubeflow Pipelines: it has no apis/v2beta1/healthz.")
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(HEALTH, {"message": "Not Found"}, 404)
    return stage.with_token(server.api_endpoint)


@situation(
    "The server is Kubeflow Pipelines …, which has only the API v1beta1, but kfgcp needs version"
    " 2.0 or newer."
)
def _(stage: Stage) -> str:
    server = stage.server
    server.answer(HEALTH, {"message": "Not Found"}, 404)
    server.answer("GET /apis/v1beta1/healthz", {"tag_name": "1.8.5"})
    return stage.with_token(server.api_endpoint)


@situation("Task … Kubeflow Pipelines supports this since … This server is ….")
def _(stage: Stage) -> str:
    with kubeflow(mode="instant", version="2.5.0") as old_server:
        (stage.folder / "kfgcp.toml").write_text(old_server.toml("gke"))
        stage.patch.chdir(stage.folder)
        return stage.refused(
            lambda: stage.submit(stage.named("shapes"), params={"uri": "gs://b/x"})
        )


@situation("Component … is a custom job, which only Vertex AI runs.")
def _(stage: Stage) -> str:
    assert stage.stand_in
    document = yaml.safe_load(stage.pipeline.read_text())
    (executor,) = document["deploymentSpec"]["executors"].values()
    executor["customJob"] = {"customJob": {"spec": executor.pop("container")}}
    file = stage.folder / "custom.json"
    file.write_text(json.dumps(document))
    return stage.refused(lambda: stage.submit(file))


@situation("Environment 'gke' has no namespace, but the server is in multi-user mode.")
def _(stage: Stage) -> str:
    # The fixture `diagnose` uses the environment dev, the guide uses gke.
    return stage.with_token(stage.stand_in.host).replace("'dev'", "'gke'")


@situation("Kubeflow Pipelines refused …: … is not authorized … (403 PERMISSION_DENIED).")
def _(stage: Stage) -> str:
    return stage.with_token(stage.stand_in.host, namespace="finance")


@situation("Runs of gke are shown without values, metrics and artifacts: …")
def _(stage: Stage) -> str:
    stage.stand_in.faults(1, ["404"], path="*/ml_metadata.*")
    with pytest.warns(api.NotWhole) as warnings:
        stage.submit().wait(PROCESS)
    return str(warnings[0].message)


@situation("The parameters take … bytes (…); Kubeflow Pipelines takes at most 120,000.")
def _(stage: Stage) -> str:
    assert stage.stand_in
    return stage.refused(lambda: stage.submit(params={"text": "a" * 120_000}))


@situation("Kubeflow Pipelines accepts specs of schema 2.1.0, but this spec has schema …")
def _(stage: Stage) -> str:
    assert stage.stand_in
    file = stage.folder / "old.yaml"
    file.write_text(stage.pipeline.read_text().replace("2.1.0", "2.0.0"))
    return stage.refused(lambda: stage.submit(file))


@situation("The logs of pods on Kubeflow have no times and severities.")
def _(stage: Stage) -> str:
    assert stage.stand_in
    run = stage.submit().wait(PROCESS)
    return stage.refused(lambda: list(run.logs(since="5m")))


@situation("The log of … does not exist any more: …")
def _(stage: Stage) -> str:
    stage.stand_in.logs.kept = "gone"
    run = stage.submit().wait(PROCESS)
    return stage.refused(lambda: list(run.logs()))


@situation("… kfgcp does not know whether the run '…' was created.")
def _(stage: Stage) -> str:
    stage.stand_in.fail_next("lost", method="POST", path="*/runs")
    stage.stand_in.fail_next("403", method="GET", path="*/runs")
    with pytest.raises(BackendError) as caught:
        stage.submit()
    assert caught.value.hint.endswith("kfgcp list")
    return caught.value.message
