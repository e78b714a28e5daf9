"""ML Metadata of runs, by gRPC-Web over a real socket."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.testing import kubeflow
from patience import REQUEST
from stand_in_apis import KubeflowApi


def spec_in(file: Path) -> Any:
    return next(iter(yaml.safe_load_all(file.read_text())))


def by_name(executions: Any) -> dict[str, tuple[Any, JsonDict]]:
    return {values["task_name"]: (execution, values) for execution, values in executions}


def test_parameters_metrics_and_artifacts_are_found_in_four_calls(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    config = {"parameters": {"n": 3, "items": [5, 6]}}
    run = api.run(pipeline_spec=spec_in(features_file), runtime_config=config)
    ended(api, run)
    mark = len(api.env.requests)

    context = api.metadata(
        "GetContextByTypeAndName", type_name="system.PipelineRun", context_name=run
    ).context
    executions = api.metadata("GetExecutionsByContext", context_id=context.id).executions
    artifacts = api.metadata("GetArtifactsByContext", context_id=context.id).artifacts
    events = api.metadata(
        "GetEventsByExecutionIDs", execution_ids=[execution.id for execution in executions]
    ).events

    assert api.env.requests.count(since=mark) == 4
    assert (context.name, context.type) == (run, "system.PipelineRun")
    assert mlmd.read_properties(context.custom_properties)["pipeline_root"].endswith(
        f"/features/{run}"
    )
    executions_by_name = by_name(
        (execution, mlmd.read_properties(execution.custom_properties)) for execution in executions
    )
    root, values = executions_by_name[""]
    assert (root.name, root.type, mlmd.STATES[root.last_known_state]) == (
        f"run/{run}",
        "system.DAGExecution",
        "RUNNING",
    )
    assert (values["inputs"]["n"], values["inputs"]["items"]) == (3, [5, 6])
    task_two, values = executions_by_name["two"]
    assert (task_two.type, mlmd.STATES[task_two.last_known_state]) == (
        "system.ContainerExecution",
        "COMPLETE",
    )
    assert (values["inputs"], values["outputs"]) == ({"x": 3}, {"value": 3, "name": "n3"})
    assert (values["parent_dag_id"], values["image"], values["namespace"]) == (
        root.id,
        "python:3.11",
        "kubeflow",
    )
    assert task_two.create_time_since_epoch > 1_600_000_000_000
    artifacts_by_name = {
        mlmd.read_properties(artifact.custom_properties)["display_name"]: artifact
        for artifact in artifacts
    }
    metrics = artifacts_by_name["metrics"]
    assert metrics.type == "system.Metrics"
    assert mlmd.read_properties(metrics.custom_properties)["rows"] == 3.0
    assert metrics.custom_properties["rows"].WhichOneof("value") == "double_value"
    artifact_ids = {
        (event.type, event.execution_id, event.path.steps[0].key): event.artifact_id
        for event in events
    }
    produce, consume = executions_by_name["produce"][0].id, executions_by_name["consume"][0].id
    assert artifact_ids[mlmd.OUTPUT, produce, "metrics"] == metrics.id
    assert artifact_ids[mlmd.OUTPUT, produce, "data"] == artifact_ids[mlmd.INPUT, consume, "data"]


def test_loops_conditions_and_nested_pipelines_are_dags(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    run = api.run(
        pipeline_spec=spec_in(features_file), runtime_config={"parameters": {"items": [5, 6]}}
    )
    ended(api, run)

    executions = api.executions(run)

    root = executions[0][0].id
    loop, *iterations = [
        (execution, values)
        for execution, values in executions
        if values["task_name"] == "for-loop-3"
    ]
    assert (loop[1]["iteration_count"], loop[1]["parent_dag_id"]) == (2, root)
    assert [values["iteration_index"] for _, values in iterations] == [0, 1]
    assert {values["parent_dag_id"] for _, values in iterations} == {loop[0].id}
    doubled = {
        values["parent_dag_id"]: values["outputs"]
        for _, values in executions
        if values["task_name"] == "double-3"
    }
    assert doubled == {iterations[0][0].id: {"Output": 10}, iterations[1][0].id: {"Output": 12}}
    names = by_name(executions)
    inner, values = names["inner"]
    assert (inner.type, values["total_dag_tasks"], values["inputs"]) == (
        "system.DAGExecution",
        2,
        {"x": 2, "more": 3},
    )
    assert "outputs" not in values
    assert "double-2" in values["parameter_producer_task"]["Output"]
    assert names["double-2"][1]["parent_dag_id"] == inner.id
    states = {
        name: mlmd.STATES[execution.last_known_state] for name, (execution, _) in names.items()
    }
    assert (states["condition-1"], states["condition-2"], states["inner"]) == (
        "COMPLETE",
        "CANCELED",
        "COMPLETE",
    )
    assert names["condition-1"][1]["display_name"] == "eight"


def test_a_cache_hit_names_the_execution_that_it_repeats(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    runs = [api.run(pipeline_spec=spec_in(features_file)) for _ in range(1)]
    ended(api, runs[0])
    runs.append(api.run(pipeline_spec=spec_in(features_file)))
    ended(api, runs[1])

    first_run, second_run = (by_name(api.executions(run)) for run in runs)

    execution, values = second_run["produce"]
    assert mlmd.STATES[execution.last_known_state] == "CACHED"
    assert values["cached_execution_id"] == str(first_run["produce"][0].id)
    assert values["cache_fingerprint"] == first_run["produce"][1]["cache_fingerprint"]
    assert values["pod_name"] == ""
    execution_ids = [first_run["produce"][0].id, second_run["produce"][0].id]
    events = api.metadata("GetEventsByExecutionIDs", execution_ids=execution_ids).events
    assert len(events) == 4
    assert len({event.artifact_id for event in events}) == 2


def test_a_failure_has_a_state_and_no_reason(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    run = api.run(pipeline_spec=spec_of("one_fails"))
    ended(api, run)

    executions_by_name = by_name(api.executions(run))

    assert mlmd.STATES[executions_by_name["boom"][0].last_known_state] == "FAILED"
    assert "outputs" not in executions_by_name["boom"][1]
    assert "no luck" not in str(executions_by_name["boom"])
    assert "below" not in executions_by_name  # it was not reached
    assert mlmd.STATES[executions_by_name["below-2"][0].last_known_state] == "COMPLETE"


def test_an_importer_is_an_execution_of_its_own_kind(
    api: KubeflowApi, ended: Callable[[KubeflowApi, str], JsonDict], tmp_path: Path
) -> None:
    from kfp import compiler, dsl

    @dsl.pipeline(name="imports")
    def imports(uri: str = "gs://stand-in-project-pipelines/table.csv"):
        dsl.importer(
            artifact_uri=uri,
            artifact_class=dsl.Dataset,
            reimport=False,
            metadata={"rows": 3, "of": ["a"]},
        )

    file = tmp_path / "imports.yaml"
    compiler.Compiler().compile(imports, str(file))
    run = api.run(pipeline_spec=spec_in(file))
    details = ended(api, run)["run_details"]["task_details"]

    execution, values = by_name(api.executions(run))["importer"]

    assert (execution.type, mlmd.STATES[execution.last_known_state]) == (
        "system.ImporterExecution",
        "COMPLETE",
    )
    assert "pod_name" not in values
    context = api.metadata(
        "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run
    ).context
    (artifact,) = api.metadata("GetArtifactsByContext", context_id=context.id).artifacts
    assert (artifact.uri, artifact.type) == (
        "gs://stand-in-project-pipelines/table.csv",
        "system.Dataset",
    )
    assert mlmd.read_properties(artifact.custom_properties)["of"] == {"list": ["a"]}
    assert "importer-driver" not in {detail.get("display_name") for detail in details}


def test_before_2_14_names_were_labels_and_dags_did_not_end(
    api_of: type[KubeflowApi], features_file: Path
) -> None:
    spec = spec_in(features_file)
    total = spec["root"]["dag"]["tasks"]["total"]["inputs"]["parameters"]["numbers"]
    total.clear()
    total["runtimeValue"] = {"constant": [1, 2]}
    del spec["root"]["dag"]["tasks"]["total"]["dependentTasks"]
    with kubeflow(mode="instant", version="2.5.0") as env:
        executions_by_name = by_name(api_of(env).executions(api_of(env).run(pipeline_spec=spec)))

    assert "condition-1" not in executions_by_name
    execution, values = executions_by_name["eight"]
    assert (mlmd.STATES[execution.last_known_state], values["display_name"]) == ("RUNNING", "")


def test_types_can_be_asked_for_by_their_ids(quick: KubeflowApi) -> None:
    quick.env.metadata.names_types = False
    (run,) = quick.env.seed(1, metrics={"accuracy": 0.9})
    (root, _), (train, _) = quick.executions(run)
    context = quick.metadata(
        "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run
    ).context
    (artifact,) = quick.metadata("GetArtifactsByContext", context_id=context.id).artifacts

    kinds = quick.metadata(
        "GetExecutionTypesByID", type_ids=[root.type_id, train.type_id]
    ).execution_types
    artifact_types = quick.metadata(
        "GetArtifactTypesByID", type_ids=[artifact.type_id]
    ).artifact_types
    all_types = quick.metadata("GetExecutionTypes").execution_types

    assert (root.type, train.type, artifact.type) == ("", "", "")
    assert {named_type.id: named_type.name for named_type in kinds} == {
        root.type_id: "system.DAGExecution",
        train.type_id: "system.ContainerExecution",
    }
    assert [named_type.name for named_type in artifact_types] == ["system.Metrics"]
    assert [
        named_type.name for named_type in quick.metadata("GetArtifactTypes").artifact_types
    ] == ["system.Metrics"]
    assert len(all_types) == 3
    assert mlmd.read_properties(artifact.custom_properties)["accuracy"] == 0.9


def test_options_mean_pages_of_20_unless_they_say_how_many(
    quick: KubeflowApi, features_file: Path
) -> None:
    run = quick.run(
        pipeline_spec=spec_in(features_file),
        runtime_config={"parameters": {"items": list(range(20))}},
    )
    context = quick.metadata(
        "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run
    ).context
    options = mlmd.message_class("ListOperationOptions")

    def pages(**fields: object) -> list[int]:
        sizes, token = [], ""
        while True:
            token_field = {"next_page_token": token} if token else {}
            page_options = options(**fields, **token_field)
            answer = quick.metadata(
                "GetExecutionsByContext", context_id=context.id, options=page_options
            )
            sizes.append(len(answer.executions))
            if not (token := answer.next_page_token):
                return sizes

    whole = len(quick.metadata("GetExecutionsByContext", context_id=context.id).executions)
    assert whole > 50
    assert pages() == [20, 20, whole - 40]
    assert pages(max_result_size=1000) == [whole]
    (loop_id,) = [
        execution.id for execution, values in quick.executions(run) if "iteration_count" in values
    ]
    children = options(filter_query=f"custom_properties.parent_dag_id.int_value = {loop_id}")
    loop = quick.metadata(
        "GetExecutionsByContext", context_id=context.id, options=children
    ).executions
    assert len(loop) == 20
    with pytest.raises(mlmd.MlmdError) as caught:
        quick.metadata(
            "GetExecutionsByContext", context_id=context.id, options=options(max_result_size=0)
        )
    assert caught.value.code == 3


def test_a_context_of_a_pipeline_has_all_its_runs(quick: KubeflowApi) -> None:
    quick.env.seed(3)

    context = quick.metadata(
        "GetContextByTypeAndName", type_name=mlmd.PIPELINE, context_name="seeded"
    ).context

    assert len(quick.metadata("GetExecutionsByContext", context_id=context.id).executions) == 6


def test_what_is_not_there_is_empty_and_what_is_unknown_fails(quick: KubeflowApi) -> None:
    nothing = quick.metadata(
        "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name="x"
    )
    assert not nothing.HasField("context")
    assert len(quick.metadata("GetExecutionsByContext", context_id=98).executions) == 0
    assert len(quick.metadata("GetEventsByExecutionIDs", execution_ids=[5, 100_001]).events) == 0

    url = quick.env.host + mlmd.method_path("PutContexts")
    answer = quick.session.post(url, data=b"\0\0\0\0\0", headers=mlmd.HEADERS, timeout=REQUEST)
    types = quick.env.host + mlmd.method_path("GetArtifactTypes")
    broken = quick.session.post(types, data=b"{}", headers=mlmd.HEADERS, timeout=REQUEST)

    for response, code in ((answer, 12), (broken, 3)):
        assert response.status_code == 200
        with pytest.raises(mlmd.MlmdError) as caught:
            mlmd.decode_response("GetArtifactTypesResponse", response.content, response.headers)
        assert caught.value.code == code


def test_executions_keep_their_ids_while_several_look_at_a_run(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    run = api.run(
        pipeline_spec=spec_in(features_file), runtime_config={"parameters": {"items": [1, 2, 3, 4]}}
    )

    def read_until_the_end(_: int) -> dict[int, Any]:
        keys_by_id: dict[int, Any] = {}
        with requests.Session() as session:
            reader = type(api)(api.env, session)
            while True:
                state = reader.get(f"runs/{run}")["state"]
                executions = reader.executions(run) if state != "PENDING" else []
                assert len({execution.id for execution, _ in executions}) == len(executions)
                for execution, values in executions:
                    key = (
                        values["task_name"],
                        values.get("parent_dag_id"),
                        values.get("iteration_index"),
                    )
                    assert keys_by_id.setdefault(execution.id, key) == key
                if state in ("SUCCEEDED", "FAILED"):
                    return keys_by_id

    with ThreadPoolExecutor() as pool:
        first_keys, *other_keys = pool.map(read_until_the_end, range(4))

    assert other_keys == [first_keys] * 3
    # The root, 10 containers, the loop and its 4 iterations, 2 more there, inner, 2 conditions.
    assert len(first_keys) == 21
