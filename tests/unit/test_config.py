"""kfgcp.toml and the environment: what is taken from where, and what is refused with which
words."""

from pathlib import Path

import pytest

from kfgcp import config
from kfgcp.backends.registry import load_project
from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.bucket_settings import BucketSettings
from kfgcp.errors import ConfigError, StateError
from kfgcp.settings import Setting

VERTEX = '[env.dev]\nbackend = "vertex"\nproject = "p"\nlocation = "l"\npipeline_root = "gs://b"\n'


def _load(folder: Path, text: str, **environ: str) -> config.Project:
    (folder / "kfgcp.toml").write_text(text, encoding="utf-8")
    return load_project(folder, environ)


def _refused(folder: Path, text: str, **environ: str) -> tuple[str, str]:
    """Return the error and the hint of a file: of the file itself, or else of its first invalid
    environment."""
    try:
        project = _load(folder, text, **environ)
    except ConfigError as error:
        return error.message, error.hint
    error = next(iter(project.invalid_environments.values()))
    return error.message, error.hint


def test_without_a_file_there_is_the_environment_local(tmp_path: Path) -> None:
    project = load_project(tmp_path, {})

    assert (project.name, project.experiment, project.default_env) == (
        tmp_path.name,
        "default",
        "local",
    )
    assert (project.root, project.home, project.file) == (tmp_path, tmp_path / ".kfgcp", None)
    assert project.env() == config.Environment("local", "local", {})


def test_the_whole_of_a_file(tmp_path: Path) -> None:
    project = _load(
        tmp_path,
        """
        [project]
        name = "demo"
        experiment = "spring"

        [env.local]
        backend = "local"
        max_parallel = 3

        [env.dev]
        backend = "vertex"
        project = "acme"
        location = "europe-west4"
        pipeline_root = "gs://acme"
        labels = { team = "growth" }
        """,
    )

    assert (project.name, project.experiment, project.file) == (
        "demo",
        "spring",
        tmp_path / "kfgcp.toml",
    )
    assert sorted(project.environments) == ["dev", "local"]
    assert project.env("local").get("max_parallel") == 3
    dev = project.env("dev")
    assert (dev.name, dev.backend, dev.get("project"), dev.get("labels")) == (
        "dev",
        "vertex",
        "acme",
        {"team": "growth"},
    )
    assert dev.settings["project"] == Setting("acme", "kfgcp.toml [env.dev]")
    assert (dev.get("network"), dev.get("network", "none")) == (None, "none")


def test_the_environment_local_is_always_there(tmp_path: Path) -> None:
    assert sorted(_load(tmp_path, VERTEX).environments) == ["dev", "local"]


def test_the_file_is_found_in_a_parent_and_the_nearest_wins(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "kfgcp.toml").write_text('[project]\nname = "far"\n')

    far = load_project(below, {})
    (tmp_path / "a" / "kfgcp.toml").write_text('[project]\nname = "near"\n')
    near = load_project(below, {})

    assert (far.name, far.root, far.home) == ("far", tmp_path, tmp_path / ".kfgcp")
    assert (near.name, near.root) == ("near", tmp_path / "a")


def test_the_current_folder_is_where_the_search_starts(home: Path) -> None:
    assert load_project().root == home


def test_a_current_folder_that_was_removed_is_a_state_error(home: Path) -> None:
    home.rmdir()

    with pytest.raises(StateError, match="The current folder does not exist any more"):
        load_project()


def test_kfgcp_home_is_the_state_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/people/ada")

    assert load_project(tmp_path, {"KFGCP_HOME": "/state/x"}).home == Path("/state/x")
    assert load_project(tmp_path, {"KFGCP_HOME": "relative"}).home == home / "relative"
    assert load_project(tmp_path, {"KFGCP_HOME": "~/state"}).home == Path("/people/ada/state")
    assert load_project(tmp_path, {"KFGCP_HOME": ""}).home == tmp_path / ".kfgcp"


def test_a_kfgcp_home_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"KFGCP_HOME is '~no-such-user/x', but there is no such user"
    ):
        load_project(tmp_path, {"KFGCP_HOME": "~no-such-user/x"})


def test_kfgcp_env_chooses_the_default_environment(tmp_path: Path) -> None:
    assert _load(tmp_path, VERTEX, KFGCP_ENV="dev").env().name == "dev"
    assert _load(tmp_path, VERTEX, KFGCP_ENV="dev").env("local").name == "local"
    assert _load(tmp_path, VERTEX, KFGCP_ENV="").env().name == "local"


