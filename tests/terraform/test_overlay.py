"""The overlay of Kubeflow Pipelines, rendered by kubectl over objects with upstream's names."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from json_types import JsonDict
from terraform_offline.hcl import read_blocks

MODULE = Path(__file__).parents[2] / "terraform" / "modules" / "gke-kubeflow"
OVERLAY = MODULE / "overlay"
NAMES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "kfp_names.yaml").read_text(encoding="utf-8")
)
UPSTREAM = {f"{entry['kind']}/{entry['name']}": entry for entry in NAMES["objects"]}
TASK = {"matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]}
TUNNEL = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "konnectivity-agent"}},
}
Objects = dict[str, dict[str, Any]]


def _by_name(rendered: list[JsonDict]) -> Objects:
    return {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in rendered}


@pytest.fixture
def rendered(overlay: Callable[..., Path], kustomize: Callable[[Path], list[JsonDict]]) -> Objects:
    return _by_name(kustomize(overlay()))


def _patches() -> Iterator[tuple[str, str]]:
    """(file, Kind/name) of each patch; those with a pattern as target have none."""
    for patch in yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())["patches"]:
        target = patch.get("target")
        if target and "name" in target:
            yield patch["path"], f"{target['kind']}/{target['name']}"
        elif not target:
            for document in yaml.safe_load_all((OVERLAY / patch["path"]).read_text()):
                yield patch["path"], f"{document['kind']}/{document['metadata']['name']}"


def test_upstream_is_named_in_one_place_at_one_version() -> None:
    files = [
        file for file in OVERLAY.rglob("*") if file.is_file() and "github.com" in file.read_text()
    ]
    text = (OVERLAY / "upstream" / "kustomization.yaml").read_text()

    assert files == [OVERLAY / "upstream" / "kustomization.yaml"]
    assert set(re.findall(r"\?ref=(\S+)", text)) == {NAMES["version"]}
    assert len(re.findall(r"github\.com", text)) == len(re.findall(r"\?ref=", text)) == 4


def test_every_patch_hits_a_name_that_upstream_has() -> None:
    hit = list(_patches())

    assert len(hit) == 11
    for file, name in hit:
        assert name in UPSTREAM, f"{file}: {name}"


def test_a_container_that_a_patch_changes_is_one_of_upstreams() -> None:
    """A patch of a container that is not there would add one."""
    patched = [
        deployment
        for file in OVERLAY.glob("patches/*.yaml")
        for deployment in yaml.safe_load_all(file.read_text())
    ]
    deployments = [
        deployment
        for deployment in patched
        if isinstance(deployment, dict) and deployment["kind"] == "Deployment"
    ]

    assert deployments
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert (
            container["name"]
            == UPSTREAM[f"Deployment/{deployment['metadata']['name']}"]["container"]
        )


def test_the_render_fails_when_upstream_renames_what_is_patched(
    overlay: Callable[..., Path], kubectl: str
) -> None:
    folder = overlay(without=("ConfigMap/kfp-launcher",))

    rendering = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)

    assert rendering.returncode != 0
    assert "kfp-launcher" in rendering.stderr


def test_it_renders_with_a_version_that_lacks_what_not_every_version_has(
    overlay: Callable[..., Path], kustomize: Callable[[Path], list[JsonDict]]
) -> None:
    rendered = _by_name(kustomize(overlay(optional=False)))

    assert "Deployment/ml-pipeline-driver" not in rendered
    assert "NetworkPolicy/api-server" in rendered


def test_no_parameter_is_left_out(rendered: Objects) -> None:
    placeholder = re.compile(
        r"\b(ACCOUNT|BUCKET|PROJECT|LOCATION|CLUSTER|SECRET|INSTANCE|HOST|ADDRESS|CONTROL|GROUP)\b"
    )

    placeholders = [
        (name, text)
        for name, manifest in rendered.items()
        for text in _texts(manifest)
        if placeholder.search(text)
    ]

    assert placeholders == []


def test_no_default_password_survives(rendered: Objects) -> None:
    """Upstream's own secret is root without a password; ours come from Secret Manager, under
    upstream's names."""
    asked_for = {
        env["valueFrom"]["secretKeyRef"]["name"]
        for deployment in _of_kind(rendered, "Deployment")
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for env in container.get("env", [])
        if "secretKeyRef" in env.get("valueFrom", {})
    }

    assert _of_kind(rendered, "Secret") == []
    assert asked_for == {"mysql-secret", "mlpipeline-minio-artifact"}
    external_secrets = {
        manifest["spec"]["target"]["name"] for manifest in _of_kind(rendered, "ExternalSecret")
    }
    assert external_secrets == asked_for | {
        rendered["BackendConfig/ml-pipeline-ui"]["spec"]["iap"]["oauthclientCredentials"][
            "secretName"
        ]
    }
    assert not [
        text
        for manifest in rendered.values()
        for text in _texts(manifest)
        if re.search(r"minio123|password:", text)
    ]


