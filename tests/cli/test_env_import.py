"""`kfgcp env import`: what Terraform made becomes a table of kfgcp.toml, and nothing else of the
file changes."""

import json
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from json_types import JsonDict
from kfgcp_command import Command, Result, Somebody

VERTEX = {
    "backend": "vertex",
    "labels": {"team": "growth", "environment": "dev"},
    "location": "europe-west4",
    "network": None,
    "pipeline_root": "gs://acme-ml-dev-artifacts/growth",
    "project": "acme-ml-dev",
}
TABLE = """\
[env.dev]
backend = "vertex"
project = "acme-ml-dev"
location = "europe-west4"
pipeline_root = "gs://acme-ml-dev-artifacts/growth"
labels = { team = "growth", environment = "dev" }
"""
FILE = """\
# Of the team.
[project]
name = "churn"  # as in the wiki

[env.local]
backend = "local"
max_parallel = 2
"""


def outputs(**environments: JsonDict) -> str:
    """As `terraform output -json` prints it."""
    return json.dumps(
        {"kfgcp_environments": {"sensitive": False, "type": ["object", {}], "value": environments}}
    )


@pytest.fixture
def import_(home: Path, kfgcp: Command) -> Callable[..., Result]:
    """Imports as the environment dev, or as another."""

    def run(text: str, *options: str, name: str = "dev") -> Result:
        (home / "outputs.json").write_text(text)
        return kfgcp("env", "import", name, "--file", "outputs.json", *options)

    return run


def test_it_makes_a_file_where_there_is_none(import_: Callable[..., Result], home: Path) -> None:
    result = import_(outputs(growth=VERTEX))

    assert (result.code, result.out, result.err) == (
        0,
        "kfgcp.toml: [env.dev] added\n",
        "next: kfgcp doctor --env dev\n",
    )
    assert (home / "kfgcp.toml").read_text() == TABLE


def test_it_adds_to_a_file_and_leaves_the_rest_to_the_letter(
    import_: Callable[..., Result], home: Path
) -> None:
    (home / "kfgcp.toml").write_text(FILE)
    (home / "kfgcp.toml").chmod(0o640)

    assert import_(outputs(growth=VERTEX)).code == 0

    assert (home / "kfgcp.toml").read_text() == FILE + "\n" + TABLE
    assert stat.S_IMODE((home / "kfgcp.toml").stat().st_mode) == 0o640


