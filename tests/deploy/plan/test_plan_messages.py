"""What `kfgcp plan`, `apply` and `destroy` say, with stand-ins of the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp_command import Command
from simulated_project import write_pipeline

CHURN = """
[pipeline.churn]
source = "churn.yaml"
envs = ["dev", "gke"]
tags = ["main"]
"""
DAILY = """
[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""
NIGHTLY = DAILY.replace("daily", "nightly").replace('"dev"', '"gke"')


class Services:
    """Stand-ins of Vertex AI, which is `dev`, and of Kubeflow Pipelines, which is `gke`."""

    def __init__(
        self, home: Path, vertex: testing.VertexStandIn, kubeflow: testing.KubeflowStandIn
    ) -> None:
        self.vertex = vertex
        self.kubeflow = kubeflow
        self._file = home / "kfgcp.toml"
        self._environments = vertex.toml("dev") + kubeflow.toml("gke")

    def write_tables(self, tables: str) -> None:
        """Write kfgcp.toml with both environments and other tables."""
        project = '[project]\nname = "shop"\n'
        self._file.write_text(project + self._environments + tables)


@pytest.fixture
def services(home: Path) -> Iterator[Services]:
    """Both services. The current project has a pipeline and a schedule for each."""
    with (
        testing.vertex(mode="instant") as vertex,
        testing.kubeflow(mode="instant", version="2.17.0") as kubeflow,
    ):
        write_pipeline(home, "churn")
        both = Services(home, vertex, kubeflow)
        both.write_tables(CHURN + DAILY + NIGHTLY)
        yield both


@pytest.mark.parametrize(
    ("env", "tables", "error", "hint"),
    [
        (
            "dev",
            CHURN + DAILY.replace('cron = "0 6 * * *"', 'every = "7h"'),
            '[schedule.daily]: every = "7h" is not possible on Vertex AI, which has only cron'
            " expressions.",
            "Choose an interval that divides an hour or a day, such as 30m or 6h, or write cron.",
        ),
        (
            "gke",
            CHURN + NIGHTLY + 'time_zone = "Europe/Berlin"\n',
            '[schedule.nightly]: time_zone = "Europe/Berlin" is not possible on a server of'
            " Kubeflow Pipelines that reads cron expressions in UTC.",
            'Write the times in UTC and time_zone = "UTC". Or, if CRON_SCHEDULE_TIMEZONE of the'
            " server's controller is Europe/Berlin, write schedule_time_zone ="
            ' "Europe/Berlin" in [env.gke].',
        ),
        (
            "dev",
            CHURN.replace("main", "Main"),
            "[pipeline.churn]: 'Main' is not a tag.",
            "A tag begins with a lowercase letter and has at most 53 of: a-z 0-9 . _ -",
        ),
    ],
)
def test_an_error_names_the_table_that_must_change(
    services: Services, kfgcp: Command, env: str, tables: str, error: str, hint: str
) -> None:
    services.write_tables(tables)

    refused = kfgcp("plan", "--env", env)

    assert refused.err.splitlines() == [f"error: kfgcp.toml {error}", f"hint: {hint}"]


def test_the_error_of_a_parameter_is_above_its_hint(services: Services, kfgcp: Command) -> None:
    services.write_tables(CHURN + DAILY + "params = { rows = 1 }\n")

    refused = kfgcp("plan", "--env", "dev")

    labels = [line.partition(":")[0] for line in refused.err.splitlines()]
    assert labels == ["error", "hint", "hint", "hint"]


@pytest.mark.parametrize(
    "bad_table",
    [
        NIGHTLY.replace("0 6 * * *", "0 6"),
        '[pipeline.other]\nenvs = ["gke"]\nsource = "churn.yaml"\ncolour = "red"\n',
    ],
)
def test_a_bad_table_stops_only_commands_of_its_environment(
    services: Services, kfgcp: Command, bad_table: str
) -> None:
    services.write_tables(CHURN + DAILY + bad_table)

    of_dev = kfgcp("plan", "--env", "dev")
    of_gke = kfgcp("plan", "--env", "gke")

    assert of_dev.code == 0, of_dev.err
    assert "+ schedule daily" in of_dev.out
    note = of_dev.err.splitlines()[0]
    assert note.startswith("note: kfgcp.toml [")
    assert note.endswith(" The table is left out.")
    assert of_gke.code == 2
    assert kfgcp("apply", "--env", "gke", "--yes").code == 2
    assert of_gke.err.splitlines()[0].startswith("error: kfgcp.toml [")


def test_a_bad_table_without_an_environment_stops_all_plans(
    services: Services, kfgcp: Command
) -> None:
    services.write_tables(CHURN + DAILY + NIGHTLY.replace('"gke"', '"gkee"'))

    for env in ("dev", "gke"):
        refused = kfgcp("plan", "--env", env)
        assert refused.code == 2
        assert "names the environment 'gkee'" in refused.err


def test_schedule_list_shows_the_valid_tables(services: Services, kfgcp: Command) -> None:
    services.write_tables(CHURN + DAILY + NIGHTLY.replace("0 6 * * *", "0 6"))

    listed = kfgcp("schedule", "list", "--json")

    assert [row["name"] for row in listed.json] == ["daily"]
    assert "note: kfgcp.toml [schedule.nightly]: " in listed.err
