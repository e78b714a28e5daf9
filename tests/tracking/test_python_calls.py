"""The calls of the Python API: what is given as a pipeline, the options, and the error of a failed
run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

import kfgcp
from kfgcp import api
from kfgcp.errors import ConfigError, RunFailed, SpecError, UsageError
from kfgcp.options import option_fields
from kfgcp.query import RunFilter
from patience import PROCESS

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def double(number: int) -> int:
    print("doubling", number)
    if number < 0:
        raise ValueError(f"no luck with {number}")
    return number * 2


@dsl.container_component
def shout(text: str):
    return dsl.ContainerSpec(image=IMAGE, command=["echo"], args=[text])


@dsl.pipeline(name="doubled-twice")
def doubled_twice(number: int = 4) -> int:
    return double(number=double(number=number).output).output


def plain(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("pipeline", "name", "result"), [(doubled_twice, "doubled-twice", 16), (double, "double", 8)]
)
def test_a_pipeline_or_component_of_kfp_runs(
    pipeline: Any, name: str, result: int, home: Path
) -> None:
    run = kfgcp.run(pipeline, params={"number": 4}, timeout=PROCESS)

    assert (run.state, run.snapshot.pipeline, run.outputs) == (
        "SUCCEEDED",
        name,
        {"Output": result},
    )
    assert kfgcp.submit(pipeline, params={"number": 4}).wait(PROCESS).outputs == {"Output": result}


def test_an_object_and_its_compiled_file_are_the_same_version(home: Path) -> None:
    compiled = kfgcp.compile(doubled_twice, "pipeline.yaml")

    assert compiled.version == kfgcp.compile("pipeline.yaml").version
    assert compiled.origin.endswith("test_python_calls.py:doubled_twice")
    assert kfgcp.compile(compiled) is compiled
    assert api.preview(doubled_twice).request.spec.version == compiled.version
    assert kfgcp.diff(doubled_twice, "pipeline.yaml").changes == ()
    assert kfgcp.diff(doubled_twice, double).changes != ()
    assert kfgcp.compile(Path("pipeline.yaml")).version == compiled.version
    assert kfgcp.compile(shout).name == "shout"


def test_a_component_that_was_loaded_from_a_file(home: Path) -> None:
    from kfp import components

    kfgcp.compile(double, "double.yaml")
    loaded = components.load_component_from_file("double.yaml")

    run = kfgcp.run(loaded, params={"number": 3}, timeout=PROCESS)

    assert run.outputs == {"Output": 6}


def test_a_function_without_a_decorator_is_named(home: Path) -> None:
    line = plain.__code__.co_firstlineno
    with pytest.raises(SpecError) as caught:
        kfgcp.submit(plain)

    assert caught.value.message == f"{__file__}:{line}: plain is a plain function, not a pipeline."
    assert caught.value.hint == "Decorate it with @dsl.pipeline (from kfp import dsl)."


@pytest.mark.parametrize("value", [None, 3, b"pipeline.yaml", ["pipeline.yaml"], dsl, dsl.Dataset])
def test_other_values_are_not_pipelines(value: Any, home: Path) -> None:
    with pytest.raises(
        UsageError, match=f"A pipeline cannot be of the type {type(value).__name__}"
    ) as caught:
        kfgcp.run(value)

    assert "@dsl.pipeline" in caught.value.hint


def test_a_failed_run_raises_its_error_and_the_end_of_its_log(home: Path) -> None:
    with pytest.raises(RunFailed) as caught:
        kfgcp.run(double, params={"number": -1}, timeout=PROCESS)

    failure = caught.value
    assert (
        failure.message
        == f"Run {failure.run_id} of double failed in double: ValueError: no luck with -1"
    )
    assert failure.task == "double"
    assert failure.log_tail[0] == "doubling -1"
    assert failure.log_tail[-1] == "ValueError: no luck with -1"
    run = kfgcp.show(failure.run_id)
    assert run.state == "FAILED"
    with pytest.raises(RunFailed, match=failure.run_id):
        run.wait(PROCESS)
    with pytest.raises(RunFailed):
        kfgcp.rerun(failure.run_id, timeout=PROCESS)


def test_without_a_check_a_failed_run_is_returned(home: Path) -> None:
    run = kfgcp.run(double, params={"number": -1}, timeout=PROCESS, check=False)

    assert run.state == "FAILED"
    assert run.wait(PROCESS, check=False).state == "FAILED"
    assert kfgcp.rerun(run.run_id, timeout=PROCESS, check=False).state == "FAILED"


def test_list_takes_the_options_of_the_command(home: Path) -> None:
    first = kfgcp.run(
        double, params={"number": 1}, experiment="x", labels={"team": "a"}, timeout=PROCESS
    )
    second = kfgcp.run(doubled_twice, experiment="y", name="best", timeout=PROCESS)
    kfgcp.tag(second, "good")

    def ids(*where: Any, **options: Any) -> list[str]:
        return [run.run_id for run in kfgcp.list(*where, **options)]

    assert ids() == [second.run_id, first.run_id]
    assert (
        ids(experiment="x") == ids(pipeline="double") == ids(label={"team": "a"}) == [first.run_id]
    )
    assert (
        ids(label="team=a")
        == ids("params.number == 1")
        == ids(version=first.snapshot.version)
        == [first.run_id]
    )
    assert ids(tag="good") == ids(text="best") == ids(RunFilter(experiment="y")) == [second.run_id]
    assert ids(env="local", state=["SUCCEEDED"], since="1d", limit=1) == [second.run_id]
    assert ids(until=datetime(2000, 1, 1, tzinfo=UTC)) == []
    assert ids(order="created_at asc") == [first.run_id, second.run_id]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experimnt": "x"}, "Runs cannot be chosen by 'experimnt'."),
        ({"wanted": RunFilter()}, "Runs cannot be chosen by 'wanted'."),
        ({"since": 5}, "The option `since` must be a text or a datetime, not 5."),
        ({"state": 3}, "The option `state` must be a text or a list of texts, not 3."),
        ({"tag": [1]}, "The option `tag` must be a text or a list of texts, not [1]."),
        (
            {"label": {"team": 1}},
            "The option `label` must be a dict, K=V, or a list of K=V, not {'team': 1}.",
        ),
        ({"experiment": ["x"]}, "The option `experiment` must be a text, not ['x']."),
        ({"limit": 0}, "The option `limit` must be a whole number of 1 or more, not 0."),
        ({"limit": "5"}, "The option `limit` must be a whole number of 1 or more, not '5'."),
        ({"where": 5}, "The option `where` must be an expression, not 5."),
        (
            {"where": RunFilter(), "env": "local"},
            "The option `env` cannot be given together with a filter.",
        ),
        ({"state": "DONE"}, "There is no state 'DONE'."),
    ],
)
def test_a_wrong_option_of_list_is_named(
    options: dict[str, object], message: str, home: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        kfgcp.list(**options)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parms": {}}, "Unknown option 'parms'."),
        (
            {"params": ["number=1"]},
            "The option `params` must be a dict from parameter names to values, not",
        ),
        (
            {"params": {1: 2}},
            "The option `params` must be a dict from parameter names to values, not {1: 2}.",
        ),
        ({"env": 1}, "The option `env` must be the name of an environment, not 1."),
        ({"name": 1}, "The option `name` must be a text, not 1."),
        ({"labels": {"a": 1}}, "The option `labels` must be a dict of texts, not {'a': 1}."),
        ({"cache": "no"}, "The option `cache` must be True, False or None, not 'no'."),
        (
            {"max_parallel": 0},
            "The option `max_parallel` must be a whole number of 1 or more, not 0.",
        ),
        ({"fail_fast": "yes"}, "The option `fail_fast` must be True or False, not 'yes'."),
        (
            {"executor": "podman"},
            "The option `executor` must be one of auto, process, docker, not 'podman'.",
        ),
    ],
)
def test_a_wrong_option_of_submit_is_named(
    options: dict[str, object], message: str, home: Path
) -> None:
    for call in (kfgcp.submit, kfgcp.run, api.preview):
        with pytest.raises(UsageError) as caught:
            call(double, **options)
        assert caught.value.message.startswith(message)
    assert not (home / ".kfgcp").exists() or kfgcp.list() == [], "nothing was started"


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_wrong_timeout_is_an_error_before_a_run_starts(timeout: object, home: Path) -> None:
    calls = (
        lambda: kfgcp.run(doubled_twice, timeout=timeout),
        lambda: kfgcp.rerun("latest", timeout=timeout),
        lambda: kfgcp.resume("latest", timeout=timeout),
        lambda: kfgcp.retry("latest", timeout=timeout),
    )
    for call in calls:
        with pytest.raises(
            UsageError, match=r"The timeout must be a number of seconds, not"
        ) as caught:
            call()
        assert caught.value.hint == "To wait without a limit, use None."
    assert api.list() == []


def test_none_means_that_an_option_is_not_given(home: Path) -> None:
    nothing: dict[str, Any] = {"params": None} | {field.name: None for field in option_fields()}

    assert api.preview(doubled_twice, **nothing).request == api.preview(doubled_twice).request
    run = kfgcp.run(doubled_twice, timeout=PROCESS, **nothing)
    assert kfgcp.rerun(run, timeout=PROCESS, **nothing).params == run.params == {"number": 4}


def test_a_misspelled_option_has_a_suggestion(home: Path) -> None:
    with pytest.raises(UsageError) as submitted:
        kfgcp.submit(double, experimnt="x")  # type: ignore[call-arg]
    with pytest.raises(UsageError) as listed:
        kfgcp.list(experimnt="x")  # type: ignore[call-arg]

    assert submitted.value.hint.startswith("Did you mean experiment? ")
    assert listed.value.hint.startswith("Did you mean experiment? ")


def test_an_environment_that_does_not_exist_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        kfgcp.submit(double, env="nowhere", params={"number": 1})
