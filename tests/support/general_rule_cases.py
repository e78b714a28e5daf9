"""For each general rule: a pipeline that triggers it, and the smallest edit that silences it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import RuleFinding, Target, judge
from kfgcp.spec.load import from_documents

REMOVE = object()
"""As the value of an edit: removes the field."""

IMAGE = "python:3.12@sha256:" + "0" * 64
TASK = "root.dag.tasks.say"
COMPONENT = "components.comp-say"
CONTAINER = "deploymentSpec.executors.exec-say.container"

BASE: dict[str, Any] = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.16.0",
    "pipelineInfo": {"name": "hello"},
    "root": {
        "dag": {
            "tasks": {
                "say": {
                    "taskInfo": {"name": "say"},
                    "componentRef": {"name": "comp-say"},
                    "inputs": {"parameters": {"text": {"componentInputParameter": "text"}}},
                }
            }
        },
        "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
    },
    "components": {
        "comp-say": {
            "executorLabel": "exec-say",
            "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
            "outputDefinitions": {"parameters": {"Output": {"parameterType": "STRING"}}},
        }
    },
    "deploymentSpec": {
        "executors": {
            "exec-say": {
                "container": {
                    "image": IMAGE,
                    "command": ["echo", "{{$.inputs.parameters['text']}}"],
                }
            }
        }
    },
}
"""A pipeline in which no rule finds anything."""

Edit = tuple[str, Any]
"""A place, `root.dag.tasks.say`, and the value to put there."""


def dag(tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A component that consists of tasks."""
    return {"dag": {"tasks": tasks}, **fields}


def task(component: str = "comp-say", **fields: Any) -> dict[str, Any]:
    """A task that needs no input."""
    inputs = {"parameters": {"text": {"runtimeValue": {"constant": "hello"}}}}
    return {"componentRef": {"name": component}, "inputs": inputs, **fields}


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def output_of(producer: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": "Output"}}


def python_function(source: str = "def say(text): ...", install: str = "") -> list[Edit]:
    """The edits that make the component a Python function, as KFP compiles it."""
    script = 'printf "%s" "$0" > "$program_path/ephemeral_component.py"'
    script += ' && _KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "$@"'
    prelude = ["sh", "-c", f'python3 -m pip install {install} && "$0" "$@"'] if install else []
    return [
        (f"{CONTAINER}.command", [*prelude, "sh", "-ec", script, source]),
        (f"{CONTAINER}.args", ["--executor_input", "{{$}}", "--function_to_execute", "say"]),
    ]


def parameter(kind: str, **fields: Any) -> dict[str, Any]:
    return {"parameterType": kind, **fields}


def importer(uri: str, **fields: Any) -> list[Edit]:
    """The edits that make the component an importer."""
    body = {"artifactUri": {"constant": uri}, "reimport": True, **fields}
    return [
        ("deploymentSpec.executors.exec-say", {"importer": body}),
        (f"{TASK}.cachingOptions", {}),
    ]


FINAL_STATUS = parameter("TASK_FINAL_STATUS", isOptional=True)
CONDITION = "inputs.parameter_values['text'] == 'a'"
CLUSTER: dict[str, Any] = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {"executors": {"exec-say": {"nodeSelector": {"labels": {"a": "b"}}}}}
        }
    }
}
BRANCHES: list[Edit] = [
    ("root.dag.tasks.if", task("comp-branches")),
    (
        "components.comp-branches",
        dag(
            {
                "a": task(triggerPolicy={"condition": "inputs.parameter_values['text'] == 'a'"}),
                "b": task(triggerPolicy={"condition": "inputs.parameter_values['text'] == 'b'"}),
            },
            inputDefinitions={"parameters": {"text": parameter("STRING")}},
            outputDefinitions={"parameters": {"chosen": parameter("STRING")}},
        ),
    ),
    (
        "components.comp-branches.dag.outputs",
        {
            "parameters": {
                "chosen": {
                    "valueFromOneof": {
                        "parameterSelectors": [
                            {"producerSubtask": "a", "outputParameterKey": "Output"},
                            {"producerSubtask": "b", "outputParameterKey": "Output"},
                        ]
                    }
                }
            }
        },
    ),
]