def test_an_environment_that_is_not_there(tmp_path: Path) -> None:
    project = _load(tmp_path, VERTEX, KFGCP_ENV="dve")

    with pytest.raises(ConfigError) as caught:
        project.env()

    assert caught.value.message == "There is no environment 'dve' (kfgcp.toml)."
    assert (
        caught.value.hint == "Did you mean 'dev'? Environments: dev, local. Add one as [env.dve]."
    )
    with pytest.raises(ConfigError, match=r"'dev' \(no kfgcp.toml was found\)"):
        load_project(tmp_path.parent / "elsewhere", {"KFGCP_ENV": "dev"}).env()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[projetc]\n",
            "kfgcp.toml: unknown key 'projetc'.",
            "Did you mean 'project'? Known keys: dashboard, env, include, project.",
        ),
        (
            "zzz = 1\n",
            "kfgcp.toml: unknown key 'zzz'.",
            "Known keys: dashboard, env, include, project.",
        ),
        (
            '[project]\nexperimnt = "x"\n',
            "kfgcp.toml [project]: unknown key 'experimnt'.",
            "Did you mean 'experiment'? Known keys: experiment, metrics, name.",
        ),
        (
            '[env.local]\nbackend = "local"\nmax_paralel = 1\n',
            "kfgcp.toml [env.local]: unknown key 'max_paralel'.",
            (
                "Did you mean 'max_parallel'? Known keys: backend, container_credentials, labels,"
                " max_parallel, pipeline_root, request_seconds, s3_addressing, s3_endpoint,"
                " s3_region."
            ),
        ),
        (
            '[env.local]\nbackend = "local"\nproject = "p"\n',
            "kfgcp.toml [env.local]: unknown key 'project'.",
            None,
        ),
        (
            '[env.x]\nbackend = "airflow"\n',
            "kfgcp.toml [env.x] has the unknown backend 'airflow'.",
            "backend is one of: local, vertex, kubeflow.",
        ),
        (
            "[env.x]\n",
            "kfgcp.toml [env.x] has no backend.",
            "backend is one of: local, vertex, kubeflow.",
        ),
        ("[env.x]\nbackend = 3\n", "kfgcp.toml [env.x] has the unknown backend '3'.", None),
        ("project = 1\n", "kfgcp.toml: project must be a table.", "Write [project]."),
        ("env = []\n", "kfgcp.toml: env must be a table.", "Write [env]."),
        ('[env]\ndev = "vertex"\n', "kfgcp.toml: env.dev must be a table.", "Write [env.dev]."),
        ("[project]\nname = 1\n", "kfgcp.toml [project]: name must be a text, not 1.", ""),
        (
            '[env.local]\nbackend = "local"\nmax_parallel = "4"\n',
            "kfgcp.toml [env.local]: max_parallel must be a whole number, not '4'.",
            "",
        ),
        (
            '[env.local]\nbackend = "local"\nmax_parallel = true\n',
            "kfgcp.toml [env.local]: max_parallel must be a whole number, not True.",
            "",
        ),
        (
            '[env.local]\nbackend = "local"\nlabels = "a"\n',
            "kfgcp.toml [env.local]: labels must be a table, not 'a'.",
            "",
        ),
        (
            '[env.local]\nbackend = "local"\nlabels = { n = 1 }\n',
            "kfgcp.toml [env.local]: the label n must be a text, not 1.",
            "",
        ),
        (
            '[env.local]\nbackend = "local"\ncontainer_credentials = 1\n',
            "kfgcp.toml [env.local]: container_credentials must be true or false, not 1.",
            None,
        ),
        (
            '[env.local]\nbackend = "local"\nmax_parallel = 0\n',
            "kfgcp.toml [env.local]: max_parallel must be at least 1.",
            "",
        ),
        (
            VERTEX.replace("gs://b", "bucket/runs"),
            "kfgcp.toml [env.dev]: pipeline_root is 'bucket/runs', not in Cloud Storage.",
            "Write gs://BUCKET/FOLDER.",
        ),
        (
            VERTEX + 'auth = "oauth"\n',
            "kfgcp.toml [env.dev]: auth is 'oauth'.",
            "auth is one of: google, token-file, anonymous.",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, text: str, message: str, hint: str | None
) -> None:
    said = _refused(tmp_path, text)

    assert said[0] == message
    if hint is not None:
        assert said[1] == hint


