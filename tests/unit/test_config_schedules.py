"""The tables [schedule.X] of kfgcp.toml."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text
from kfgcp.errors import ConfigError
from kfgcp.settings import Setting

CHURN = '[pipeline.churn]\nsource = "churn.py"\n'
DAILY = """
[schedule.churn-daily]
pipeline = "churn@main"
env = "dev"
cron = "0 6 * * 1-5"
time_zone = "Europe/Berlin"
params = { lr = 0.1 }
time_param = "day"
catch_up = true
max_active = 2
paused = true
"""


def _schedule(text: str = "", *, env: str = "local", due: str = 'cron = "@daily"') -> str:
    return f'{CHURN}[schedule.daily]\npipeline = "churn"\nenv = "{env}"\n{due}\n{text}\n'


def test_a_table_has_a_pipeline_an_environment_and_due_times(tmp_path: Path) -> None:
    daily = load_text(tmp_path, VERTEX + CHURN + DAILY).schedule("churn-daily")

    assert (daily.pipeline, daily.env, daily.time_param) == ("churn@main", "dev", "day")
    assert (daily.cron, daily.every_seconds) == ("0 6 * * 1-5", None)
    assert (daily.catch_up, daily.max_active, daily.paused) == (True, 2, True)
    origin = "kfgcp.toml [schedule.churn-daily]"
    assert (daily.origin, daily.folder) == (origin, tmp_path)
    assert daily.params.values == {"lr": Setting(0.1, f"{origin} params")}
    assert daily.timetable.time_zone == "Europe/Berlin"


def test_a_short_table_has_defaults(tmp_path: Path) -> None:
    daily = load_text(tmp_path, _schedule(due='every = "6h"')).schedule("daily")

    assert (daily.cron, daily.every_seconds, daily.time_zone) == (None, 21600, "UTC")
    assert (daily.catch_up, daily.max_active, daily.paused) == (False, 1, False)
    assert daily.timetable.every_seconds == 21600


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (_schedule(env="prd"), "names the environment 'prd', which kfgcp.toml does not", "local"),
        (_schedule(due=""), "A schedule has either cron or every.", "cron ="),
        (_schedule('every = "6h"'), "A schedule has either cron or every.", "every ="),
        (_schedule(due='cron = "0 6 * *"'), "'0 6 * *' has 4 fields, not 5.", "Write minute"),
        (_schedule(due='cron = "0 6 31 2 *"'), "the day 31 is not in February.", "Correct"),
        (_schedule('time_zone = "Mars"'), "The time zone 'Mars' does not exist.", "IANA"),
        (_schedule("max_active = 0"), "max_active is 0, which is not between 1 and 10.", "Write"),
        (_schedule("crn = 1"), "unknown key 'crn'", "Did you mean 'cron'?"),
        (_schedule("paused = 1"), "paused", ""),
        (
            _schedule('params = { day = "x" }\ntime_param = "day"'),
            "the parameter 'day' is in params and is time_param too.",
            "Remove 'day'",
        ),
        (
            _schedule().replace('pipeline = "churn"', 'pipeline = "chrn"'),
            "names the pipeline 'chrn', which kfgcp.toml does not have.",
            "Did you mean 'churn'?",
        ),
        (
            _schedule().replace('pipeline = "churn"', 'pipeline = "churn@"'),
            "pipeline is 'churn@', which is not the name of a pipeline.",
            "X@main",
        ),
        (_schedule().replace('pipeline = "churn"\n', ""), "has no pipeline.", "Write pipeline"),
        (_schedule().replace('env = "local"\n', ""), "has no env.", "Write env"),
    ],
)
def test_a_wrong_table_is_an_error_only_when_the_schedule_is_used(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    project = load_text(tmp_path, text)

    assert project.pipeline("churn").source == "churn.py"
    with pytest.raises(ConfigError) as caught:
        project.schedule("daily")
    assert message in caught.value.message
    assert caught.value.message.startswith("kfgcp.toml [schedule.daily]")
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["Daily", "d" * 64, "_daily", '"a b"'])
def test_a_name_that_a_label_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    project = load_text(tmp_path, _schedule().replace("schedule.daily", f"schedule.{name}"))

    with pytest.raises(ConfigError, match="cannot be the name of a schedule"):
        project.schedule(name.strip('"'))


def test_an_unknown_schedule_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, _schedule()).schedule("dayly")

    assert caught.value.message == "kfgcp.toml has no schedule 'dayly'."
    assert "Did you mean 'daily'?" in caught.value.hint


def test_two_schedules_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text('[schedule.daily]\npipeline = "churn"\n')

    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, 'include = ["more.toml"]\n' + _schedule())

    assert caught.value.message == "more.toml: the table [schedule.daily] is in kfgcp.toml too."


def test_a_pipeline_has_version_tags(tmp_path: Path) -> None:
    assert load_text(tmp_path, CHURN + 'tags = ["main"]\n').pipeline("churn").tags == ("main",)
    with pytest.raises(ConfigError, match="tags contains 1, which is not a text"):
        load_text(tmp_path, CHURN + "tags = [1]\n").pipeline("churn")