def test_it_reads_standard_input_in_a_folder_below_the_project(
    home: Path, environment: Callable[..., dict[str, str]]
) -> None:
    (home / "kfgcp.toml").write_text(FILE)
    (home / "below").mkdir()
    command = [Path(sys.executable).with_name("kfgcp"), "env", "import", "dev"]

    result = subprocess.run(
        command,
        input=outputs(growth=VERTEX),
        cwd=home / "below",
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    assert (home / "kfgcp.toml").read_text() == FILE + "\n" + TABLE
    assert not (home / "below" / "kfgcp.toml").exists()


def test_an_existing_environment_is_replaced_only_on_request(
    import_: Callable[..., Result], home: Path
) -> None:
    before = (
        FILE
        + "\n[env.dev]\n# by hand\nbackend = 'vertex'\nproject = \"old\"\nreserved_ip_ranges = [\n "
        " 'a',\n]\n"
    )
    before += (
        "\n[env.dev.labels]\nteam = 'old'\n\n# The cluster.\n[env.gke]\nbackend = 'kubeflow'\nhost"
        " = 'https://k.example'\n"
    )
    (home / "kfgcp.toml").write_text(before)

    refused = import_(outputs(growth=VERTEX))

    assert (refused.code, refused.err) == (
        2,
        "error: kfgcp.toml already has the environment [env.dev].\nhint: Use --replace, or choose"
        " another name.\n",
    )
    assert (home / "kfgcp.toml").read_text() == before
    result = import_(outputs(growth=VERTEX), "--replace")
    assert (result.code, result.out) == (0, "kfgcp.toml: [env.dev] replaced\n")
    table = TABLE.replace("[env.dev]\n", "[env.dev]\n# by hand\n")
    after = "\n# The cluster.\n[env.gke]\nbackend = 'kubeflow'\nhost = 'https://k.example'\n"
    assert (home / "kfgcp.toml").read_text() == f"{FILE}\n{table}{after}"


def test_ends_of_lines_stay_those_of_the_file(import_: Callable[..., Result], home: Path) -> None:
    (home / "kfgcp.toml").write_bytes(FILE.replace("\n", "\r\n").encode())

    assert import_(outputs(growth=VERTEX)).code == 0

    written = (home / "kfgcp.toml").read_bytes()
    assert written.count(b"\n") == written.count(b"\r\n") == len((FILE + "\n" + TABLE).splitlines())


def test_a_file_may_begin_with_a_byte_order_mark(
    import_: Callable[..., Result], home: Path
) -> None:
    (home / "kfgcp.toml").write_text(FILE, encoding="utf-8-sig")

    assert import_(outputs(growth=VERTEX)).code == 0

    assert (home / "kfgcp.toml").read_text(encoding="utf-8-sig") == FILE + "\n" + TABLE


def test_a_file_that_is_a_link_stays_one(import_: Callable[..., Result], home: Path) -> None:
    (home / "shared.toml").write_text(FILE)
    (home / "kfgcp.toml").symlink_to("shared.toml")

    assert import_(outputs(growth=VERTEX)).code == 0

    assert (home / "kfgcp.toml").is_symlink()
    assert (
        tomllib.loads((home / "shared.toml").read_text())["env"]["dev"]["project"] == "acme-ml-dev"
    )


def test_texts_come_through_as_they_are(import_: Callable[..., Result], home: Path) -> None:
    labels = {"team": 'ml "é"\\ \t', "with.dot": "x"}

    assert (
        import_(outputs(growth=VERTEX | {"labels": labels, "reserved_ip_ranges": ["a", "b"]})).code
        == 0
    )

    written = tomllib.loads((home / "kfgcp.toml").read_text())["env"]["dev"]
    assert written["labels"] == labels
    assert written["reserved_ip_ranges"] == ["a", "b"]


@pytest.mark.parametrize(
    ("key", "project"),
    [(None, "of-dev"), ("other", "of-other")],
    ids=["named like it", "named by --from"],
)
def test_one_of_several_is_chosen_by_name(
    import_: Callable[..., Result], home: Path, key: str | None, project: str
) -> None:
    several = outputs(dev=VERTEX | {"project": "of-dev"}, other=VERTEX | {"project": "of-other"})

    assert import_(several, *(["--from", key] if key else [])).code == 0

    assert tomllib.loads((home / "kfgcp.toml").read_text())["env"]["dev"]["project"] == project


NO_OUTPUT = "The outputs have no table kfgcp_environments of environments. The outputs are: "


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("", "The input is not JSON: Expecting value"),
        ("│ Error: no state", "The input is not JSON"),
        ("[1]", "The input is JSON, but not the output of terraform output -json."),
        ("{}", "The input has no outputs of Terraform."),
        (json.dumps({"bucket": {"value": "b"}}), f"{NO_OUTPUT}bucket."),
        (json.dumps({"kfgcp_environments": {"value": ["a"]}}), f"{NO_OUTPUT}kfgcp_environments."),
        (json.dumps({"kfgcp_environments": 3}), f"{NO_OUTPUT}kfgcp_environments."),
        (outputs(), "The outputs of Terraform have no environment 'dev'."),
        (outputs(a=VERTEX, b=VERTEX), "The outputs of Terraform have no environment 'dev'."),
        (
            outputs(a={"backend": "vertex", "project": "p"}),
            "outputs of Terraform for 'dev' have no location, pipeline_root.",
        ),
        (
            outputs(a=VERTEX | {"backend": "airflow"}),
            "kfgcp.toml [env.dev] has the unknown backend 'airflow'.",
        ),
        (outputs(a=VERTEX | {"projct": "p"}), "kfgcp.toml [env.dev]: unknown key 'projct'."),
        (
            outputs(a=VERTEX | {"pipeline_root": "s3://b"}),
            "[env.dev]: pipeline_root is 's3://b', not in Cloud",
        ),
        (
            outputs(a=VERTEX | {"labels": {"team": 3}}),
            "kfgcp.toml [env.dev]: the label team must be a text, not 3.",
        ),
        (
            outputs(a=VERTEX | {"labels": {"team": None}}),
            "In the outputs of Terraform, labels of 'a' contains null.",
        ),
    ],
)
def test_what_is_not_an_environment_is_refused_in_one_line(
    import_: Callable[..., Result], home: Path, text: str, expected_message: str
) -> None:
    (home / "kfgcp.toml").write_text(FILE)

    result = import_(text)

    assert (result.code, result.out) == (2, "")
    error, *hints = result.err.splitlines()
    assert error.startswith("error: ")
    assert expected_message in error
    assert all(line.startswith("hint: ") for line in hints)
    assert (home / "kfgcp.toml").read_text() == FILE


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-x", "größe", 'x"]'])
def test_an_invalid_name_is_refused(import_: Callable[..., Result], home: Path, name: str) -> None:
    result = (
        import_(outputs(growth=VERTEX), "--", name=name)
        if name.startswith("-")
        else import_(outputs(a=VERTEX), name=name)
    )

    assert result.code == 2
    assert not (home / "kfgcp.toml").exists()


