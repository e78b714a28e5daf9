"""The bodies that make runs, with the official client's models as the judge of their fields; labels
in descriptions."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.config import Environment
from kfgcp.errors import ParamError, SpecError, Unsupported
from kfgcp.labels import SUBMISSION
from kfgcp.options import option_fields
from kfgcp.spec.load import Spec, from_documents

ROOT = Path(__file__).parents[3]
SPECS = (
    *(f"{name}-2.14.6.yaml" for name in ("features", "guarded")),
    *sorted(
        f"tests/pipelines/{file.name}"
        for file in (ROOT / "tests" / "pipelines").glob("*.py")
        if file.name != "given_data.py"  # Kubeflow cannot give a pipeline an artifact
    ),
)
PLATFORM = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {
                "executors": {"exec-say": {"nodeSelector": {"labels": {"pool": "big"}}}}
            }
        }
    }
}
GIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = KubeflowSettings(host="https://kfp.acme.example")


def build_body(
    request: SubmitRequest,
    env: Environment,
    experiment: str = "e-1",
    submission: str = "abc123abc123",
) -> JsonDict:
    """The body, as JSON has it."""
    body: dict[str, Any] = json.loads(
        json.dumps(
            run_request.run_body(
                request, KubeflowSettings.of(env.settings), experiment, submission
            ),
            allow_nan=False,
        )
    )
    return body


@pytest.mark.parametrize("name", SPECS)
def test_every_body_has_fields_of_a_run_only(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
    name: str,
) -> None:
    values = {
        "STRING": "a",
        "NUMBER_INTEGER": 3,
        "NUMBER_DOUBLE": 0.5,
        "BOOLEAN": True,
        "LIST": [1],
        "STRUCT": {"c": 1},
    }
    spec = compiled(name)
    params = {name: values[param.type] for name, param in spec.params.items() if param.required}

    sent = build_body(
        request_of(spec, params, name="named"),
        environment_of(pipeline_root="gs://acme", service_account="me"),
    )

    assert set(sent) <= set(kfp_server_api.V2beta1Run.attribute_map.values())
    assert set(sent["runtime_config"]) == set(
        kfp_server_api.V2beta1RuntimeConfig.attribute_map.values()
    )
    assert (sent["display_name"], sent["experiment_id"], sent["service_account"]) == (
        "named",
        "e-1",
        "me",
    )
    assert sent["runtime_config"]["pipeline_root"] == "gs://acme"
    assert params.items() <= sent["runtime_config"]["parameters"].items()
    assert sent["pipeline_spec"] == spec.pipeline_spec


def test_what_is_not_set_is_left_to_the_server(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    sent = build_body(request_of(compiled("tests/pipelines/echo.py")), environment_of())

    assert set(sent) == {
        "display_name",
        "description",
        "experiment_id",
        "pipeline_spec",
        "runtime_config",
    }
    assert sent["runtime_config"] == {"parameters": {"text": "hello"}}
    assert sent["display_name"] == "echo-abc123abc123"


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**30 + 1, 10**400])
def test_integers_that_no_double_is_equal_to_are_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
    number: int,
) -> None:
    """`RuntimeConfig.parameters` are of google.protobuf.Value, whose numbers are doubles."""
    request = request_of(compiled("features-2.14.6.yaml"))
    wrong = replace(request, params={**request.params, "items": [1, {"k": number}]})
    constant = replace(
        request,
        spec=replace(
            request.spec, pipeline_spec={**request.spec.pipeline_spec, "deep": [{"x": number}]}
        ),
    )

    with pytest.raises(ParamError, match=f"The parameter items contains {number}"):
        run_request.run_body(wrong, SETTINGS, "e-1", "abc123")
    with pytest.raises(SpecError, match=f"The pipeline contains {number}"):
        run_request.run_body(constant, SETTINGS, "e-1", "abc123")


def nested(levels: int, key: str = "") -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {key: value} if key else [value]
    return value


@pytest.mark.parametrize(
    ("levels", "key", "fits"), [(47, "", True), (48, "", False), (31, "k", True), (32, "k", False)]
)
def test_what_ml_metadata_cannot_read_is_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
    levels: int,
    key: str,
    fits: bool,
) -> None:
    """By the same library as the server's: whether it reads an execution that holds the value."""
    request = request_of(compiled("features-2.14.6.yaml"))
    name = "config" if key else "items"
    deep = replace(request, params={**request.params, name: nested(levels, key)})
    answer = mlmd.message_class("GetExecutionsByContextResponse")()
    held = answer.executions.add().custom_properties["inputs"].struct_value
    json_format.ParseDict({name: nested(levels, key)}, held, max_recursion_depth=1000)

    if fits:
        assert type(answer).FromString(answer.SerializeToString()) == answer
        assert build_body(deep, environment_of())["runtime_config"]["parameters"][name] == nested(
            levels, key
        )
    else:
        with pytest.raises(DecodeError):
            type(answer).FromString(answer.SerializeToString())
        with pytest.raises(Unsupported, match=f"The parameter {name} is nested too deeply"):
            build_body(deep, environment_of())


