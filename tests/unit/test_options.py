"""RunOptions: values, checks, changes and JSON."""

import warnings
from dataclasses import FrozenInstanceError

import pytest

from json_types import JsonDict
from kfgcp.errors import StateError, UsageError
from kfgcp.installation import upgrade_hint
from kfgcp.options import OptionLeftOut, RunOptions, local_flags, option_fields

CHOSEN = RunOptions(
    env="dev",
    experiment="churn",
    name="tuesday",
    labels={"team": "growth"},
    cache=False,
    max_parallel=3,
    fail_fast=True,
    executor="process",
    strict_env=True,
)
STORED = {
    "version": 1,
    "env": "dev",
    "experiment": "churn",
    "name": "tuesday",
    "labels": {"team": "growth"},
    "cache": False,
    "max_parallel": 3,
    "fail_fast": True,
    "executor": "process",
    "strict_env": True,
}


def test_options_are_written_and_read_as_json() -> None:
    assert CHOSEN.to_dict() == STORED
    assert RunOptions.from_dict(STORED) == CHOSEN
    assert RunOptions.from_dict(RunOptions().to_dict()) == RunOptions()


def test_each_option_is_in_the_json_under_its_name() -> None:
    assert RunOptions().to_dict().keys() == {"version"} | {field.name for field in option_fields()}


def test_options_that_an_earlier_version_did_not_have_are_the_defaults() -> None:
    assert RunOptions.from_dict({"version": 1, "cache": True}) == RunOptions(cache=True)


def test_an_option_of_a_newer_version_is_left_out_with_a_warning() -> None:
    with pytest.warns(
        OptionLeftOut, match="leaves out options of the run that it does not know: spot, weight"
    ):
        options = RunOptions.from_dict({**STORED, "spot": True, "weight": 5})

    assert options == CHOSEN


@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_another_form_of_the_json_is_refused(version: object) -> None:
    with pytest.raises(
        StateError, match=f"have version {version}, but this kfgcp reads only version 1"
    ) as caught:
        RunOptions.from_dict({**STORED, "version": version})

    assert caught.value.hint == upgrade_hint()


@pytest.mark.parametrize(
    "damage", [{"cache": "yes"}, {"labels": None}, {"executor": "podman"}, {"max_parallel": 0}]
)
def test_damaged_json_is_a_state_error(damage: JsonDict) -> None:
    with pytest.raises(StateError, match=f"damaged: The option `{next(iter(damage))}` must be"):
        RunOptions.from_dict(STORED | damage)


def test_changes_keep_the_other_options_and_none_changes_nothing() -> None:
    changed = CHOSEN.changed(fail_fast=False, executor=None, name="")

    assert changed.to_dict() == {**STORED, "fail_fast": False, "name": ""}
    assert CHOSEN.to_dict() == STORED


def test_options_cannot_be_assigned() -> None:
    with pytest.raises(FrozenInstanceError):
        CHOSEN.cache = True  # type: ignore[misc]


def test_a_wrong_value_is_named_wherever_it_is_given() -> None:
    message = "The option `max_parallel` must be a whole number of 1 or more, not 0."

    for give in (lambda: RunOptions(max_parallel=0), lambda: CHOSEN.changed(max_parallel=0)):
        with pytest.raises(UsageError) as caught:
            give()
        assert caught.value.message == message


@pytest.mark.parametrize("value", [True, 1.5, "3", -1])
def test_only_whole_numbers_are_numbers(value: object) -> None:
    with pytest.raises(UsageError, match="must be a whole number of 1 or more, not"):
        RunOptions(max_parallel=value)


def test_an_unknown_option_is_named_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Unknown option 'max_paralel'") as caught:
        RunOptions().changed(max_paralel=3)  # type: ignore[call-arg]

    assert caught.value.hint.startswith("Did you mean max_parallel? The options are params, env, ")


def test_flags_of_local_runs_are_those_that_differ_from_the_default() -> None:
    assert local_flags(RunOptions(fail_fast=True, cache=False)) == []
    assert local_flags(CHOSEN) == ["--max-parallel", "--executor", "--strict-env"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert local_flags(RunOptions.from_dict(STORED)) == local_flags(CHOSEN)
