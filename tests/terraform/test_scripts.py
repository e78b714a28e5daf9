"""The scripts of gke-kubeflow: secrets.sh against a stand-in of gcloud, render.sh with what
Terraform puts out."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from json_types import JsonDict

MODULE = Path(__file__).parents[2] / "terraform" / "modules" / "gke-kubeflow"
GCLOUD = """\
#!/bin/sh
# Plays gcloud: keeps what is put into a secret as a file, and writes down how it was called.
echo "$@" >> "$STATE/calls"
case "$1 $2 $3" in
  "secrets versions list") [ ! -e "$STATE/$4" ] || echo 1 ;;
  "secrets versions add") cat > "$STATE/$4" ;;
  "sql users create")
    for word in "$@"; do case $word in --flags-file=*) file=${word#*=} ;; esac; done
    cp "$file" "$STATE/flags"
    ls -l "$file" > "$STATE/mode" ;;
  "storage hmac create") echo "GOOG1EXAMPLE secret+key/with=signs" ;;
esac
"""


@pytest.fixture
def gcloud(tmp_path: Path) -> Path:
    """A folder with a program `gcloud`; what it keeps lies in the folder `state` beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl on the PATH")
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    (folder / "gcloud").write_text(GCLOUD)
    (folder / "gcloud").chmod(0o755)
    return folder


@pytest.fixture
def secrets(gcloud: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(gcloud), os.environ["PATH"]])
        env = {"PATH": path, "STATE": str(gcloud.parent / "state"), **variables}
        return subprocess.run(
            ["sh", MODULE / "secrets.sh", *arguments], env=env, capture_output=True, text=True
        )

    return run


CLIENT = {"OAUTH_CLIENT_ID": "1-x", "OAUTH_CLIENT_SECRET": "very-secret"}
ARGUMENTS = (
    "acme-ml-dev",
    "kfgcp-kubeflow",
    "kfgcp-kfp-server@acme-ml-dev.iam.gserviceaccount.com",
)


def test_secrets_are_made_in_the_form_that_pods_read(
    secrets: Callable[..., subprocess.CompletedProcess[str]], gcloud: Path
) -> None:
    result = secrets(*ARGUMENTS, **CLIENT)

    state = gcloud.parent / "state"
    assert result.returncode == 0, result.stderr
    database = json.loads((state / "kfgcp-kubeflow-database").read_text())
    assert set(database) == {"username", "password"}
    assert database["username"] == "kubeflow"
    assert len(database["password"]) >= 40
    assert yaml.safe_load((state / "flags").read_text()) == {"--password": database["password"]}
    assert json.loads((state / "kfgcp-kubeflow-object-store").read_text()) == {
        "accesskey": "GOOG1EXAMPLE",
        "secretkey": "secret+key/with=signs",
    }
    assert json.loads((state / "kfgcp-kubeflow-oauth-client").read_text()) == {
        "client_id": "1-x",
        "client_secret": "very-secret",
    }


def test_no_secret_is_shown_or_is_an_argument(
    secrets: Callable[..., subprocess.CompletedProcess[str]], gcloud: Path
) -> None:
    result = secrets(*ARGUMENTS, **CLIENT)

    state = gcloud.parent / "state"
    password = json.loads((state / "kfgcp-kubeflow-database").read_text())["password"]
    for text in (result.stdout, result.stderr, (state / "calls").read_text()):
        assert password not in text
        assert "very-secret" not in text
        assert "secret+key" not in text
    assert (state / "mode").read_text().startswith("-rw-------")


def test_what_is_there_is_left_alone(
    secrets: Callable[..., subprocess.CompletedProcess[str]], gcloud: Path
) -> None:
    secrets(*ARGUMENTS)
    before = (gcloud.parent / "state" / "kfgcp-kubeflow-database").read_text()

    again = secrets(*ARGUMENTS)

    assert again.returncode == 0
    assert again.stdout.splitlines() == [
        "kfgcp-kubeflow-database: is there already",
        "kfgcp-kubeflow-object-store: is there already",
        (
            "kfgcp-kubeflow-oauth-client: left for later, OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET"
            " are not set"
        ),
    ]
    assert (gcloud.parent / "state" / "kfgcp-kubeflow-database").read_text() == before


def test_without_arguments_it_says_how_it_is_called(
    secrets: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = secrets("acme-ml-dev")

    assert (result.returncode, result.stdout) == (2, "")
    assert "secrets.sh PROJECT NAME ACCOUNT" in result.stderr


def test_the_overlay_is_rendered_with_what_terraform_puts_out(
    outputs: dict[str, JsonDict],
    overlay: Callable[..., Path],
    kustomize: Callable[[Path], list[JsonDict]],
) -> None:
    parameters = outputs["all_parts_and_two_teams"]["kubeflow_parameters"]["value"]
    folder = overlay()
    example = (folder / "params.env").read_text()

    rendering = subprocess.run(
        ["sh", folder / "render.sh"], input=parameters, capture_output=True, text=True
    )

    assert rendering.returncode == 0, rendering.stderr
    names = [line.partition("=")[0] for line in parameters.split()]
    assert sorted(names) == sorted(line.partition("=")[0] for line in example.split())
    rendered = {
        f"{manifest['kind']}/{manifest['metadata']['name']}": manifest
        for manifest in yaml.safe_load_all(rendering.stdout)
    }
    runner = rendered["ServiceAccount/pipeline-runner"]["metadata"]["annotations"]
    assert (
        runner["iam.gke.io/gcp-service-account"]
        == "kfgcp-kfp-runner@acme-ml-dev.iam.gserviceaccount.com"
    )
    assert (folder / "params.env").read_text() == example  # nothing of an environment is left there


def test_a_parameter_that_is_missing_is_named(
    overlay: Callable[..., Path], kustomize: Callable[[Path], list[JsonDict]]
) -> None:
    folder = overlay()
    lines = [
        line
        for line in (folder / "params.env").read_text().splitlines()
        if not line.startswith("bucket=")
    ]

    rendering = subprocess.run(
        ["sh", folder / "render.sh"], input="\n".join(lines), capture_output=True, text=True
    )

    assert (rendering.returncode, rendering.stdout) == (2, "")
    assert "there is no bucket in the parameters" in rendering.stderr
