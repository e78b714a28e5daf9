"""What `kfgcp plan`, `apply` and `destroy` say, with stand-ins of the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.deploy.plan.plan_file import write_plan
from kfgcp.errors import CheckFailed
from kfgcp_command import Command
from simulated_project import SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE

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


# Only this environment is simulated.
SIMULATED_CHURN = CHURN.replace(', "gke"', "")


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
def folder(home: Path) -> Path:
    """A project with a simulated service `dev`."""
    write_pipeline(home, "churn")
    write_project(home, SIMULATED_CHURN + DAILY)
    return home


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


def lines(text: str) -> list[str]:
    return text.splitlines()


@pytest.mark.parametrize(("env", "name"), [("dev", "daily"), ("gke", "nightly")])
def test_catch_up_is_visible_and_words_of_the_service_are_not(
    services: Services, kfgcp: Command, env: str, name: str
) -> None:
    services.write_tables(CHURN + DAILY + "catch_up = true\n" + NIGHTLY + "catch_up = true\n")

    planned = lines(kfgcp("plan", "--env", env).out)
    kfgcp("apply", "--env", env, "--yes")
    shown = lines(kfgcp("schedule", "show", name).out)

    assert "    catch_up: true" in planned
    assert "  catch_up: true" in shown
    words = {line.strip().partition(":")[0] for line in planned + shown}
    assert words.isdisjoint({"template", "entry", "text", "queueing", "max_starting", "run_name"})
    [version] = [line.partition(": ")[2] for line in shown if line.startswith("  version: ")]
    assert f"    version: {version}" in planned
    in_json = kfgcp("schedule", "show", name, "--json").json["fields"]["version"]
    assert in_json.startswith(version)
    assert version.startswith("sha256:")


def test_a_due_time_as_a_parameter_is_shown_in_words(services: Services, kfgcp: Command) -> None:
    services.write_tables(CHURN + DAILY + 'time_param = "day"\n')

    assert "    params.day: the due time" in lines(kfgcp("plan", "--env", "dev").out)


@pytest.mark.parametrize("env", ["dev", "gke"])
def test_a_new_tag_is_shown_with_an_arrow(services: Services, kfgcp: Command, env: str) -> None:
    kfgcp("apply", "churn", "--env", env, "--yes")
    services.write_tables(CHURN.replace('"main"', '"main", "stable"') + DAILY + NIGHTLY)

    planned = lines(kfgcp("plan", "--env", env).out)

    [tag] = [line for line in planned if "tag stable" in line]
    assert tag.startswith("    tag stable: (none) -> sha256:")
    [use_tag] = [line for line in planned if "tag use-" in line]
    assert ": (none) -> churn@sha256:" in use_tag


def test_a_replacement_on_kubeflow_ends_with_replaced(services: Services, kfgcp: Command) -> None:
    kfgcp("apply", "--env", "gke", "--yes")
    services.write_tables(CHURN + DAILY + NIGHTLY.replace("0 6", "0 7"))

    applied = kfgcp("apply", "--env", "gke", "--yes")

    assert lines(applied.err) == [
        "schedule nightly: created a replacement, which starts no runs yet",
        "schedule nightly: disabled the old schedule",
        "schedule nightly: enabled the replacement",
        "schedule nightly: replaced: the new schedule has taken over, and the old one is deleted",
    ]


@pytest.mark.parametrize(
    ("arguments", "default"), [(("plan",), "local"), (("destroy", "--yes"), "local")]
)
def test_a_command_without_env_says_which_one_it_takes(
    services: Services, kfgcp: Command, arguments: tuple[str, ...], default: str
) -> None:
    result = kfgcp(*arguments)

    assert lines(result.err)[0] == (
        f"note: Without --env, the environment is {default}: the default, which KFGCP_ENV can"
        " change. Others: dev, gke."
    )
    assert "note:" not in kfgcp("plan", "--env", "dev").err


def test_the_variable_of_the_default_environment_is_named(
    services: Services, kfgcp: Command
) -> None:
    planned = kfgcp("plan", env={"KFGCP_ENV": "gke"})

    assert lines(planned.err)[0] == (
        "note: Without --env, the environment is gke: the default, because KFGCP_ENV is gke."
        " Others: dev, local."
    )
    assert "+ schedule nightly" in planned.out


@pytest.mark.parametrize("env", ["dev", "gke"])
def test_a_plan_that_was_applied_says_so(services: Services, kfgcp: Command, env: str) -> None:
    kfgcp("plan", "--env", env, "--out", "my.plan")
    assert kfgcp("apply", "my.plan").code == 0

    again = kfgcp("apply", "my.plan")

    assert again.code == 4
    assert lines(again.err) == [
        f"error: The plan is out of date: {env} is already as kfgcp.toml says, so the plan was"
        " applied before, or somebody else made its changes. Nothing was written.",
        f"hint: Check the environment: kfgcp plan --env {env}",
    ]


def test_a_plan_of_a_deletion_that_was_applied_says_so(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    write_project(folder, SIMULATED_CHURN)
    plan = SimulatedWorkspace(folder, WITH_UPDATE, workspace.services).plan_now()
    assert [change.title for change in plan.changes] == ["- schedule daily"]
    plan.apply()

    with pytest.raises(CheckFailed, match=r"dev is already as kfgcp\.toml says"):
        plan.apply()


def test_a_plan_is_not_called_applied_after_kfgcp_toml_was_changed_back(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    write_project(folder, SIMULATED_CHURN + DAILY.replace("0 6", "0 7"))
    workspace = SimulatedWorkspace(folder, WITH_UPDATE, workspace.services)
    write_plan(workspace.plan_now(), folder / "my.plan")
    write_project(folder, SIMULATED_CHURN + DAILY)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE, workspace.services)

    with pytest.raises(CheckFailed, match=r": the schedule daily in kfgcp\.toml\."):
        workspace.plan_of_file(folder / "my.plan")


@pytest.mark.parametrize("env", ["dev", "gke"])
def test_a_plan_names_the_service_that_has_moved_on(
    services: Services, kfgcp: Command, env: str
) -> None:
    kfgcp("plan", "--env", env, "--out", "my.plan")
    kfgcp("apply", "--env", env, "--yes")
    name = {"dev": "daily", "gke": "nightly"}[env]
    kfgcp("schedule", "pause", name)

    refused = kfgcp("apply", "my.plan")

    assert refused.code == 4
    error = lines(refused.err)[0]
    assert f"the versions of churn in the registry of {env}, the schedule {name} in {env}" in error
    assert "kfgcp.toml" not in error


def test_destroy_lists_the_schedules_of_the_service(services: Services, kfgcp: Command) -> None:
    kfgcp("apply", "--env", "dev", "--yes")

    unknown = kfgcp("destroy", "dayly", "--env", "dev", "--yes")
    pipeline = kfgcp("destroy", "churn", "--env", "dev", "--yes")
    elsewhere = kfgcp("destroy", "nightly", "--env", "dev", "--yes")

    assert [unknown.code, pipeline.code, elsewhere.code] == [2, 2, 2]
    assert lines(unknown.err) == [
        "error: The environment 'dev' has no schedule 'dayly' of this project, so there is nothing"
        " to delete.",
        "hint: Did you mean 'daily'? Schedules in 'dev': daily.",
    ]
    assert lines(pipeline.err) == [
        "error: 'churn' is a pipeline, and only schedules are deleted.",
        "hint: Schedules in 'dev': daily.",
    ]
    assert lines(elsewhere.err)[1] == "hint: Name this environment: --env gke"


@pytest.mark.parametrize("arguments", [("my.plan", "daily"), ("daily", "my.plan")])
def test_a_plan_in_a_file_takes_no_names(
    services: Services, kfgcp: Command, arguments: tuple[str, ...]
) -> None:
    kfgcp("plan", "--env", "dev", "--out", "my.plan")

    refused = kfgcp("apply", *arguments)

    assert refused.code == 2
    assert lines(refused.err) == [
        "error: my.plan is a file with a plan, which is applied as a whole.",
        "hint: Leave out the other arguments: kfgcp apply my.plan",
    ]


@pytest.mark.parametrize("env", ["dev", "gke"])
def test_a_schedule_whose_table_is_not_valid_is_listed_and_destroyed(
    services: Services, kfgcp: Command, env: str
) -> None:
    name = {"dev": "daily", "gke": "nightly"}[env]
    assert kfgcp("apply", "--env", env, "--yes").code == 0
    services.write_tables((CHURN + DAILY + NIGHTLY).replace("0 6 * * *", "0 6 * *"))

    listed = kfgcp("schedule", "list", "--env", env)
    destroyed = kfgcp("destroy", name, "--env", env, "--yes")
    again = kfgcp("destroy", "--env", env, "--yes")

    [row] = [line for line in listed.out.splitlines() if line.startswith(name)]
    assert "enabled, its table is not valid" in row
    assert (destroyed.code, destroyed.out) == (0, f"1 change in {env}\n"), destroyed.err
    assert (again.code, again.out) == (0, f"{env} has no schedules of this project.\n")
