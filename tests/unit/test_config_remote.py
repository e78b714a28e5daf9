"""The addresses and the ways to sign in that a remote environment may have."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text, read_error


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://localhost:1",
        "http://[::1]:2/x",
        "https://kfp.example",
        "http://LOCALHOST",
    ],
)
def test_addresses_that_are_allowed(tmp_path: Path, url: str) -> None:
    project = load_text(tmp_path, f'{VERTEX}api_endpoint = "{url}"\n')

    assert project.env("dev").get("api_endpoint") == url


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            'api_endpoint = "http://kfp.example:8080"',
            "plain http is allowed for a loopback api_endpoint only",
        ),
        ('api_endpoint = "http://localhost.evil.example"', "plain http is allowed for a loopback"),
        ('api_endpoint = "http://127.0.0.1@evil.example"', "plain http is allowed for a loopback"),
        ('api_endpoint = "HTTP://evil.example"', "plain http is allowed for a loopback"),
        (
            'auth = "anonymous"\napi_endpoint = "https://kfp.example"',
            'auth = "anonymous" is allowed for a loopback api_endpoint only, not for kfp.example',
        ),
        ('auth = "anonymous"', 'auth = "anonymous" is allowed for a loopback api_endpoint only'),
        (
            'auth = "anonymous"\napi_endpoint = "kfp.example"',
            "api_endpoint is 'kfp.example', not a URL",
        ),
        ('api_endpoint = "kfp.example:8080"', "not a URL"),
        ('api_endpoint = "http://[::1"', "not a URL"),
        ('api_endpoint = ""', "not a URL"),
        ('api_endpoint = "ftp://127.0.0.1"', "not a URL"),
    ],
)
def test_credentials_stay_at_home(tmp_path: Path, settings: str, message: str) -> None:
    """No token is sent over plain http, and only this machine gets requests without a token."""
    assert message in read_error(tmp_path, f"{VERTEX}{settings}\n")[0]


def test_hosts_of_kubeflow_follow_the_same_rules(tmp_path: Path) -> None:
    def text(host: str, other_lines: str = "") -> str:
        return f'[env.gke]\nbackend = "kubeflow"\nhost = "{host}"\n{other_lines}'

    anonymous = 'auth = "anonymous"\n'
    assert (
        load_text(tmp_path, text("http://127.0.0.1:3000", anonymous)).env("gke").get("auth")
        == "anonymous"
    )
    assert (
        "loopback host only, not for kfp.example"
        in read_error(tmp_path, text("http://kfp.example"))[0]
    )
    assert (
        "loopback host only, not for kfp.example"
        in read_error(tmp_path, text("https://kfp.example", anonymous))[0]
    )


IN_CLUSTER = '[env.gke]\nbackend = "kubeflow"\nauth = "in-cluster"\n'


@pytest.mark.parametrize(
    "host",
    [
        "http://ml-pipeline-ui.kubeflow.svc",
        "http://ml-pipeline.kubeflow.svc.cluster.local:8888",
        "https://kfp.example",
        "http://127.0.0.1:3000",
    ],
)
def test_a_service_in_the_cluster_of_the_pod_may_have_plain_http(tmp_path: Path, host: str) -> None:
    env = load_text(tmp_path, f'{IN_CLUSTER}host = "{host}"\n').env("gke")

    assert env.get("host") == host
    assert env.missing == (), "there is a usual one"


@pytest.mark.parametrize(
    "settings",
    [
        'auth = "in-cluster"\nhost = "http://kfp.example"',
        'auth = "in-cluster"\nhost = "http://ml-pipeline.kubeflow.svc.evil.example"',
        'auth = "in-cluster"\nhost = "http://evil-svc"',
        'auth = "in-cluster"\napi_endpoint = "http://ml-pipeline.kubeflow.svc:8888"',
        'auth = "google"\nhost = "http://ml-pipeline.kubeflow.svc:8888"',
        'host = "http://ml-pipeline.kubeflow.svc:8888"',
        'auth = "token-file"\nhost = "http://ml-pipeline.kubeflow.svc:8888"',
        'auth = "anonymous"\nhost = "http://ml-pipeline.kubeflow.svc:8888"',
    ],
)
def test_other_tokens_and_hosts_may_not_have_plain_http(tmp_path: Path, settings: str) -> None:
    message, hint = read_error(tmp_path, f'[env.gke]\nbackend = "kubeflow"\n{settings}\n')

    assert "plain http is allowed for a loopback " in message
    assert (
        hint
        == "A service of the pod's own cluster (*.svc, *.svc.cluster.local) may be used over http"
        ' with auth = "in-cluster".'
    )


def test_the_rules_apply_to_values_of_variables_too(tmp_path: Path) -> None:
    message, _ = read_error(tmp_path, VERTEX, KFGCP_ENV_DEV_API_ENDPOINT="http://evil.example")

    assert "plain http is allowed for a loopback api_endpoint only, not for evil.example" in message


@pytest.mark.parametrize("backend", ["vertex", "kubeflow"])
def test_a_remote_environment_may_act_as_a_service_account(tmp_path: Path, backend: str) -> None:
    account = "runner@p.iam.gserviceaccount.com"
    text = f'[env.x]\nbackend = "{backend}"\nimpersonate_service_account = "{account}"\n'

    assert load_text(tmp_path, text).env("x").get("impersonate_service_account") == account
    assert (
        "unknown key"
        in read_error(tmp_path, f'[env.local]\n{text.splitlines()[2]}\nbackend = "local"\n')[0]
    )


KUBEFLOW = '[env.gke]\nbackend = "kubeflow"\n'


def test_the_keys_of_kubeflow(tmp_path: Path) -> None:
    settings = {
        "host": "https://kfp.example",
        "namespace": "growth",
        "auth": "iap",
        "iap_client_id": "c",
        "ca_file": "ca.pem",
        "kube_context": "prod",
        "kube_namespace": "ml",
        "kube_service": "ml-pipeline",
        "schedule_time_zone": "Europe/Berlin",
    }
    env = load_text(
        tmp_path, KUBEFLOW + "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    ).env("gke")

    assert {key: env.get(key) for key in settings} == settings
    for key in ("ca_file", "kube_context", "kube_namespace", "kube_service", "schedule_time_zone"):
        assert "unknown key" in read_error(tmp_path, f'{VERTEX}{key} = "x"\n')[0]


def test_a_zone_of_schedules_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    keys = 'host = "https://kfp.example"\nschedule_time_zone = "Europe/Berln"\n'

    message, hint = read_error(tmp_path, KUBEFLOW + keys)

    assert "schedule_time_zone: The time zone 'Europe/Berln' does not exist." in message
    assert "Europe/Berlin" in hint


def test_port_forward_needs_no_host(tmp_path: Path) -> None:
    env = load_text(tmp_path, KUBEFLOW + 'auth = "port-forward"\n').env("gke")

    assert env.missing == ()
    assert load_text(tmp_path, KUBEFLOW).env("gke").missing == ("host",)
    message, hint = read_error(
        tmp_path, KUBEFLOW + 'auth = "port-forward"\nhost = "http://127.0.0.1:1"\n'
    )
    assert (
        message
        == 'kfgcp.toml [env.gke]: host must not be set, because auth = "port-forward" sets the'
        " address."
    )
    assert hint == "Remove host, or forward the port yourself and set auth to anonymous."


@pytest.mark.parametrize("auth", ["iap", "in-cluster", "port-forward"])
def test_vertex_refuses_the_sign_ins_of_kubeflow(tmp_path: Path, auth: str) -> None:
    assert read_error(tmp_path, f'{VERTEX}auth = "{auth}"\n') == (
        f"kfgcp.toml [env.dev]: auth is '{auth}', which is not a way to sign in.",
        "Set auth to one of: google, token-file, anonymous.",
    )
