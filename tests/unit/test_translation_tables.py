"""Entries of `accelerators` and `secrets` that are not valid are refused with what to do."""

from pathlib import Path

import pytest

from kfgcp.backends.registry import load_project
from kfgcp.config import Environment
from kfgcp.errors import ConfigError
from kfgcp.translation_tables import requested_secret

VERTEX = 'project = "acme"\nlocation = "europe-west4"\npipeline_root = "gs://acme"\n'
BACKENDS = {
    "kubeflow": 'backend = "kubeflow"\nhost = "https://kfp.acme.example"\n',
    "vertex": f'backend = "vertex"\n{VERTEX}',
    "local": 'backend = "local"\n',
}


def load(folder: Path, table: str, line: str, backend: str = "kubeflow") -> Environment:
    text = f"[env.x]\n{BACKENDS[backend]}[env.x.{table}]\n{line}\n"
    (folder / "kfgcp.toml").write_text(text)
    return load_project(folder, {}).env("x")


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("accelerators", "T4 = 1", "accelerators.T4 must be a table, not 1."),
        (
            "accelerators",
            'T4 = { resourse = "nvidia.com/gpu" }',
            "accelerators.T4: unknown key 'resourse'.",
        ),
        (
            "accelerators",
            "T4 = { node_selector = { } }",
            "accelerators.T4 needs one of the keys `resource` (for Kubernetes) and `machine` (for"
            " Vertex AI).",
        ),
        (
            "accelerators",
            'T4 = { resource = "gpu" }',
            "accelerators.T4: resource must be a resource of Kubernetes, such as nvidia.com/gpu,"
            " not 'gpu'.",
        ),
        (
            "accelerators",
            'T4 = { machine = "nvidia.com/gpu" }',
            "accelerators.T4: machine must be an AcceleratorType of Vertex AI, such as NVIDIA_L4,"
            " not 'nvidia.com/gpu'.",
        ),
        (
            "accelerators",
            "T4 = { resource = 1 }",
            "accelerators.T4: resource must be a text that is not empty, not 1.",
        ),
        (
            "accelerators",
            'T4 = { resource = "nvidia.com/gpu", node_selector = { a = 1 } }',
            "accelerators.T4: node_selector must be a table of texts, not {'a': 1}.",
        ),
        (
            "accelerators",
            'T4 = { resource = "nvidia.com/gpu", tolerations = { key = "a" } }',
            "accelerators.T4: tolerations must be a list of tables, not {'key': 'a'}.",
        ),
        (
            "accelerators",
            'T4 = { resource = "nvidia.com/gpu", tolerations = [{ kee = "a" }] }',
            "accelerators.T4: tolerations: unknown key 'kee'.",
        ),
        (
            "accelerators",
            'T4 = { resource = "nvidia.com/gpu", tolerations = [{ toleration_seconds = true }] }',
            "accelerators.T4: toleration_seconds of a toleration must be a whole number, not True.",
        ),
        (
            "accelerators",
            'T4 = { resource = "a.com/b" }\nt = { resource = "a.com/c", machine = "T4" }',
            "accelerators.T4 and accelerators.t both translate T4.",
        ),
        ("secrets", 'DB = "x"', "secrets.DB must be a table, not 'x'."),
        ("secrets", "DB = { }", "secrets.DB does not say where the secret is stored."),
        ("secrets", 'DB = { secret = "db" }', "secrets.DB: the key key is missing."),
        ("secrets", 'DB = { key = "password" }', "secrets.DB: the key secret is missing."),
        ("secrets", 'DB = { vriable = "X" }', "secrets.DB: unknown key 'vriable'."),
        (
            "secrets",
            '"a b" = { variable = "X" }',
            "secrets.a b: the name of a secret may have only letters, digits, _ and -.",
        ),
        (
            "secrets",
            'DB = { secret_manager = "db" }',
            "secrets.DB: secret_manager must be the name of a secret version, not 'db'.",
        ),
        (
            "secrets",
            'DB = { variable = "X", file = "y" }',
            "secrets.DB has the keys variable and file, but only one of them is allowed.",
        ),
        (
            "secrets",
            'A = { secret = "db", key = "k" }\nB = { secret = "db", key = "k" }',
            "secrets.A and secrets.B are the same key of the Kubernetes secret db.",
        ),
    ],
)
def test_an_entry_that_is_not_valid_is_refused(
    tmp_path: Path, table: str, line: str, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, table, line)

    assert raised.value.message == f"kfgcp.toml [env.x]: {message}"
    assert raised.value.hint or "not empty" in message


def test_a_wrong_key_names_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, "accelerators", 'T4 = { resourse = "nvidia.com/gpu" }')

    assert raised.value.hint.startswith("Did you mean 'resource'? Known keys: machine,")


def test_two_entries_of_the_same_nodes_are_refused_for_vertex_only(tmp_path: Path) -> None:
    lines = 'A = { resource = "nvidia.com/gpu" }\nB = { resource = "nvidia.com/gpu" }'

    with pytest.raises(ConfigError, match=r"both translate nvidia\.com/gpu with the same"):
        load(tmp_path, "accelerators", lines, "vertex")

    tables = load(tmp_path, "accelerators", lines).declaration
    assert tables is not None


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_entry_may_stand_in_every_environment(tmp_path: Path, backend: str) -> None:
    line = (
        'DB = { secret = "db", key = "k", variable = "DB",'
        ' secret_manager = "projects/p/locations/europe-west4/secrets/db/versions/latest" }'
    )

    env = load(tmp_path, "secrets", line, backend)

    settings = env.declaration.of(env.settings)
    assert settings.tables.secrets["DB"].is_known(settings.form)


def test_the_environment_of_every_project_needs_no_backend_for_its_tables(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_text('[env.local.secrets]\nDB = { variable = "DB" }\n')

    env = load_project(tmp_path, {}).env("local")

    assert env.backend == "local"
    assert env.declaration.of(env.settings).tables.secrets["DB"].variable == "DB"


def test_a_variable_of_the_environment_cannot_hold_a_table_of_tables(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_text(f"[env.x]\n{BACKENDS['local']}")

    with pytest.raises(ConfigError, match=r"secrets\.DB must be a table, not 'x'\."):
        load_project(tmp_path, {"KFGCP_ENV_X_SECRETS": "DB=x"}).env("x")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("secret:DB_PASSWORD", "DB_PASSWORD"),
        ("secret:db-password", "db-password"),
        ("secret:", ""),
        ("secret:a b", ""),
        ("secret:1", ""),
        ("my secret:DB", ""),
        ("secret:DB\n", ""),
        (None, ""),
        (3, ""),
    ],
)
def test_only_a_whole_value_asks_for_a_secret(value: object, name: str) -> None:
    assert requested_secret(value) == name