@dataclass(frozen=True)
class Case:
    """A pipeline that triggers a rule.

    Attributes:
        rule: the id of the rule.
        trigger: the edits of BASE after which the rule finds something.
        message: what it says then.
        fix: the smallest edits after which it finds nothing.
        platform: the second document of the file.
        fixed_platform: the same after the edit.
    """

    rule: str
    trigger: Sequence[Edit]
    message: str
    fix: Sequence[Edit]
    platform: dict[str, Any] | None = None
    fixed_platform: dict[str, Any] | None = None


LOOP = f"{TASK}.parameterIterator"
CASES = [
    Case(
        "S101",
        [(LOOP, {"items": {"raw": " [ ] "}, "itemInput": "text"})],
        "task say loops over an empty list, so nothing in it runs",
        [(f"{LOOP}.items.raw", '["a"]')],
    ),
    Case(
        "S102",
        [(LOOP, {"items": {"raw": '{"a": 1}'}, "itemInput": "text"})],
        r'task say loops over items that are not a list: "{\"a\": 1}"',
        [(f"{LOOP}.items.raw", "[1]")],
    ),
    Case(
        "S102",
        [(LOOP, {"items": {"raw": "[1"}, "itemInput": "text"})],
        'task say loops over items that are not a list: "[1"',
        [(f"{LOOP}.items.raw", "[1]")],
    ),
    Case(
        "S103",
        [(f"{CONTAINER}.command", ["echo", "{{$.inputs.parameters['txt']}}"])],
        "component say has {{$.inputs.parameters['txt']... in its command, but no such input",
        [(f"{CONTAINER}.command", ["echo", "{{$.inputs.parameters['text']}}"])],
    ),
    Case(
        "S103",
        [(f"{CONTAINER}.args", ["--to={{$.outputs.artifacts['model'].path}}"])],
        "component say has {{$.outputs.artifacts['model']... in its command, but no such output",
        [
            (
                f"{COMPONENT}.outputDefinitions.artifacts",
                {"model": {"artifactType": {"schemaTitle": "system.Model"}}},
            )
        ],
    ),
    Case(
        "S105",
        [(f"{CONTAINER}.env", [{"name": "N", "value": "{{channel:task=a;name=b;type=c;}}"}])],
        "the environment variable N of component say contains the output of a task at a place where"
        " KFP does not fill it in",
        [(f"{CONTAINER}.env", [{"name": "N", "value": "3"}])],
    ),
    Case(
        "S105",
        [(LOOP, {"items": {"raw": '["{{channel:name=b;type=c;}}"]'}, "itemInput": "text"})],
        "the list of items of task say contains the output of a task at a place where KFP does not"
        " fill it in",
        [(f"{LOOP}.items.raw", '["a"]')],
    ),
    Case(
        "S110",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['text' == 'a'"})],
        "task say has a condition that is not a CEL expression: ",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S111",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['txt'] == 'a'"})],
        "task say has a condition about the input 'txt', which the task does not have",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S112",
        [(f"{TASK}.triggerPolicy", {"condition": "1 > 2"})],
        "task say has a condition without inputs, which is always false",
        [(f"{TASK}.triggerPolicy.condition", CONDITION)],
    ),
    Case(
        "S113",
        [(f"{TASK}.triggerPolicy", {"condition": "inputs.parameter_values['text'] == true"})],
        "task say compares 'text', which is STRING, with the boolean true, so the condition is"
        " always false",
        [(f"{TASK}.triggerPolicy.condition", "inputs.parameter_values['text'] == 'true'")],
    ),
    Case(
        "S113",
        [(f"{TASK}.triggerPolicy", {"condition": "!(inputs.parameter_values['text'] > 3)"})],
        "task say compares 'text', which is STRING, with the number 3, so the condition cannot be"
        " evaluated",
        [(f"{TASK}.triggerPolicy.condition", "!(int(inputs.parameter_values['text']) > 3)")],
    ),
    Case(
        "S120",
        [(f"{TASK}.inputs.parameters.text", constant(2**53 + 2))],
        "input 'text' of task say is 9007199254740994, and KFP keeps only about 16 digits of a"
        " number",
        [(f"{TASK}.inputs.parameters.text", constant(str(2**53 + 2)))],
    ),
    Case(
        "S120",
        [("root.inputDefinitions.parameters.text", parameter("LIST", defaultValue=[2**60]))],
        "the default of the pipeline's parameter 'text' is 1152921504606846976, and KFP keeps only"
        " about 16 digits of a number",
        [("root.inputDefinitions.parameters.text.defaultValue", [10**18])],
    ),
    Case(
        "S121",
        [("root.inputDefinitions.parameters.text", parameter("NUMBER_INTEGER", defaultValue=2.5))],
        "the default of the parameter 'text' must be NUMBER_INTEGER, but is 2.5, so a run needs"
        " another value",
        [("root.inputDefinitions.parameters.text.defaultValue", 2)],
    ),
    Case(
        "S121",
        [
            (
                "root.inputDefinitions.parameters.text",
                parameter("STRING", defaultValue="c", literals=["a", "b"]),
            )
        ],
        'the default of the parameter \'text\' must be one of "a", "b", but is "c", so a run'
        " needs another value",
        [("root.inputDefinitions.parameters.text.defaultValue", "a")],
    ),
    Case(
        "S122",
        [(f"{COMPONENT}.inputDefinitions.parameters.n", parameter("BOOLEAN", defaultValue=1))],
        "the default of an input of component say is wrong: 'n' must be BOOLEAN, but is 1",
        [(f"{COMPONENT}.inputDefinitions.parameters.n.defaultValue", True)],
    ),
    Case(
        "S123",
        [
            (f"{COMPONENT}.inputDefinitions.parameters.n", parameter("NUMBER_INTEGER")),
            (f"{TASK}.inputs.parameters.n", constant("3")),
        ],
        "task say cannot start: 'n' must be NUMBER_INTEGER, but is \"3\"",
        [(f"{TASK}.inputs.parameters.n", constant(3))],
    ),
    Case(
        "S125",
        [(f"{TASK}.inputs", REMOVE), ("root.inputDefinitions", REMOVE)],
        "task say does not set the input 'text', which its component needs",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.isOptional", True)],
    ),
    Case(
        "S126",
        [("root.inputDefinitions.parameters.text.isOptional", True)],
        "task say needs 'text', but the pipeline's input 'text' may have no value",
        [("root.inputDefinitions.parameters.text.defaultValue", "hello")],
    ),
    Case(
        "S127",
        [
            *python_function("def say(text: dsl.PipelineTaskFinalStatus): ..."),
            (f"{COMPONENT}.inputDefinitions.parameters.text", FINAL_STATUS),
            ("root.inputDefinitions.parameters.text", FINAL_STATUS),
        ],
        "task say needs the final status of other tasks as 'text', but gets no value",
        [
            ("root.dag.tasks.other", task("comp-other")),
            ("components.comp-other", {"executorLabel": "exec-other"}),
            ("deploymentSpec.executors.exec-other", {"container": {"image": IMAGE}}),
            (f"{TASK}.inputs.parameters.text", {"taskFinalStatus": {"producerTask": "other"}}),
            (f"{TASK}.dependentTasks", ["other"]),
            (f"{TASK}.triggerPolicy", {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        ],
    ),
    Case(
        "S127",
        [("root.inputDefinitions.parameters.text", FINAL_STATUS)],
        "task say needs the final status of other tasks as 'text', but gets no value",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.isOptional", True)],
    ),
    Case(
        "S130",
        [
            (f"{TASK}.triggerPolicy", {"condition": CONDITION}),
            ("root.dag.tasks.last", task(dependentTasks=["say"])),
        ],
        "task last waits for say, which a condition may skip, so task last is skipped with it",
        [(f"{TASK}.triggerPolicy", REMOVE)],
    ),
    Case(
        "S131",
        BRANCHES,
        "the output 'chosen' of task if comes from branches that may all be skipped",
        [
            (
                "components.comp-branches.dag.tasks.b.triggerPolicy.condition",
                "!(inputs.parameter_values['text'] == 'a')",
            )
        ],
    ),
    Case(
        "S132",
        [
            (
                "root.dag.tasks.last",
                {
                    "componentRef": {"name": "comp-say"},
                    "inputs": {"parameters": {"text": output_of("say")}},
                    "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
                },
            )
        ],
        "task last also runs when say fails, but then its input 'text' has no value",
        [(f"{COMPONENT}.inputDefinitions.parameters.text.defaultValue", "none")],
    ),
    Case(
        "S140",
        [("root.dag.tasks.last", task(taskInfo={"name": "say"}))],
        "2 tasks in the pipeline have the name 'say'",
        [("root.dag.tasks.last.taskInfo.name", "last")],
    ),
    Case(
        "S141",
        [(f"{TASK}.colour", "red")],
        "root.dag.tasks.say.colour is not a field of a PipelineSpec; Kubeflow Pipelines refuses the"
        " file because of it",
        [(f"{TASK}.colour", REMOVE)],
    ),
    Case(
        "S142",
        [("root.inputDefinitions.parameters.seed", parameter("STRING"))],
        "the pipeline does not use its input 'seed'",
        [("root.inputDefinitions.parameters.seed", REMOVE)],
    ),
    Case(
        "P101",
        [("deploymentSpec.executors.exec-say", {"customJob": {"customJob": {}}})],
        "component say is a customJob executor, which only Vertex AI runs",
        [("deploymentSpec.executors.exec-say", {"container": {"image": IMAGE}})],
    ),
    Case(
        "P104",
        [],
        "the pipeline has settings that only Kubernetes understands: node selector",
        [],
        platform=CLUSTER,
    ),
    Case(
        "P105",
        [(f"{CONTAINER}.image", f"localhost:5000/say@sha256:{'0' * 64}")],
        "the image of component say is in a registry of one machine: localhost:5000/say@sha256:"
        + "0" * 64,
        [(f"{CONTAINER}.image", IMAGE)],
    ),
    Case(
        "P110",
        [("root.inputDefinitions.parameters.text.defaultValue", "/home/ann/data.csv")],
        "the default of the pipeline's parameter 'text' is a path of one machine",
        [("root.inputDefinitions.parameters.text.defaultValue", "gs://bucket/data.csv")],
    ),
    Case(
        "P110",
        [(f"{TASK}.inputs.parameters.text", constant(r"C:\data\rows.csv"))],
        "input 'text' of task say is a path of one machine",
        [(f"{TASK}.inputs.parameters.text", constant("s3://bucket/rows.csv"))],
    ),
    Case(
        "P111",
        [(f"{CONTAINER}.env", [{"name": "DB", "value": "postgres://me:pw1@localhost:5432/db"}])],
        "the environment variable DB of component say has an address of this machine:"
        " postgres://localhost",
        [(f"{CONTAINER}.env", [{"name": "DB", "value": "postgres://db.acme.example:5432/db"}])],
    ),
    Case(
        "P112",
        [(f"{CONTAINER}.args", ["--data=/gcs/bucket/rows.csv"])],
        "the command of component say has a path below /gcs, where only Vertex AI mounts buckets",
        [(f"{CONTAINER}.args", ["--data=gs://bucket/rows.csv"])],
    ),
    Case(
        "P112",
        python_function("def say(text):\n    open('/gcs/bucket/rows.csv')"),
        "the command of component say has a path below /gcs, where only Vertex AI mounts buckets",
        python_function("def say(text):\n    text.replace('gs://', '/gcs/')"),
    ),
    Case(
        "P112",
        [(f"{TASK}.inputs.parameters.text", constant("/gcs/bucket/rows.csv"))],
        "input 'text' of task say has a path below /gcs, where only Vertex AI mounts buckets",
        [(f"{TASK}.inputs.parameters.text", constant("gs://bucket/rows.csv"))],
    ),
    Case(
        "P120",
        [
            *python_function("def say(s):\n    if s.state == 'SUCCEEDED': ..."),
            (
                f"{COMPONENT}.inputDefinitions.parameters.s",
                parameter("TASK_FINAL_STATUS", isOptional=True),
            ),
        ],
        "component say compares a final status with SUCCEEDED, but Kubeflow Pipelines says"
        " COMPLETE",
        python_function("def say(s):\n    if s.state != 'FAILED': ..."),
    ),
    Case(
        "P121",
        [(f"{CONTAINER}.args", ["{{workflow.uid}}"])],
        "the command of component say has the variable {{workflow.uid}}, which only Argo Workflows"
        " fills in",
        [(f"{CONTAINER}.args", ["{{$.pipeline_job_uuid}}"])],
    ),
    Case(
        "P121",
        [(f"{TASK}.inputs.parameters.text", constant("run {{workflow.name}}"))],
        "input 'text' of task say has the variable {{workflow.name}}, which only Argo Workflows"
        " fills in",
        [(f"{TASK}.inputs.parameters.text", constant("run {{$.pipeline_job_name}}"))],
    ),
    Case(
        "R101",
        [(f"{CONTAINER}.image", "registry:5000/team/python")],
        "component say runs the newest version of the image registry:5000/team/python, which"
        " changes over time",
        [(f"{CONTAINER}.image", "registry:5000/team/python:3.12")],
    ),
    Case(
        "R101",
        [(f"{CONTAINER}.image", "python:latest")],
        "component say runs the newest version of the image python:latest, which changes over time",
        [(f"{CONTAINER}.image", "python:3.12")],
    ),
    Case(
        "R102",
        [(f"{CONTAINER}.image", "python:3.12")],
        "component say runs the image python:3.12 by its tag, which somebody may move to another"
        " image",
        [(f"{CONTAINER}.image", IMAGE)],
    ),
    Case(
        "R103",
        python_function(install="'kfp==2.16.0' 'pandas[excel]>=2' 'numpy==1.26.4' six"),
        "component say installs pandas, six without a version",
        python_function(install="'kfp==2.16.0' 'pandas[excel]==2.2.3' 'numpy==1.26.4' six==1.16.0"),
    ),
    Case(
        "R104",
        python_function(install="'tools @ git+https://git.acme.example/team/tools.git@main'"),
        "component say installs tools from a branch, which changes with each commit",
        python_function(install="'tools @ git+https://git.acme.example/team/tools.git@v1.4'"),
    ),
    Case(
        "R104",
        python_function(install="git+https://me@git.acme.example/team/tools.git"),
        "component say installs tools from a branch, which changes with each commit",
        python_function(install="git+https://me@git.acme.example/team/tools.git@4f2a9c1"),
    ),
    Case(
        "R104",
        python_function(install="'tools @ https://git.acme.example/team/tools/archive/main.zip'"),
        "component say installs tools from a branch, which changes with each commit",
        python_function(install="'tools @ https://git.acme.example/team/tools/archive/v1.4.zip'"),
    ),
    Case(
        "R105",
        python_function(install="kfp==2.10.0"),
        "component say installs kfp 2.10.0, but the pipeline was compiled with kfp 2.16.0",
        python_function(install="kfp==2.16.0"),
    ),
    Case(
        "R110",
        importer("gs://bucket/rows.csv", reimport=False),
        "component say reuses the artifact that it imported first, also when the file has changed",
        importer("gs://bucket/rows.csv", reimport=True),
    ),
    Case(
        "R111",
        [
            (f"{TASK}.cachingOptions", {"enableCache": True}),
            (f"{TASK}.inputs", REMOVE),
            (f"{COMPONENT}.inputDefinitions.parameters.text.isOptional", True),
        ],
        "task say has caching on and no inputs, so later runs take its outputs from the first run",
        [(f"{TASK}.cachingOptions", {})],
    ),
    Case(
        "R113",
        [
            (f"{TASK}.cachingOptions", {"enableCache": True}),
            (f"{CONTAINER}.args", ["--run={{$.pipeline_job_name}}"]),
        ],
        "task say has caching on, and its command has {{$.pipeline_job_name}}, which does not count"
        " for the cache",
        [(f"{TASK}.cachingOptions", {})],
    ),
    Case(
        "R114",
        [
            (f"{TASK}.cachingOptions", {"enableCache": True}),
            (f"{TASK}.inputs.parameters.text", constant("run {{$.pipeline_job_uuid}}")),
        ],
        "task say has caching on, but never finds outputs, because 'text' is another text in each"
        " run",
        [(f"{TASK}.cachingOptions", {})],
    ),
    Case(
        "Y101",
        python_function(install="--index-url https://bob:hunter2@index.acme.example/simple six"),
        "component say has a password in the address of a package or of a package index",
        python_function(install="--index-url https://index.acme.example/simple six"),
    ),
    Case(
        "Y102",
        [(f"{CONTAINER}.env", [{"name": "GH", "value": "ghp_" + "a1B2" * 9}])],
        "the environment variable GH of component say contains a token of GitHub",
        [(f"{CONTAINER}.env", [{"name": "GH", "value": "ghp_"}])],
    ),
    Case(
        "Y102",
        python_function("def say(text):\n    key = '" + "AKIA" + "Z7Q2" * 4 + "'"),
        "the command of component say contains an access key of AWS",
        python_function("def say(text):\n    key = 'AKIAIOSFODNN7EXAMPLE'"),
    ),
    Case(
        "Y103",
        [(f"{CONTAINER}.env", [{"name": "DB_PASSWORD", "value": "hunter2"}])],
        "the environment variable DB_PASSWORD of component say has a plain text, and its name says"
        " that it is a secret",
        [(f"{CONTAINER}.env", [{"name": "DB_PASSWORD", "value": "secret:DB_PASSWORD"}])],
    ),
    Case(
        "Y103",
        [("root.inputDefinitions.parameters.api_key", parameter("STRING", defaultValue="x7"))],
        "the default of the pipeline's parameter 'api_key' has a plain text, and its name says that"
        " it is a secret",
        [("root.inputDefinitions.parameters.api_key.defaultValue", REMOVE)],
    ),
    Case(
        "Y104",
        [(f"{TASK}.inputs.parameters.text", constant("postgres://me:hunter2@db.acme.example/x"))],
        "input 'text' of task say contains an address with a password",
        [(f"{TASK}.inputs.parameters.text", constant("postgres://me@db.acme.example/x"))],
    ),
    Case(
        "Y104",
        python_function("def say(text):\n    connect('redis://:hunter2@cache.acme.example')"),
        "the command of component say contains an address with a password",
        python_function("def say(text):\n    connect(f'redis://:{text}@cache.acme.example')"),
    ),
    Case(
        "Y110",
        python_function(install="--trusted-host index.acme.example six==1.16.0"),
        "component say installs packages without checking who sends them: --trusted-host",
        python_function(install="six==1.16.0"),
    ),
    Case(
        "Y110",
        python_function(install="--extra-index-url http://index.acme.example/simple six==1.16.0"),
        "component say installs packages without checking who sends them: an index with http",
        python_function(install="--extra-index-url https://index.acme.example/simple six==1.16.0"),
    ),
    Case(
        "Y111",
        [(f"{CONTAINER}.args", ["curl -sSL https://get.acme.example/tool.sh | sudo bash -s"])],
        "component say downloads a script and runs it at once: curl ... | sh",
        [(f"{CONTAINER}.args", ["curl -sSL https://get.acme.example/tool.sh | sha256sum"])],
    ),
    Case(
        "Y112",
        importer("http://data.acme.example/rows.csv"),
        "the URI of component say is read over plain http, which everyone on the network path can"
        " change",
        importer("https://data.acme.example/rows.csv"),
    ),
    Case(
        "Y112",
        python_function(install="'tools @ http://acme.example/tools-1.0-py3-none-any.whl'"),
        "a package of component say is read over plain http, which everyone on the network path can"
        " change",
        python_function(install="'tools @ https://acme.example/tools-1.0-py3-none-any.whl'"),
    ),
]


def edited(document: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """Return a copy of a document after edits."""
    changed = copy.deepcopy(document)
    for place, value in edits:
        *parents, key = place.split(".")
        parent = changed
        for step in parents:
            parent = parent.setdefault(step, {})
        if value is REMOVE:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(value)
    return changed


def findings(document: dict[str, Any], platform: dict[str, Any] | None = None) -> list[RuleFinding]:
    documents = [document] if platform is None else [document, platform]
    pipeline = PipelineContext(from_documents(documents, "hello.yaml"))
    return judge(general_rules(), pipeline, Target("here", "local"))