def test_a_file_that_is_no_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    message, hint = _refused(tmp_path, "[project]\nname = \n")

    assert message.startswith(f"{tmp_path / 'kfgcp.toml'} is not valid TOML: ")
    assert "line 2" in message
    assert "README.md" in hint


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_bytes(b'[project]\nname = "caf\xe9"\n')

    with pytest.raises(ConfigError, match=r"kfgcp\.toml cannot be read"):
        load_project(tmp_path, {})


def test_a_variable_wins_over_the_file_and_says_so(tmp_path: Path) -> None:
    project = _load(
        tmp_path,
        VERTEX.replace("env.dev", "env.my-dev"),
        KFGCP_ENV_MY_DEV_PROJECT="other",
        KFGCP_ENV_MY_DEV_LABELS="team=growth,area=a=b",
        KFGCP_ENV_LOCAL_MAX_PARALLEL="5",
    )

    dev = project.env("my-dev")
    assert dev.settings["project"] == Setting(
        "other", "environment variable KFGCP_ENV_MY_DEV_PROJECT"
    )
    assert dev.settings["location"].origin == "kfgcp.toml [env.my-dev]"
    assert dev.get("labels") == {"team": "growth", "area": "a=b"}
    assert project.env("local").get("max_parallel") == 5


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("True", True)])
def test_true_and_false_in_a_variable(tmp_path: Path, text: str, value: bool) -> None:
    project = _load(tmp_path, "", KFGCP_ENV_LOCAL_CONTAINER_CREDENTIALS=text)

    assert project.env("local").get("container_credentials") is value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "MAX_PARALLEL",
            "many",
            "environment variable KFGCP_ENV_LOCAL_MAX_PARALLEL is 'many', not a whole number.",
        ),
        ("LABELS", "team", "environment variable KFGCP_ENV_LOCAL_LABELS is 'team', not K=V,K=V."),
        (
            "CONTAINER_CREDENTIALS",
            "yes",
            (
                "environment variable KFGCP_ENV_LOCAL_CONTAINER_CREDENTIALS is 'yes', not true or"
                " false."
            ),
        ),
        ("MAX_PARALLEL", "-1", "kfgcp.toml [env.local]: max_parallel must be at least 1."),
    ],
)
def test_a_variable_of_the_wrong_type_is_refused(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert _refused(tmp_path, "", **{f"KFGCP_ENV_LOCAL_{name}": value})[0] == message


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
    project = _load(tmp_path, f'{VERTEX}api_endpoint = "{url}"\n')

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
    """No token leaves in clear, and no host but this machine is spoken to without one."""
    assert message in _refused(tmp_path, f"{VERTEX}{settings}\n")[0]


def test_hosts_of_kubeflow_follow_the_same_rules(tmp_path: Path) -> None:
    def text(host: str, more: str = "") -> str:
        return f'[env.gke]\nbackend = "kubeflow"\nhost = "{host}"\n{more}'

    anonymous = 'auth = "anonymous"\n'
    assert (
        _load(tmp_path, text("http://127.0.0.1:3000", anonymous)).env("gke").get("auth")
        == "anonymous"
    )
    assert (
        "loopback host only, not for kfp.example"
        in _refused(tmp_path, text("http://kfp.example"))[0]
    )
    assert (
        "loopback host only, not for kfp.example"
        in _refused(tmp_path, text("https://kfp.example", anonymous))[0]
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
def test_a_service_of_the_pods_own_cluster_may_be_spoken_to_in_clear(
    tmp_path: Path, host: str
) -> None:
    env = _load(tmp_path, f'{IN_CLUSTER}host = "{host}"\n').env("gke")

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
def test_other_tokens_and_other_hosts_are_not(tmp_path: Path, settings: str) -> None:
    message, hint = _refused(tmp_path, f'[env.gke]\nbackend = "kubeflow"\n{settings}\n')

    assert "plain http is allowed for a loopback " in message
    assert (
        hint
        == "A service of the pod's own cluster (*.svc, *.svc.cluster.local) may be used over http"
        ' with auth = "in-cluster".'
    )


def test_a_variable_cannot_go_round_the_rules(tmp_path: Path) -> None:
    said = _refused(tmp_path, VERTEX, KFGCP_ENV_DEV_API_ENDPOINT="http://evil.example")

    assert "plain http is allowed for a loopback api_endpoint only, not for evil.example" in said[0]


@pytest.mark.parametrize("backend", ["vertex", "kubeflow"])
def test_a_remote_environment_may_act_as_a_service_account(tmp_path: Path, backend: str) -> None:
    account = "runner@p.iam.gserviceaccount.com"
    text = f'[env.x]\nbackend = "{backend}"\nimpersonate_service_account = "{account}"\n'

    assert _load(tmp_path, text).env("x").get("impersonate_service_account") == account
    assert (
        "unknown key"
        in _refused(tmp_path, f'[env.local]\n{text.splitlines()[2]}\nbackend = "local"\n')[0]
    )


KUBEFLOW = '[env.gke]\nbackend = "kubeflow"\n'


def test_the_keys_of_a_cluster_of_ones_own(tmp_path: Path) -> None:
    settings = {
        "host": "https://kfp.example",
        "namespace": "growth",
        "auth": "iap",
        "iap_client_id": "c",
        "ca_file": "ca.pem",
        "kube_context": "prod",
        "kube_namespace": "ml",
        "kube_service": "ml-pipeline",
    }
    env = _load(
        tmp_path, KUBEFLOW + "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    ).env("gke")

    assert {key: env.get(key) for key in settings} == settings
    for key in ("ca_file", "kube_context", "kube_namespace", "kube_service"):
        assert "unknown key" in _refused(tmp_path, f'{VERTEX}{key} = "x"\n')[0]


def test_kubectl_makes_the_address(tmp_path: Path) -> None:
    env = _load(tmp_path, KUBEFLOW + 'auth = "port-forward"\n').env("gke")

    assert env.missing == ()
    assert _load(tmp_path, KUBEFLOW).env("gke").missing == ("host",)
    message, hint = _refused(
        tmp_path, KUBEFLOW + 'auth = "port-forward"\nhost = "http://127.0.0.1:1"\n'
    )
    assert (
        message
        == 'kfgcp.toml [env.gke]: host must not be set, because auth = "port-forward" sets the'
        " address."
    )
    assert hint == "Remove host, or forward the port yourself and set auth to anonymous."


@pytest.mark.parametrize("auth", ["iap", "in-cluster", "port-forward"])
def test_ways_that_only_a_cluster_of_ones_own_has(tmp_path: Path, auth: str) -> None:
    assert _refused(tmp_path, f'{VERTEX}auth = "{auth}"\n') == (
        f"kfgcp.toml [env.dev]: auth is '{auth}'.",
        "auth is one of: google, token-file, anonymous.",
    )


def test_an_invalid_environment_is_an_error_for_its_users_only(tmp_path: Path) -> None:
    project = _load(tmp_path, VERTEX + '[env.bad]\nbackend = "vertex"\nprojekt = "p"\n')

    assert sorted(project.environments) == ["dev", "local"]
    assert project.env("dev").get("project") == "p"
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"kfgcp\.toml \[env\.bad\]: unknown key 'projekt'"):
            project.env("bad")


# -- include


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_included_files_belong_to_the_project(tmp_path: Path) -> None:
    _write(
        tmp_path,
        kfgcp='include = ["kfgcp.d/*.toml"]\n[project]\nname = "demo"\n',
    )
    (tmp_path / "kfgcp.d").mkdir()
    _write(tmp_path / "kfgcp.d", dev=VERTEX, names='[project]\nexperiment = "spring"\n')

    project = load_project(tmp_path, {})

    assert (project.name, project.experiment) == ("demo", "spring")
    assert sorted(project.environments) == ["dev", "local"]
    assert project.env("dev").settings["project"] == Setting("p", "kfgcp.d/dev.toml [env.dev]")


@pytest.mark.parametrize(
    ("include", "included", "message"),
    [
        ('["more.toml"]', None, "kfgcp.toml: the included file more.toml does not exist."),
        ('"more.toml"', "", "kfgcp.toml: include must be a list of patterns, not 'more.toml'."),
        (
            '["/etc/*.toml"]',
            "",
            "kfgcp.toml: include has '/etc/*.toml', which is not below the folder of kfgcp.toml.",
        ),
        (
            '["../*.toml"]',
            "",
            "kfgcp.toml: include has '../*.toml', which is not below the folder of kfgcp.toml.",
        ),
        ('[""]', "", "kfgcp.toml: include has '', which is not below the folder of kfgcp.toml."),
        (
            '["a**.toml"]',
            "",
            "kfgcp.toml: include has 'a**.toml', which is not a pattern of files.",
        ),
        ('["."]', "", "kfgcp.toml: include has '.', which is not a pattern of files."),
        (
            '["more.toml"]',
            'include = ["x.toml"]\n',
            "more.toml: only kfgcp.toml itself may have the key include.",
        ),
        (
            '["more.toml"]',
            '[project]\nname = "b"\n',
            "more.toml: name of [project] is also in another file.",
        ),
        (
            '["more.toml"]',
            "[project]\nexperiment = 1\n",
            "more.toml [project]: experiment must be a text, not 1.",
        ),
        ('["more.toml"]', "[dashboard]\nalow = []\n", "more.toml [dashboard]: unknown key 'alow'."),
        ('["more.toml"]', "[env.dev]\n", "more.toml: [env.dev] is also in kfgcp.toml."),
        ('["more.toml"]', "[projetc]\n", "more.toml: unknown key 'projetc'."),
        ('["more.toml"]', "env = 1\n", "more.toml: env must be a table."),
        ('["more.toml"]', "[env.x]\n", "more.toml [env.x] has no backend."),
    ],
)
def test_an_included_file_that_is_wrong_is_named(
    tmp_path: Path, include: str, included: str | None, message: str
) -> None:
    if included is not None:
        (tmp_path / "more.toml").write_text(included)

    assert _refused(tmp_path, f'include = {include}\n[project]\nname = "a"\n{VERTEX}')[0] == message


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_text('include = ["more.toml"]\n', encoding="utf-8-sig")
    (tmp_path / "more.toml").write_text(VERTEX, encoding="utf-8-sig")

    assert load_project(tmp_path, {}).env("dev").get("project") == "p"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("/srv/*.py", "is not below the folder of kfgcp.toml."),
        ("../*.py", "is not below the folder of kfgcp.toml."),
        ("", "is not below the folder of kfgcp.toml."),
        ("a**.py", "is not a pattern of files."),
        (".", "is not a pattern of files."),
    ],
)
def test_patterns_of_pipelines_are_below_the_folder_of_the_file(
    tmp_path: Path, pattern: str, problem: str
) -> None:
    message, hint = _refused(tmp_path, f'[dashboard]\npipelines = ["*.py", "{pattern}"]\n')

    assert message == f"kfgcp.toml [dashboard]: pipelines has {pattern!r}, which {problem}"
    assert "pipelines/*.py" in hint


