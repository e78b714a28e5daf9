"""kfgcp.toml and environment variables: the values that are read, and the errors of wrong ones."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text, read_error
from kfgcp.backends.registry import load_project
from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.config import Environment
from kfgcp.errors import ConfigError, StateError
from kfgcp.settings import Setting


def test_without_a_file_there_is_the_environment_local(tmp_path: Path) -> None:
    project = load_project(tmp_path, {})

    assert (project.name, project.experiment, project.default_env) == (
        tmp_path.name,
        "default",
        "local",
    )
    assert (project.root, project.home, project.file) == (tmp_path, tmp_path / ".kfgcp", None)
    assert project.env() == Environment("local", "local", {})


def test_a_file_with_all_tables(tmp_path: Path) -> None:
    project = load_text(
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
    assert sorted(load_text(tmp_path, VERTEX).environments) == ["dev", "local"]


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
    assert load_text(tmp_path, VERTEX, KFGCP_ENV="dev").env().name == "dev"
    assert load_text(tmp_path, VERTEX, KFGCP_ENV="dev").env("local").name == "local"
    assert load_text(tmp_path, VERTEX, KFGCP_ENV="").env().name == "local"


def test_an_environment_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    project = load_text(tmp_path, VERTEX, KFGCP_ENV="dve")

    with pytest.raises(ConfigError) as caught:
        project.env()

    assert caught.value.message == "There is no environment 'dve' (kfgcp.toml)."
    assert (
        caught.value.hint == "Did you mean 'dev'? Environments: dev, local. To add this"
        " environment, write a table [env.dve]."
    )
    with pytest.raises(ConfigError, match=r"'dev' \(no kfgcp.toml was found\)"):
        load_project(tmp_path.parent / "elsewhere", {"KFGCP_ENV": "dev"}).env()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[projetc]\n",
            "kfgcp.toml: unknown key 'projetc'.",
            "Did you mean 'project'? Known keys: check, dashboard, env, image, include, pipeline,"
            " project, schedule.",
        ),
        (
            "zzz = 1\n",
            "kfgcp.toml: unknown key 'zzz'.",
            "Known keys: check, dashboard, env, image, include, pipeline, project, schedule.",
        ),
        (
            '[project]\nexperimnt = "x"\n',
            "kfgcp.toml [project]: unknown key 'experimnt'.",
            "Did you mean 'experiment'? Known keys: experiment, image_registry, metrics, name.",
        ),
        (
            '[env.local]\nbackend = "local"\nmax_paralel = 1\n',
            "kfgcp.toml [env.local]: unknown key 'max_paralel'.",
            (
                "Did you mean 'max_parallel'? Known keys: accelerators, backend,"
                " container_credentials, container_folders, container_network, executor, labels,"
                " max_parallel, pipeline_root, registry, request_seconds, s3_addressing,"
                " s3_endpoint, s3_region, secrets."
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
            '[env.local]\nbackend = "local"\nexecutor = "process"\n',
            "kfgcp.toml [env.local]: executor is 'process', which is not auto or docker.",
            'Write executor = "docker" to run all tasks in containers.',
        ),
        (
            '[project]\nimage_registry = "https://docker.acme.example/"\n',
            "kfgcp.toml [project]: image_registry is 'https://docker.acme.example/', which is not"
            " the beginning of the name of an image.",
            None,
        ),
        (
            "[image.tabular]\n",
            "kfgcp.toml: [image.tabular] has the name of an image of kfgcp.",
            "Choose another name. The images of kfgcp: base, gcp, tabular.",
        ),
        (
            "[image.components-base]\n",
            "kfgcp.toml: [image.components-base] has the name of an image of kfgcp.",
            "Choose another name. The images of kfgcp: base, gcp, tabular.",
        ),
        (
            "[image.Shop]\n",
            "kfgcp.toml: [image.Shop] has a name that no image can have.",
            "Use lower-case letters, digits, and single . _ - between them.",
        ),
        (
            '[image.shop]\ncontxt = "."\n',
            "kfgcp.toml [image.shop]: unknown key 'contxt'.",
            "Did you mean 'context'? Known keys: context, dockerfile.",
        ),
        (
            VERTEX.replace("gs://b", "bucket/runs"),
            "kfgcp.toml [env.dev]: pipeline_root is 'bucket/runs', not in Cloud Storage.",
            "Write gs://BUCKET/FOLDER.",
        ),
        (
            VERTEX + 'auth = "oauth"\n',
            "kfgcp.toml [env.dev]: auth is 'oauth', which is not a way to sign in.",
            "Set auth to one of: google, token-file, anonymous.",
        ),
    ],
)
def test_an_error_names_the_file_the_table_and_the_key(
    tmp_path: Path, text: str, message: str, hint: str | None
) -> None:
    actual_message, actual_hint = read_error(tmp_path, text)

    assert actual_message == message
    if hint is not None:
        assert actual_hint == hint


def test_the_error_of_invalid_toml_names_the_line(tmp_path: Path) -> None:
    message, hint = read_error(tmp_path, "[project]\nname = \n")

    assert message.startswith(f"{tmp_path / 'kfgcp.toml'} is not valid TOML: ")
    assert "line 2" in message
    assert hint == "Correct this line. A table or key may be in the file once."


def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_bytes(b'[project]\nname = "caf\xe9"\n')

    with pytest.raises(ConfigError, match=r"kfgcp\.toml cannot be read"):
        load_project(tmp_path, {})


def test_a_variable_overrides_the_file_and_is_its_origin(tmp_path: Path) -> None:
    project = load_text(
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
    project = load_text(tmp_path, "", KFGCP_ENV_LOCAL_CONTAINER_CREDENTIALS=text)

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
    assert read_error(tmp_path, "", **{f"KFGCP_ENV_LOCAL_{name}": value})[0] == message


def test_an_invalid_environment_is_an_error_for_its_users_only(tmp_path: Path) -> None:
    project = load_text(tmp_path, VERTEX + '[env.bad]\nbackend = "vertex"\nprojekt = "p"\n')

    assert sorted(project.environments) == ["dev", "local"]
    assert project.env("dev").get("project") == "p"
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"kfgcp\.toml \[env\.bad\]: unknown key 'projekt'"):
            project.env("bad")


def test_the_seconds_of_a_request(tmp_path: Path) -> None:
    project = load_text(
        tmp_path, f"{VERTEX}request_seconds = 30\n", KFGCP_ENV_DEV_REQUEST_SECONDS="600"
    )

    assert project.env("dev").request_seconds == 600
    assert project.env("dev").settings["request_seconds"].origin == (
        "environment variable KFGCP_ENV_DEV_REQUEST_SECONDS"
    )


@pytest.mark.parametrize("seconds", ["0", "-5", "86401"])
def test_seconds_of_a_request_out_of_range_are_an_error(tmp_path: Path, seconds: str) -> None:
    assert read_error(tmp_path, f"{VERTEX}request_seconds = {seconds}\n")[0] == (
        "kfgcp.toml [env.dev]: request_seconds must be from 1 to 86400."
    )


def test_settings_as_an_object_of_the_class_that_declares_them(tmp_path: Path) -> None:
    env = load_text(tmp_path, f'{VERTEX}reserved_ip_ranges = ["jobs"]\n').env("dev")

    settings = VertexSettings.of(env.settings)

    assert (settings.project, settings.location) == ("p", "l")
    assert settings.reserved_ip_ranges == ("jobs",)
    assert settings.request_seconds == 120


def test_a_shared_class_of_settings_leaves_out_the_keys_of_one_backend(tmp_path: Path) -> None:
    env = load_text(tmp_path, f'{VERTEX}service_account = "runner@p.iam"\n').env("dev")

    assert RemoteSettings.of(env.settings) == RemoteSettings(
        pipeline_root="gs://b", service_account="runner@p.iam"
    )
