"""`auth = "port-forward"` at the real command line: what kubectl says is wrong, and what to do
about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.testing import KubeflowStandIn
from kfgcp_command import Command
from patience import WaitFor
from service_fixtures import Kubectl

TARGET = "svc/ml-pipeline-ui in the namespace kubeflow"


@pytest.fixture
def gke(home: Path, kubectl: Kubectl) -> Kubectl:
    """The project's only environment, which kubectl leads to; the fake one."""
    (home / "kfgcp.toml").write_text(
        '[env.cloud]\nbackend = "kubeflow"\nauth = "port-forward"\nkube_context = "prod"\n'
    )
    return kubectl


@pytest.mark.parametrize(
    ("says", "mend"),
    [
        ('error: context "prod" does not exist', "kubectl config get-contexts"),
        (
            (
                "The connection to the server localhost:8080 was refused - did you specify the"
                " right host or port?"
            ),
            "gcloud container clusters get-credentials",
        ),
        (
            (
                'error: error loading config file "/home/me/.kube/config": yaml: line 3: mapping'
                " values are not allowed"
            ),
            "set KUBECONFIG to another file",
        ),
        ("error: invalid configuration: no configuration has been provided", "KUBECONFIG"),
        ('Error from server (NotFound): services "ml-pipeline-ui" not found', "kube_service"),
        ('Error from server (NotFound): namespaces "kubeflow" not found', "kube_namespace"),
        (
            (
                'Error from server (Forbidden): pods "x" is forbidden: "ada" cannot create resource'
                ' "pods/portforward"'
            ),
            "pods/portforward",
        ),
        ("error: You must be logged in to the server (Unauthorized)", "gcloud auth login"),
        (
            (
                "Unable to connect to the server: getting credentials: exec: executable"
                " gke-gcloud-auth-plugin not found"
            ),
            "gke-gcloud-auth-plugin",
        ),
    ],
)
def test_the_message_of_kubectl_is_shown_once_with_a_hint(
    gke: Kubectl,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
    says: str,
    mend: str,
) -> None:
    error, hint = fails(5, "run", pipeline("echo"), env={"FAKE_SAYS": says})

    assert error == f"kubectl cannot forward a port to {TARGET}: {says}."
    assert mend in hint
    assert len(gke.calls) == 1, "another try cannot succeed"
    nothing_was_started()


def test_what_may_pass_is_tried_again(gke: Kubectl, fails: Callable[..., tuple[str, str]]) -> None:
    says = "Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout"

    error, hint = fails(5, "list", "--env", "cloud", env={"FAKE_SAYS": says})

    assert error.startswith(f"kubectl cannot forward a port to {TARGET}: {says}. Tried 3 times")
    assert hint.startswith(
        "To see the output of kubectl: kubectl --context prod port-forward -n kubeflow"
        " svc/ml-pipeline-ui "
    )


def test_without_kubectl(
    gke: Kubectl,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    error, hint = fails(5, "run", pipeline("echo"), env={"PATH": str(tmp_path)})

    assert error == 'auth = "port-forward" needs kubectl, which is not on the PATH.'
    assert "gcloud components install kubectl" in hint
    nothing_was_started()


def test_a_run_goes_through_kubectl_and_none_is_left(
    cluster: KubeflowStandIn,
    gke: Kubectl,
    kfgcp: Command,
    pipeline: Callable[[str], Path],
    eventually: WaitFor,
) -> None:
    env = {"FAKE_TARGET": cluster.host.rpartition(":")[2], "KFGCP_ENV": "cloud"}

    done = kfgcp("run", pipeline("echo"), "--json", env=env)

    assert done.code == 0, done.err
    assert done.json["state"] == "SUCCEEDED"
    assert len(gke.calls) == 1
    eventually(lambda: gke.alive == [])


@pytest.mark.parametrize("word", ["die", "lose"])
def test_a_run_is_watched_through_the_loss_of_its_pod(
    cluster: KubeflowStandIn,
    gke: Kubectl,
    kfgcp: Command,
    pipeline: Callable[[str], Path],
    eventually: WaitFor,
    word: str,
) -> None:
    """The pod behind the forwarded port goes away twice while the run goes on."""
    cluster.instant.seconds = 86400
    env = {"FAKE_TARGET": cluster.host.rpartition(":")[2], "KFGCP_ENV": "cloud"}
    process = kfgcp.start("run", pipeline("echo"), "--json", env=env)
    eventually(lambda: cluster.requests.count("GET", "*/runs/*"))

    for number in (1, 2):
        gke.tell(word)
        mark = len(cluster.requests)
        eventually(lambda: len(gke.calls) > number)  # noqa: B023
        eventually(lambda: cluster.requests.count("GET", "*/runs/*", since=mark))  # noqa: B023
    cluster.finish_runs()

    done = kfgcp.end(process)
    assert (done.code, done.json["state"]) == (0, "SUCCEEDED"), done.err
    assert "Traceback" not in done.err
    eventually(lambda: gke.alive == [])