def test_a_pattern_may_match_nothing_and_never_the_file_itself(tmp_path: Path) -> None:
    assert (
        _load(tmp_path, f'include = ["kfgcp.d/*.toml", "*.toml"]\n{VERTEX}').env("dev").name
        == "dev"
    )


def test_the_table_of_the_dashboard(tmp_path: Path) -> None:
    project = _load(
        tmp_path,
        '[dashboard]\nallow = ["*@acme.example"]\nread_only = false\nsync_seconds = 60\nsync ='
        ' ["local"]\n',
        KFGCP_DASHBOARD_READ_ONLY="true",
        KFGCP_DASHBOARD_IAP_AUDIENCE="/projects/1/apps/x",
        KFGCP_DASHBOARD_HOST_NAMES="dash.acme.example, localhost:9000",
    )

    assert {key: setting.value for key, setting in project.dashboard.items()} == {
        "allow": ["*@acme.example"],
        "read_only": True,
        "sync_seconds": 60,
        "sync": ["local"],
        "iap_audience": "/projects/1/apps/x",
        "host_names": ["dash.acme.example", "localhost:9000"],
    }
    assert project.dashboard["read_only"].origin == "environment variable KFGCP_DASHBOARD_READ_ONLY"
    assert project.dashboard["allow"].origin == "kfgcp.toml [dashboard]"
    assert _load(tmp_path, "").dashboard == {}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("alow = []", "unknown key 'alow'.", "Did you mean 'allow'?"),
        ('allow = "x"', "allow must be a list, not 'x'.", ""),
        ("allow = [7]", "allow contains 7, which is not a text.", ""),
        ("host_names = [7]", "host_names contains 7, which is not a text.", ""),
        (
            'host_names = ["https://dash.acme.example"]',
            "host_names has 'https://dash.acme.example'",
            "without http://",
        ),
        (
            'host_names = ["*.acme.example"]',
            "host_names has '*.acme.example', which is not a host name.",
            "",
        ),
        (
            'sync = ["locl"]',
            "sync names the environment 'locl', which does not exist.",
            "Did you mean 'local'?",
        ),
        ("sync_seconds = 0", "sync_seconds must be at least 1.", ""),
        (
            'iap_keys_url = "http://a.example"',
            "plain http is allowed only for an iap_keys_url on this machine",
            "",
        ),
    ],
)
def test_what_is_wrong_with_the_table_of_the_dashboard(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    said = _refused(tmp_path, f"[dashboard]\n{text}\n")

    assert said[0].startswith(f"kfgcp.toml [dashboard]: {message}")
    assert hint in said[1]


def test_the_seconds_of_a_request(tmp_path: Path) -> None:
    project = _load(
        tmp_path, f"{VERTEX}request_seconds = 30\n", KFGCP_ENV_DEV_REQUEST_SECONDS="600"
    )

    assert project.env("dev").request_seconds == 600
    assert project.env("dev").settings["request_seconds"].origin == (
        "environment variable KFGCP_ENV_DEV_REQUEST_SECONDS"
    )


@pytest.mark.parametrize("seconds", ["0", "-5", "86401"])
def test_seconds_of_a_request_that_make_no_sense(tmp_path: Path, seconds: str) -> None:
    assert _refused(tmp_path, f"{VERTEX}request_seconds = {seconds}\n")[0] == (
        "kfgcp.toml [env.dev]: request_seconds must be from 1 to 86400."
    )


MINIO = """[env.local]
backend = "local"
s3_endpoint = "https://minio.acme.example:9000"
s3_region = "eu-central-1"
s3_addressing = "virtual"
request_seconds = 30
"""


def test_the_object_store_of_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins over the variables that boto3 reads; those of kfgcp win over the file."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")

    settings = BucketSettings.of_environment(_load(tmp_path, MINIO).env("local"))
    assert settings == BucketSettings(
        "https://minio.acme.example:9000", "eu-central-1", "virtual", 30.0
    )
    assert settings.endpoint == "https://minio.acme.example:9000"
    variable = "KFGCP_ENV_LOCAL_S3_ENDPOINT"
    other = _load(tmp_path, MINIO, **{variable: "http://minio.kubeflow.svc:9000"}).env("local")
    assert BucketSettings.of_environment(other).endpoint == "http://minio.kubeflow.svc:9000"
    assert BucketSettings().endpoint == "http://127.0.0.1:1"
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert BucketSettings().endpoint == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    "backend", [VERTEX, '[env.dev]\nbackend = "kubeflow"\nhost = "https://kfp.acme.example"\n']
)
def test_every_backend_has_the_object_store(tmp_path: Path, backend: str) -> None:
    env = _load(tmp_path, f'{backend}s3_endpoint = "http://localhost:9000"\n').env("dev")

    assert BucketSettings.of_environment(env).endpoint == "http://localhost:9000"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            's3_endpoint = "minio:9000"',
            "s3_endpoint is 'minio:9000', not a URL.",
            "Write https://HOST",
        ),
        (
            's3_endpoint = "http://minio.acme.example"',
            (
                "plain http is allowed for an s3_endpoint on this machine or inside a cluster only,"
                " not for minio.acme.example."
            ),
            (
                "Write https://, or a name of the cluster's own DNS, which ends in .svc or"
                " .svc.cluster.local."
            ),
        ),
        (
            's3_endpoint = "https://key:secret@minio.acme.example"',
            "s3_endpoint must not have a user name or password.",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        ),
        (
            's3_addressing = "host"',
            "s3_addressing must be one of path, virtual, not 'host'.",
            "See docs/guides/buckets.md.",
        ),
        ("s3_region = 1", "s3_region must be a text, not 1.", ""),
        ('s3_secret_key = "x"', "unknown key 's3_secret_key'.", "s3_region"),
    ],
)
def test_what_is_wrong_with_the_object_store(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    said = _refused(tmp_path, f'[env.local]\nbackend = "local"\n{line}\n')

    assert said[0] == f"kfgcp.toml [env.local]: {message}"
    assert hint in said[1]


def test_settings_as_an_object_of_the_class_that_declares_them(tmp_path: Path) -> None:
    env = _load(tmp_path, f'{VERTEX}reserved_ip_ranges = ["jobs"]\n').env("dev")

    settings = VertexSettings.of(env.settings)

    assert (settings.project, settings.location) == ("p", "l")
    assert settings.reserved_ip_ranges == ("jobs",)
    assert settings.request_seconds == 120


def test_a_shared_class_of_settings_leaves_out_the_keys_of_one_backend(tmp_path: Path) -> None:
    env = _load(tmp_path, f'{VERTEX}service_account = "runner@p.iam"\n').env("dev")

    assert RemoteSettings.of(env.settings) == RemoteSettings(
        pipeline_root="gs://b", service_account="runner@p.iam"
    )
