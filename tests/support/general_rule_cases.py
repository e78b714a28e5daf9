"""For each general rule: a pipeline that triggers it, and the smallest edit that silences it.

This file has the cases of portability, reproducibility and safety.
"""

from general_rule_pipelines import (
    CLUSTER,
    COMPONENT,
    CONTAINER,
    IMAGE,
    REMOVE,
    TASK,
    Case,
    constant,
    importer,
    parameter,
    python_function,
)
from spec_rule_cases import SPEC_CASES

CASES = [
    *SPEC_CASES,
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
        "the image of component say is in a registry that only one machine can reach:"
        " localhost:5000/say@sha256:" + "0" * 64,
        [(f"{CONTAINER}.image", IMAGE)],
    ),
    Case(
        "P110",
        [("root.inputDefinitions.parameters.text.defaultValue", "/home/ann/data.csv")],
        "the default of the pipeline's parameter 'text' is a path that exists on one machine only",
        [("root.inputDefinitions.parameters.text.defaultValue", "gs://bucket/data.csv")],
    ),
    Case(
        "P110",
        [(f"{TASK}.inputs.parameters.text", constant(r"C:\data\rows.csv"))],
        "input 'text' of task say is a path that exists on one machine only",
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
        "the command of component say has a path below /gcs, but only Vertex AI mounts buckets"
        " there",
        [(f"{CONTAINER}.args", ["--data=gs://bucket/rows.csv"])],
    ),
    Case(
        "P112",
        python_function("def say(text):\n    open('/gcs/bucket/rows.csv')"),
        "the command of component say has a path below /gcs, but only Vertex AI mounts buckets"
        " there",
        python_function("def say(text):\n    text.replace('gs://', '/gcs/')"),
    ),
    Case(
        "P112",
        [(f"{TASK}.inputs.parameters.text", constant("/gcs/bucket/rows.csv"))],
        "input 'text' of task say has a path below /gcs, but only Vertex AI mounts buckets there",
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
        "component say compares a final status with SUCCEEDED, but on Kubeflow Pipelines the"
        " status is COMPLETE",
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
        "component say names the image python:3.12 by a tag, and the tag may later mean another"
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
        "component say uses the artifact of its first import again, also when the file has changed",
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
        "task say has caching on, and its command contains {{$.pipeline_job_name}}: the cache"
        " does not look at the value of this placeholder",
        [(f"{TASK}.cachingOptions", {})],
    ),
    Case(
        "R114",
        [
            (f"{TASK}.cachingOptions", {"enableCache": True}),
            (f"{TASK}.inputs.parameters.text", constant("run {{$.pipeline_job_uuid}}")),
        ],
        "task say has caching on, but never takes outputs from the cache, because 'text' is"
        " different in each run",
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
        "the environment variable DB_PASSWORD of component say has a name like a secret, but its"
        " value is plain text",
        [(f"{CONTAINER}.env", [{"name": "DB_PASSWORD", "value": "secret:DB_PASSWORD"}])],
    ),
    Case(
        "Y103",
        [("root.inputDefinitions.parameters.api_key", parameter("STRING", defaultValue="x7"))],
        "the default of the pipeline's parameter 'api_key' has a name like a secret, but its"
        " value is plain text",
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
        "component say installs packages and does not check which server sends them:"
        " --trusted-host",
        python_function(install="six==1.16.0"),
    ),
    Case(
        "Y110",
        python_function(install="--extra-index-url http://index.acme.example/simple six==1.16.0"),
        "component say installs packages and does not check which server sends them: an index"
        " with http",
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
        "the URI of component say uses plain http: anybody on the network path can change the data",
        importer("https://data.acme.example/rows.csv"),
    ),
    Case(
        "Y112",
        python_function(install="'tools @ http://acme.example/tools-1.0-py3-none-any.whl'"),
        "a package of component say uses plain http: anybody on the network path can change the"
        " data",
        python_function(install="'tools @ https://acme.example/tools-1.0-py3-none-any.whl'"),
    ),
]