def test_artifacts_logs_and_pipelines_are_in_cloud_storage(rendered: Objects) -> None:
    (server,) = rendered["Deployment/ml-pipeline"]["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in server["env"]}

    assert {
        name: value for name, value in env.items() if name.startswith("OBJECTSTORECONFIG") and value
    } == {
        "OBJECTSTORECONFIG_HOST": "storage.googleapis.com",
        "OBJECTSTORECONFIG_PORT": "443",
        "OBJECTSTORECONFIG_SECURE": "true",
        "OBJECTSTORECONFIG_REGION": "auto",
        "OBJECTSTORECONFIG_BUCKETNAME": "acme-ml-dev-kubeflow",
        "OBJECTSTORECONFIG_PIPELINEPATH": "pipelines",
    }
    launcher = rendered["ConfigMap/kfp-launcher"]["data"]
    assert launcher["defaultPipelineRoot"] == "gs://acme-ml-dev-kubeflow/artifacts"
    assert yaml.safe_load(launcher["providers"]) == {
        "gs": {"default": {"credentials": {"fromEnv": True}}}
    }
    argo = yaml.safe_load(
        rendered["ConfigMap/workflow-controller-configmap"]["data"]["artifactRepository"]
    )
    assert argo["gcs"]["bucket"] == "acme-ml-dev-kubeflow"
    assert "s3" not in argo
    assert not [
        text for manifest in rendered.values() for text in _texts(manifest) if "seaweedfs" in text
    ]


def test_service_accounts_of_pods_are_bound_on_both_sides(rendered: Objects) -> None:
    """Kubernetes names the account, and the module identities lets just those act as it."""
    key = "iam.gke.io/gcp-service-account"
    named = {
        account["metadata"]["name"]: account["metadata"]["annotations"][key]
        .partition("@")[0]
        .removeprefix("kfgcp-")
        for account in _of_kind(rendered, "ServiceAccount")
        if key in account["metadata"].get("annotations", {})
    }
    (roles,) = [
        block.body
        for block in read_blocks(MODULE.parent / "identities")
        if "accounts" in block.body
    ]
    bound = {pod: name for name, account in roles["accounts"].items() for pod in account["pods"]}

    assert named == bound
    assert {
        account["metadata"]["namespace"] for account in _of_kind(rendered, "ServiceAccount")
    } == {"kubeflow"}


def test_pods_write_to_folders_that_their_accounts_may_write_to(rendered: Objects) -> None:
    """Tasks get at artifacts and logs, and neither at the dumps of the database nor at the
    pipelines of others."""
    (roles,) = [
        block.body
        for block in read_blocks(MODULE.parent / "identities")
        if "accounts" in block.body
    ]
    writes = {
        pod: {
            target.partition("/")[2]
            for target, roles_on_bucket in account["on"].items()
            if "roles/storage.objectUser" in roles_on_bucket
        }
        for account in roles["accounts"].values()
        for pod in account["pods"]
    }
    environment_module = (MODULE.parent / "environment" / "main.tf").read_text(encoding="utf-8")
    (folders_made,) = re.findall(r"kubeflow = \{ folders = \[(.*?)\]", environment_module)
    launcher = rendered["ConfigMap/kfp-launcher"]["data"]["defaultPipelineRoot"]
    argo = yaml.safe_load(
        rendered["ConfigMap/workflow-controller-configmap"]["data"]["artifactRepository"]
    )
    (server,) = rendered["Deployment/ml-pipeline"]["spec"]["template"]["spec"]["containers"]
    stored = {variable["name"]: variable.get("value") for variable in server["env"]}[
        "OBJECTSTORECONFIG_PIPELINEPATH"
    ]

    assert {pod: folders for pod, folders in writes.items() if folders} == {
        "pipeline-runner": {launcher.split("/")[3], argo["gcs"]["keyFormat"].split("/")[0]},
        "ml-pipeline": {stored},
    }
    assert set(re.findall(r"\w+", folders_made)) == {
        folder for folders in writes.values() for folder in folders
    }


def test_nothing_reaches_a_pod_that_no_policy_lets_in(rendered: Objects) -> None:
    policies = _of_kind(rendered, "NetworkPolicy")

    assert "NetworkPolicy/default-allow-same-namespace" not in rendered  # which would let all in
    assert rendered["NetworkPolicy/deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy["metadata"]["name"]  # an empty one is everybody
            assert rule["ports"], policy["metadata"]["name"]
            assert {} not in [peer.get("podSelector") for peer in rule["from"]]
            assert [peer for peer in rule["from"] if "namespaceSelector" in peer] in ([], [TUNNEL])
            assert "0.0.0.0/0" not in [peer.get("ipBlock", {}).get("cidr") for peer in rule["from"]]


@pytest.mark.parametrize(
    ("policy", "peers", "ports"),
    [
        (
            "api-server",
            [
                "ml-pipeline-driver",
                "ml-pipeline-persistenceagent",
                "ml-pipeline-scheduledworkflow",
                "ml-pipeline-ui",
                "tasks",
            ],
            [8887, 8888],
        ),
        (
            "metadata",
            ["metadata-envoy", "metadata-writer", "ml-pipeline", "ml-pipeline-driver", "tasks"],
            [8080],
        ),
        ("metadata-envoy", ["ml-pipeline-ui"], [9090]),
        ("database", ["cache-server", "metadata-grpc-server", "ml-pipeline"], [3306]),
        ("driver", ["tasks"], [8080]),
    ],
)
def test_a_service_accepts_its_peers_only(
    rendered: Objects, policy: str, peers: list[str], ports: list[int]
) -> None:
    (rule,) = rendered[f"NetworkPolicy/{policy}"]["spec"]["ingress"]

    assert sorted(_peer(peer) for peer in rule["from"]) == peers
    assert [port["port"] for port in rule["ports"]] == ports


def test_the_control_plane_reaches_the_webhook_straight_and_by_its_tunnel(
    rendered: Objects,
) -> None:
    (rule,) = rendered["NetworkPolicy/cache-server"]["spec"]["ingress"]

    assert rule == {
        "from": [{"ipBlock": {"cidr": "172.16.30.0/28"}}, TUNNEL],
        "ports": [{"port": 8443}],
    }
    others = [
        policy
        for name, policy in rendered.items()
        if name.startswith("NetworkPolicy/") and "cache" not in name
    ]
    assert "konnectivity" not in str(others)


def test_pods_that_have_ended_do_not_fill_the_namespace(rendered: Objects) -> None:
    """Kubernetes counts in `pods` those that have not ended, in `count/pods` all that are still
    there."""
    assert rendered["ResourceQuota/tasks"]["spec"]["hard"] == {"pods": "500"}


def test_every_pod_that_a_policy_names_is_there(rendered: Objects) -> None:
    """A label with a slip in it would shut a service off."""
    pods = [
        deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in _of_kind(rendered, "Deployment")
    ]
    selectors = [
        selector["matchLabels"]
        for policy in _of_kind(rendered, "NetworkPolicy")
        for selector in [policy["spec"]["podSelector"], *_selectors(policy)]
        if "matchLabels" in selector
    ]

    assert len(selectors) > 15
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


def test_the_user_interface_is_reached_by_the_load_balancer_behind_identity_aware_proxy(
    rendered: Objects,
) -> None:
    (rule,) = rendered["NetworkPolicy/user-interface"]["spec"]["ingress"]
    backend = rendered["BackendConfig/ml-pipeline-ui"]["spec"]

    # Google's load balancers and health checks, by its documentation of firewall rules
    assert [peer["ipBlock"]["cidr"] for peer in rule["from"]] == ["35.191.0.0/16", "130.211.0.0/22"]
    assert backend["iap"]["enabled"] is True
    service = rendered["Service/ml-pipeline-ui"]
    assert (
        service["metadata"]["annotations"]["cloud.google.com/backend-config"]
        == '{"default": "ml-pipeline-ui"}'
    )
    assert rendered["Ingress/kubeflow-pipelines"]["spec"]["rules"][0]["host"] == "kfp.acme.example"
    assert rendered["FrontendConfig/kubeflow-pipelines"]["spec"]["redirectToHttps"] == {
        "enabled": True
    }
    assert {service["spec"].get("type") for service in _of_kind(rendered, "Service")} <= {
        None,
        "ClusterIP",
    }


def test_rights_are_per_namespace_and_to_look_only(rendered: Objects) -> None:
    ours = [
        manifest
        for manifest in rendered.values()
        if "app.kubernetes.io/part-of" in manifest["metadata"].get("labels", {})
    ]

    assert not [manifest for manifest in ours if manifest["kind"].startswith("ClusterRole")]
    assert (
        rendered["RoleBinding/run-viewers"]["subjects"][0]["name"] == "nobody"
    )  # until a group is named
    for rule in rendered["Role/run-viewer"]["rules"]:
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert "secrets" not in rule["resources"]


def test_servers_run_on_their_own_nodes_and_tasks_do_not_have_to(rendered: Objects) -> None:
    for deployment in _of_kind(rendered, "Deployment"):
        assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "system"}, (
            deployment["metadata"]["name"]
        )


def test_ours_renders_without_a_download(kustomize: Callable[[Path], list[JsonDict]]) -> None:
    kinds = {manifest["kind"] for manifest in kustomize(OVERLAY / "own")}

    assert {
        "NetworkPolicy",
        "ExternalSecret",
        "Ingress",
        "Deployment",
        "ServiceAccount",
        "RoleBinding",
    } <= kinds


def _peer(peer: JsonDict) -> str:
    selector = peer["podSelector"]
    return "tasks" if selector == TASK else next(iter(selector["matchLabels"].values()))


def _selectors(policy: JsonDict) -> Iterator[JsonDict]:
    for rule in policy["spec"].get("ingress", []):
        yield from (
            peer["podSelector"] for peer in rule["from"] if "podSelector" in peer and peer != TUNNEL
        )


def _of_kind(rendered: Objects, kind: str) -> list[JsonDict]:
    return [manifest for name, manifest in rendered.items() if name.startswith(f"{kind}/")]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