@pytest.mark.parametrize("number", [2**53, 2**60, 1700000000000000000, 10**22])
def test_integers_that_a_double_holds_are_sent(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
    number: int,
) -> None:
    request = request_of(compiled("features-2.14.6.yaml"))

    sent = build_body(
        replace(request, params={**request.params, "items": [number]}), environment_of()
    )

    assert sent["runtime_config"]["parameters"]["items"] == [number]


def test_a_parameter_without_a_value_is_left_out(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    spec = compiled("tests/pipelines/typed.py")
    request = request_of(
        spec, {"text": "t", "n": 1, "ratio": 1.5, "flag": False, "items": [], "config": {}}
    )
    assert request.params["note"] is None

    assert set(build_body(request, environment_of())["runtime_config"]["parameters"]) == set(
        spec.params
    ) - {"note"}


def test_both_documents_are_sent_in_one_object(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    plain = compiled("tests/pipelines/echo.py")
    spec = from_documents([plain.pipeline_spec, PLATFORM], "echo")

    sent = build_body(request_of(spec, cache=False), environment_of())["pipeline_spec"]

    assert set(sent) == {"pipeline_spec", "platform_spec"}
    assert sent["platform_spec"] == PLATFORM
    assert sent["pipeline_spec"]["root"]["dag"]["tasks"]["say"]["cachingOptions"] == {}


# -- limits


def test_a_name_of_255_characters_is_sent(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    spec = compiled("tests/pipelines/echo.py")

    assert (
        build_body(request_of(spec, name="\u00fc" * 255), environment_of())["display_name"]
        == "\u00fc" * 255
    )


# -- caching


def enabled(spec: JsonDict) -> dict[str, bool]:
    """Whether each task of each DAG uses the cache."""
    return {
        f"{name}/{key}": bool(task.get("cachingOptions", {}).get("enableCache"))
        for name, component in {"root": spec["root"], **spec["components"]}.items()
        for key, task in component.get("dag", {}).get("tasks", {}).items()
    }


@pytest.mark.parametrize("cache", [True, False])
def test_caching_is_switched_in_nested_tasks_too(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
    cache: bool,
) -> None:
    spec = compiled("features-2.14.6.yaml")
    before = json.dumps(spec.pipeline_spec)

    sent = build_body(request_of(spec, cache=cache), environment_of())["pipeline_spec"]

    assert len(enabled(sent)) > 10
    assert set(enabled(sent).values()) == {cache}
    assert json.dumps(spec.pipeline_spec) == before, "the spec of the request stays as it is"


def test_without_a_word_on_caching_the_spec_is_sent_as_it_is(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    spec = compiled("features-2.14.6.yaml")

    assert build_body(request_of(spec), environment_of())["pipeline_spec"] == spec.pipeline_spec


def test_from_a_task_that_task_and_what_depends_on_it_use_no_cache(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    spec = compiled("tests/pipelines/chain.py")

    sent = build_body(request_of(spec, from_task="inner/add", repeats="r-1"), environment_of())[
        "pipeline_spec"
    ]

    uncached = {place for place, on in enabled(sent).items() if not on}
    assert uncached - {"root/inner"} == {"comp-inner/add", "root/add-2"}


def test_from_an_iteration_is_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    request = request_of(compiled("features-2.14.6.yaml"), from_task="for-loop-3[1]/double-3")

    with pytest.raises(
        Unsupported, match="a single iteration of a loop cannot be repeated"
    ) as caught:
        run_request.run_body(request, SETTINGS, "e-1", "abc123abc123")
    assert "without --from" in caught.value.hint


# -- labels


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
@example({"a": 'kfgcp: {"a":"b"}'})
@example({"a\nkfgcp: {}": "}\n{"})
@example({"\u2028": "\x85\r\n\x0b", "": ""})
@example({"\ud800": "\udfff"})
@example({"}": "{", '"': "\\", "\x00": "\x1b[31m"})
def test_labels_come_back_from_a_description_as_they_went(labels: dict[str, str]) -> None:
    try:
        text = run_request.format_description(labels)
    except Unsupported:
        assert len(json.dumps(labels)) > 200
        return
    assert run_request.parse_description(text) == labels
    assert run_request.parse_description(f"What people wrote, before\n{text}\nand after.") == labels


@pytest.mark.parametrize(
    "text",
    [
        None,
        3,
        ["kfgcp: {}"],
        "",
        "kfgcp",
        "kfgcp: ",
        "kfgcp: none",
        "kfgcp: [1]",
        'kfgcp: {"a": ',
        "kfgcp: {a: b}",
        'see kfgcp: {"a": "b"}',
        ' kfgcp: {"a": "b"}',
        'KFGCP: {"a": "b"}',
        'kfgcp: {"a": "b"} and more',
        "kfgcp: {" + "[" * 100_000 + "}",
        'kfgcp: {"a": ' + "[" * 100_000 + "}",
    ],
)
def test_a_description_of_other_people_has_no_labels(text: object) -> None:
    assert run_request.parse_description(text) == {}


def test_values_that_are_not_text_become_text() -> None:
    assert run_request.parse_description(
        'kfgcp: {"n": 3, "on": true, "none": null, "many": [1]}'
    ) == {
        "n": "3",
        "on": "True",
        "none": "None",
        "many": "[1]",
    }


def full(**more: str) -> dict[str, str]:
    """The labels of a run of ours: the longest names of the pipeline and the user that labels may
    have."""
    return {
        "pipeline": "p" * 63,
        "version": "0" * 12,
        "git": GIT,
        "git-dirty": "true",
        "env": "gke",
        "user": "u",
    } | more


def test_labels_that_are_too_many_are_kept_without_those_that_the_spec_tells() -> None:
    """The description is a column of 255 characters; the submission comes first, by which a run is
    found again."""
    short = run_request.format_description(
        {"team": "growth", SUBMISSION: "abc123abc123", "pipeline": "train"}
    )
    assert short == 'kfgcp: {"submission":"abc123abc123","team":"growth","pipeline":"train"}'

    labels = full(submission="abc123abc123", team="t" * 60)
    text = run_request.format_description(labels)
    assert len(text) <= 255
    assert labels.items() - run_request.parse_description(text).items() == {
        ("version", "0" * 12),
        ("pipeline", "p" * 63),
    }

    labels = full(submission="abc123abc123", user="u" * 32)
    assert labels.items() - run_request.parse_description(
        run_request.format_description(labels)
    ).items() == {("version", "0" * 12)}


def test_labels_that_do_not_fit_are_refused_before_a_request(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    request = request_of(compiled("tests/pipelines/echo.py"), labels=full(team="t" * 120))

    with pytest.raises(
        Unsupported, match=r"take \d{3} characters; Kubeflow Pipelines keeps at most 255"
    ) as caught:
        run_request.run_body(request, SETTINGS, "e-1", "abc123abc123")
    assert "--label" in caught.value.hint


def test_a_label_of_the_user_does_not_stand_for_the_submission(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    environment_of: Callable[..., Environment],
) -> None:
    request = request_of(compiled("tests/pipelines/echo.py"), labels={SUBMISSION: "mine"})

    labels = run_request.parse_description(build_body(request, environment_of())["description"])
    assert labels == {
        SUBMISSION: "abc123abc123",
        "experiment": "default",
    }  # the runs of a list name it by an id only


# -- what the service cannot be told


def test_ignored_options_are_reported(
    compiled: Callable[[str], Spec], request_of: Callable[..., SubmitRequest]
) -> None:
    spec = compiled("tests/pipelines/echo.py")
    assert [*run_request.notes(request_of(spec))] == []

    request = request_of(spec, max_parallel=2, executor="docker", strict_env=True, fail_fast=True)
    (local,) = run_request.notes(request)
    assert local.startswith("Kubeflow ignores --max-parallel, --executor, --strict-env: only")


def test_every_field_of_a_request_is_sent_or_named(
    compiled: Callable[[str], Spec], request_of: Callable[..., SubmitRequest]
) -> None:
    """Whoever adds a field to a request, or an option that is not for local runs only, must look at
    this backend."""
    sent = {"spec", "params", "from_task", "translated"}
    # What is repeated comes from the service's cache.
    # Findings that the user ignores are used for notes only.
    ours = {"submit_dir", "source", "repeats", "ignored"}
    sent_options = {"experiment", "name", "labels", "cache"}
    # The rule K325 names it.
    named_options = {"fail_fast"}
    our_options = {"env"}

    request = request_of(compiled("tests/pipelines/echo.py"))
    options = {field.name for field in option_fields() if not field.option.local_only}

    assert {field.name for field in fields(request)} == sent | ours | {"options"}
    assert options == sent_options | named_options | our_options
