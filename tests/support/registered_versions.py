"""Versions of a pipeline in the Artifact Registry of a stand-in, for tests."""

import hashlib

from kfgcp import testing
from kfgcp.backends.base import capability
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.backends.versions import SupportsVersions, VersionUpload

REGISTRY = "https://europe-west4-kfp.pkg.dev/stand-in-project/pipelines"
PACKAGE = (
    "/v1/projects/stand-in-project/locations/europe-west4/repositories/pipelines/packages/churn"
)
UPLOADS = "/stand-in-project/pipelines"
VERSION = "sha256:" + "0123456789abcdef" * 4
OTHER_VERSION = "sha256:" + "fedcba9876543210" * 4
TEXT = """\
# PIPELINE DEFINITION
# Name: churn
components: {comp-say: {executorLabel: exec-say}}
deploymentSpec: {executors: {exec-say: {container: {image: 'python:3.12'}}}}
pipelineInfo: {name: churn}
root: {dag: {tasks: {say: {componentRef: {name: comp-say}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""
OTHER_TEXT = TEXT.replace("python:3.12", "python:3.13")
UPLOAD = VersionUpload("growth", "churn", VERSION, TEXT)

# By hand: the first 12 digits of VERSION, and of the SHA-256 of TEXT.
VERSION_TAG = "k-0123456789ab"
TEXT_TAG = f"t-0123456789ab-{hashlib.sha256(TEXT.encode()).hexdigest()[:12]}"
FILE = f"# kfgcp-project: growth\n# kfgcp-name: churn\n# kfgcp-version: {VERSION}\n{TEXT}"


def open_registry() -> SupportsVersions:
    """Return the registry of the environment `dev` of the project in the current folder."""
    project = load_project()
    registry = capability(open_backend(project, project.env("dev")), SupportsVersions)
    assert registry is not None
    return registry


def counts(cloud: testing.VertexStandIn, since: int = 0) -> tuple[int, int]:
    """Return the numbers of reads and writes."""
    reads = cloud.requests.count("GET", since=since)
    return reads, len(cloud.requests) - since - reads


def tags(cloud: testing.VertexStandIn) -> dict[str, str]:
    """Return the tags of the pipeline with the digests that they point to."""
    return cloud.artifact_registry.tags("pipelines", "churn")


def files(cloud: testing.VertexStandIn) -> list[str]:
    """Return the files of the pipeline, the oldest first."""
    return [file.decode() for file in cloud.artifact_registry.files("pipelines", "churn").values()]
