"""The bodies that make runs, with Google's own message types as the judge of every field."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from hypothesis import example, given, settings
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.vertex.request import find_problems, job_id
from kfgcp.backends.vertex.request import job as job_body
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import ParamError, SpecError, Unsupported
from kfgcp.rules.before_run import warning_lines
from kfgcp.spec.load import Spec, from_documents

ROOT = Path(__file__).parents[3]
SPECS = (
    *sorted(file.name for file in (ROOT / "tests" / "engine" / "specs").glob("*.yaml")),
    *sorted(f"tests/pipelines/{file.name}" for file in (ROOT / "tests" / "pipelines").glob("*.py")),
    # check_me.py asks for more than Vertex AI has, on purpose.
    *sorted(
        f"examples/{file.name}"
        for file in (ROOT / "examples").glob("*.py")
        if file.name != "check_me.py"
    ),
    *("ingest_table", "split_table", "train_classifier", "evaluate_classifier"),
)
VALUES = {
    "STRING": "a",
    "NUMBER_INTEGER": 3,
    "NUMBER_DOUBLE": 0.5,
    "BOOLEAN": True,
    "LIST": [1, "b"],
    "STRUCT": {"c": 1},
    "ARTIFACT": "gs://acme-data/table",
}
CONFIG = {
    "network": "projects/12345/global/networks/net",
    "psc_network_attachment": "projects/acme/regions/europe-west4/networkAttachments/one",
    "reserved_ip_ranges": ["one", "two"],
    "encryption_key": "projects/acme/locations/europe-west4/keyRings/ring/cryptoKeys/key",
    "failure_policy": "fast",
    "preflight_validations": True,
    "service_account": "runner@acme.iam.gserviceaccount.com",
}


def parsed(body: JsonDict) -> Any:
    """The message that a body is; a field that Google does not know is an error."""
    sent = json.loads(json.dumps(body, allow_nan=False))
    return json_format.ParseDict(sent, types.PipelineJob.pb()())


def values_of(spec: Any) -> JsonDict:
    return {name: VALUES[param.type] for name, param in spec.params.items() if param.required}


@pytest.mark.parametrize("name", SPECS)
def test_every_body_is_a_pipeline_job(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    name: str,
) -> None:
    spec = compiled(name)
    params = values_of(spec)

    job = parsed(
        job_body(
            request_of(spec, params, name="named", experiment="Churn 2"),
            vertex_settings(),
            "abc123",
        )
    )

    assert json_format.MessageToDict(job.pipeline_spec) == json.loads(
        json.dumps(spec.pipeline_spec)
    )
    assert job.display_name == "named"
    assert job.runtime_config.gcs_output_directory == "gs://acme-pipelines"
    parameter_values = json_format.MessageToDict(job)["runtimeConfig"].get("parameterValues", {})
    artifacts = {name for name in params if spec.params[name].is_artifact}
    assert {
        name: value for name, value in params.items() if name not in artifacts
    }.items() <= parameter_values.items()
    assert set(job.runtime_config.input_artifacts) == artifacts
    assert not artifacts & set(parameter_values)
    assert dict(job.labels) == {"experiment": "churn-2", "submission": "abc123"}
    assert not job.service_account
    assert not job.network
    assert not job.runtime_config.failure_policy


@pytest.mark.parametrize("name", SPECS[:3])
@pytest.mark.parametrize("version", ["2.0.0", "2.1.0"])
def test_every_setting_is_a_field_of_the_job(
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    name: str,
    version: str,
) -> None:
    spec = edited(name, lambda document: document.update(schemaVersion=version))

    job = parsed(job_body(request_of(spec), vertex_settings(**CONFIG), "abc123"))

    assert job.network == CONFIG["network"]
    assert job.psc_interface_config.network_attachment == CONFIG["psc_network_attachment"]
    assert list(job.reserved_ip_ranges) == ["one", "two"]
    assert job.encryption_spec.kms_key_name == CONFIG["encryption_key"]
    assert job.service_account == CONFIG["service_account"]
    assert job.preflight_validations is True
    assert (
        job.runtime_config.failure_policy
        == types.PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
    )


@pytest.mark.parametrize(
    ("setting", "fail_fast", "policy"),
    [
        (None, False, ""),
        (None, True, "FAST"),
        ("slow", False, "SLOW"),
        ("slow", True, "FAST"),
        ("fast", False, "FAST"),
    ],
)
def test_the_failure_policy_is_that_of_the_request_or_of_the_environment(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    setting: str | None,
    fail_fast: bool,
    policy: str,
) -> None:
    settings = {} if setting is None else {"failure_policy": setting}
    request = request_of(compiled("tests/pipelines/echo.py"), fail_fast=fail_fast)

    runtime = job_body(request, vertex_settings(**settings), "abc123")["runtimeConfig"]

    assert runtime.get("failurePolicy", "") == (
        f"PIPELINE_FAILURE_POLICY_FAIL_{policy}" if policy else ""
    )


def test_parameters_have_the_form_of_their_schema(
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    def spec(version: str) -> Any:
        return edited(
            "features-2.14.6.yaml", lambda document: document.update(schemaVersion=version)
        )

    params = {"n": 7, "ratio": 2.5, "text": "t", "items": [1, 2]}
    new = parsed(
        job_body(request_of(spec("2.1.0"), params), vertex_settings(), "abc123")
    ).runtime_config
    assert {
        name: json_format.MessageToDict(value) for name, value in new.parameter_values.items()
    } == {
        "n": 7,
        "ratio": 2.5,
        "text": "t",
        "items": [1, 2],
        "flag": True,
        "config": {"depth": {"of": 2}},
    }
    assert not new.parameters
    old = parsed(
        job_body(request_of(spec("2.0.0"), params), vertex_settings(), "abc123")
    ).runtime_config
    assert not old.parameter_values
    assert old.parameters["n"].int_value == 7
    assert old.parameters["ratio"].double_value == 2.5
    assert old.parameters["text"].string_value == "t"
    assert old.parameters["items"].string_value == "[1, 2]"
    assert old.parameters["flag"].string_value == "true"


def test_a_parameter_without_a_value_is_left_out(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    spec = compiled("tests/pipelines/typed.py")

    body = job_body(request_of(spec, values_of(spec)), vertex_settings(), "abc123")

    assert set(body["runtimeConfig"]["parameterValues"]) == set(spec.params) - {"note"}


def test_a_version_of_a_registry_is_named(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    from dataclasses import replace

    address = "https://europe-west4-kfp.pkg.dev/acme/repo/echo/sha256:" + "a" * 64
    spec = replace(compiled("tests/pipelines/echo.py"), template=address)

    assert parsed(job_body(request_of(spec), vertex_settings(), "abc123")).template_uri == address


# -- caching


def tasks_of(spec: JsonDict) -> dict[tuple[str, str], JsonDict]:
    components = {"root": spec["root"], **spec["components"]}
    return {
        (name, key): task
        for name, component in components.items()
        for key, task in component.get("dag", {}).get("tasks", {}).items()
    }


def with_keys(spec: JsonDict) -> None:
    for (name, key), task in tasks_of(spec).items():
        if "componentRef" in task and name != "root":
            task["cachingOptions"] = {
                "enableCache": key.startswith("double"),
                "cacheKey": f"mine-{key}",
            }


@pytest.mark.parametrize("cache", [True, False])
def test_caching_is_switched_in_nested_tasks_and_keeps_their_keys(
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    cache: bool,
) -> None:
    spec = edited("features-2.14.6.yaml", with_keys)
    before = json.dumps(spec.pipeline_spec, sort_keys=True)

    sent = job_body(request_of(spec, cache=cache), vertex_settings(), "abc123")["pipelineSpec"]

    tasks = tasks_of(sent)
    assert len(tasks) > 10
    for (name, key), task in tasks.items():
        assert task["cachingOptions"].get("enableCache", False) is cache
        assert task["cachingOptions"].get("cacheKey") == (f"mine-{key}" if name != "root" else None)
    assert json.dumps(spec.pipeline_spec, sort_keys=True) == before, (
        "the spec of the request stays as it is"
    )


def test_without_a_word_on_caching_the_spec_is_sent_as_it_is(
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    spec = edited("features-2.14.6.yaml", with_keys)

    assert (
        job_body(request_of(spec), vertex_settings(), "abc123")["pipelineSpec"]
        == spec.pipeline_spec
    )


def uncached(spec: JsonDict) -> set[tuple[str, str]]:
    return {
        place
        for place, task in tasks_of(spec).items()
        if not task["cachingOptions"].get("enableCache")
    }


@pytest.mark.parametrize(
    ("start", "again"),
    [
        ("add-2", {("root", "add-2")}),
        (
            "inner",
            {("root", "inner"), ("root", "add-2"), ("comp-inner", "double"), ("comp-inner", "add")},
        ),
        ("inner/add", {("comp-inner", "add"), ("root", "add-2")}),
        ("inner/double", {("comp-inner", "double"), ("comp-inner", "add"), ("root", "add-2")}),
        (
            "add",
            {
                *(("root", key) for key in ("add", "inner", "add-2")),
                *(("comp-inner", key) for key in ("double", "add")),
            },
        ),
    ],
)
def test_from_a_task_that_task_and_what_depends_on_it_use_no_cache(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    start: str,
    again: set[tuple[str, str]],
) -> None:
    spec = compiled("tests/pipelines/chain.py")
    assert uncached(spec.pipeline_spec) <= {("root", "inner")}, (
        "only the DAG `inner` may leave caching out"
    )

    sent = job_body(
        request_of(spec, from_task=start, repeats="chain-1"), vertex_settings(), "abc123"
    )["pipelineSpec"]

    assert uncached(sent) - {("root", "inner")} == again - {("root", "inner")}
    parsed(job_body(request_of(spec, from_task=start), vertex_settings(), "abc123"))


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("for-loop-3[1]/double-3", "a single iteration of a loop cannot be repeated"),
        ("nobody", "the pipeline has no task nobody"),
    ],
)
def test_from_a_task_that_a_spec_cannot_tell_apart_is_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    start: str,
    why: str,
) -> None:
    with pytest.raises(Unsupported, match=why) as caught:
        job_body(
            request_of(compiled("features-2.14.6.yaml"), from_task=start),
            vertex_settings(),
            "abc123",
        )

    assert "without --from" in caught.value.hint


# -- what is refused before anything is sent


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**30 + 1, 10**400])
def test_numbers_that_no_double_is_equal_to_are_refused(
    compiled: Callable[[str], Spec],
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    number: int,
) -> None:
    from dataclasses import replace

    request = request_of(compiled("features-2.14.6.yaml"))
    for name, value in (("n", number), ("items", [1, number]), ("config", {"a": {"b": [number]}})):
        wrong = replace(request, params={**request.params, name: value})
        with pytest.raises(ParamError, match=rf"parameter {name} contains {number}"):
            job_body(wrong, vertex_settings(), "abc123")
    constant = replace(
        request,
        spec=replace(
            request.spec, pipeline_spec={**request.spec.pipeline_spec, "deep": [{"x": number}]}
        ),
    )
    with pytest.raises(
        SpecError, match=rf"pipeline contains {number}, .*: deep\[0\].x\."
    ) as caught:
        job_body(constant, vertex_settings(), "abc123")
    assert "STRING" in caught.value.hint


def test_an_integer_of_schema_2_0_0_is_sent_as_text(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    from dataclasses import replace

    request = request_of(compiled("features-2.14.6.yaml"))
    old = replace(
        request.spec, pipeline_spec={**request.spec.pipeline_spec, "schemaVersion": "2.0.0"}
    )
    exact = replace(request, spec=old, params={**request.params, "n": 2**53 + 1})

    assert (
        parsed(job_body(exact, vertex_settings(), "abc123"))
        .runtime_config.parameters["n"]
        .int_value
        == 2**53 + 1
    )
    with pytest.raises(ParamError, match=f"parameter n contains {2**63 + 1}"):
        job_body(
            replace(exact, params={**exact.params, "n": 2**63 + 1}), vertex_settings(), "abc123"
        )


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**60, 10**22, True])
def test_numbers_that_a_double_holds_are_not(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    number: int,
) -> None:
    from dataclasses import replace

    request = request_of(compiled("features-2.14.6.yaml"))
    request = replace(request, params={**request.params, "items": [number]})

    job = parsed(job_body(request, vertex_settings(), "abc123"))

    assert json_format.MessageToDict(job.runtime_config.parameter_values["items"]) == [number]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("Team", "a"),
            ("1team", "a"),
            ("", "a"),
            ("team", "A"),
            ("team", "a b"),
            ("team", "ü"),
            ("a" * 64, "a"),
        ),
        *(("team", "a" * 64), ("team", "a.b"), ("team", "a\n"), ("-team", "a"), ("team\n", "a")),
    ],
)
def test_labels_that_google_refuses_are_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
    name: str,
    value: str,
) -> None:
    request = request_of(compiled("tests/pipelines/echo.py"), labels={name: value})

    with pytest.raises(Unsupported, match="Google refuses the label") as caught:
        job_body(request, vertex_settings(), "abc123")

    assert "at most 63 lowercase letters" in caught.value.hint


def test_more_labels_than_google_takes_are_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    def body_with_labels(count: int) -> JsonDict:
        labels = {f"l{number}": "x" for number in range(count)}
        return job_body(
            request_of(compiled("tests/pipelines/echo.py"), labels=labels),
            vertex_settings(),
            "abc123",
        )

    assert len(parsed(body_with_labels(62)).labels) == 64
    with pytest.raises(Unsupported, match=r"has 65 labels, and Vertex AI accepts at most 64"):
        body_with_labels(63)


def test_a_name_that_is_too_long_is_refused(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    spec = compiled("tests/pipelines/echo.py")

    assert (
        job_body(request_of(spec, name="ü" * 128), vertex_settings(), "abc123")["displayName"]
        == "ü" * 128
    )
    with pytest.raises(Unsupported, match=r"129 characters, and Vertex AI accepts at most 128"):
        job_body(request_of(spec, name="x" * 129), vertex_settings(), "abc123")


# -- names


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.from_regex(r"[a-z0-9-]{1,200}", fullmatch=True))
@example("")
@example("-")
@example("2-scores")
@example("Ünï")
@example("a" * 127 + "-b")
@example("-" * 300)
@example("2" + "a" * 127)
def test_job_ids_are_valid_for_any_name_of_a_pipeline(
    pipeline: str,
) -> None:
    name = job_id(pipeline, "0123456789ab")

    assert re.fullmatch(r"[a-z][-a-z0-9]{0,127}", name), name
    assert name.endswith("-0123456789ab")


def test_job_ids_begin_with_the_name_of_the_pipeline() -> None:
    assert job_id("Train Churn_v2", "ab12") == "train-churn-v2-ab12"
    assert job_id("train", "ab12") != job_id("train", "ab13")


# -- what the service cannot be told


def test_ignored_options_are_reported(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    def notes(request: Any) -> list[str]:
        return warning_lines(find_problems(request, vertex_settings()))

    spec = compiled("tests/pipelines/echo.py")
    platform = {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {
                    "executors": {"exec-say": {"nodeSelector": {"labels": {"pool": "big"}}}}
                },
            }
        }
    }
    cluster = from_documents([spec.pipeline_spec, platform], "echo")

    assert notes(request_of(spec)) == []
    assert notes(request_of(cluster)) == [
        "component say has settings for Kubernetes, which Vertex AI ignores: node selector (V303)"
    ]
    (local,) = notes(request_of(spec, max_parallel=2, executor="docker", strict_env=True))
    assert local.startswith("Vertex AI ignores --max-parallel, --executor, --strict-env: only")