@pytest.mark.parametrize(
    "written",
    ["env.dev.backend = 'local'\n", "[env]\ndev = { backend = 'local' }\n"],
    ids=["dotted", "inline"],
)
def test_an_environment_that_is_written_in_another_way_is_left_to_the_hand(
    import_: Callable[..., Result], home: Path, written: str
) -> None:
    (home / "kfgcp.toml").write_text(written)

    result = import_(outputs(growth=VERTEX), "--replace")

    assert result.code == 2
    problem = "kfgcp cannot replace the environment dev, because kfgcp.toml does not define it as"
    assert f"{problem} a table [env.dev]." in result.err
    assert (home / "kfgcp.toml").read_text() == written


def test_a_text_that_only_looks_like_a_table_is_not_taken_for_one(
    import_: Callable[..., Result], home: Path
) -> None:
    before = "[project]\nname = '''\n[env.dev]\n'''\n\n[env.dev]\nbackend = 'local'\n"
    (home / "kfgcp.toml").write_text(before)

    result = import_(outputs(growth=VERTEX), "--replace")

    assert (result.code, (home / "kfgcp.toml").read_text()) == (2, before)
    assert "kfgcp cannot change kfgcp.toml, because its format is unusual." in result.err


def test_a_file_that_is_not_valid_is_not_touched(
    import_: Callable[..., Result], home: Path
) -> None:
    (home / "kfgcp.toml").write_text("[project\n")

    result = import_(outputs(growth=VERTEX))

    assert result.code == 2
    assert "is not valid TOML" in result.err
    assert (home / "kfgcp.toml").read_text() == "[project\n"


def test_a_folder_that_cannot_be_written_is_named(somebody: Somebody) -> None:
    (somebody.folder / "outputs.json").write_text(outputs(growth=VERTEX))
    somebody.folder.chmod(0o555)

    result = somebody.kfgcp("env", "import", "dev", "--file", "outputs.json")

    somebody.folder.chmod(0o755)
    assert (result.code, result.out) == (5, "")
    assert result.err.startswith("error: ")
    assert "kfgcp.toml cannot be written: Permission denied." in result.err


def test_a_variable_of_the_shell_does_not_decide_what_is_valid(home: Path, kfgcp: Command) -> None:
    (home / "outputs.json").write_text(outputs(a={"backend": "vertex", "project": "p"}))

    result = kfgcp(
        "env",
        "import",
        "dev",
        "--file",
        "outputs.json",
        env={"KFGCP_ENV_DEV_LOCATION": "us-central1"},
    )

    assert result.code == 2
    assert "have no location, pipeline_root" in result.err


def test_a_file_that_includes_others(import_: Callable[..., Result], home: Path) -> None:
    (home / "kfgcp.toml").write_text('include = ["kfgcp.d/team.toml", "kfgcp.d/*.toml"]\n')
    (home / "kfgcp.d").mkdir()
    (home / "kfgcp.d/team.toml").write_text('[env.prod]\nbackend = "local"\n')

    result = import_(outputs(growth=VERTEX))

    assert (result.code, result.out) == (0, "kfgcp.toml: [env.dev] added\n")


def test_an_environment_that_an_included_file_has(
    import_: Callable[..., Result], home: Path
) -> None:
    before = 'include = ["kfgcp.d/*.toml"]\n'
    (home / "kfgcp.toml").write_text(before)
    (home / "kfgcp.d").mkdir()
    (home / "kfgcp.d/dev.toml").write_text('[env.dev]\nbackend = "local"\n')

    result = import_(outputs(growth=VERTEX))

    assert result.code == 2
    assert "kfgcp.d/dev.toml: the table [env.dev] is in kfgcp.toml too." in result.err
    assert (home / "kfgcp.toml").read_text() == before
