"""What Cloud Scheduler would send, as Terraform plans it: the stand-in of Vertex AI takes it and
runs the pipeline."""

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from json_types import JsonDict
from kfgcp_command import Command
from patience import REQUEST, WaitFor

PIPELINE = """\
from kfp import dsl


@dsl.component(base_image="python:3.11")
def train(lr: float) -> float:
    return 1 - lr


@dsl.pipeline(name="churn")
def churn(lr: float = 0.5) -> float:
    return train(lr=lr).output
"""


def test_the_request_of_a_schedule_starts_a_run(
    outputs: dict[str, JsonDict], home: Path, kfgcp: Command, eventually: WaitFor
) -> None:
    """The service fetches the pipeline from Artifact Registry by templateUri; that step is the
    test's."""
    from kfgcp.testing import vertex

    request = outputs["all_parts_and_two_teams"]["scheduled_requests"]["value"]["churn-daily"]
    body, url = json.loads(request["body"]), urlsplit(request["uri"])
    assert (url.scheme, url.hostname) == ("https", "europe-west4-aiplatform.googleapis.com")
    assert body["templateUri"] == "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1"
    (home / "churn.py").write_text(PIPELINE)
    assert kfgcp("compile", "churn.py", "-o", "churn.yaml").code == 0
    spec = yaml.safe_load((home / "churn.yaml").read_text())

    with vertex(project="acme-ml-dev", location="europe-west4") as env:
        (home / "kfgcp.toml").write_text(env.toml("dev"))
        env.make_bucket("acme-ml-dev-artifacts")
        job = _post(f"{env.api_endpoint}{url.path}", body | {"pipelineSpec": spec})
        assert job["serviceAccount"] == "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com"

        def ended() -> list[JsonDict]:
            listed = kfgcp("list", "--env", "dev", "--label", "schedule=churn-daily", "--json").json
            return [run for run in listed if run["state"] == "SUCCEEDED"]

        (run,) = eventually(ended)
        assert (run["pipeline"], run["params"], run["experiment"]) == (
            "churn",
            {"lr": 0.1},
            "default",
        )
        assert run["labels"]["cost_center"] == "ml"


def _post(url: str, body: JsonDict) -> JsonDict:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=REQUEST) as answer:  # noqa: S310
        answer_json: dict[str, Any] = json.load(answer)
    return answer_json
