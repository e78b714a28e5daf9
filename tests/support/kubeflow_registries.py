"""Types of fixtures for the registry of Kubeflow Pipelines."""

from typing import Protocol

from kfgcp.backends.kubeflow.versions import KubeflowVersions
from kfgcp.backends.versions import VersionUpload


class OpenRegistry(Protocol):
    """Opens the registry of a server."""

    def __call__(self, host: str, namespace: str = "") -> KubeflowVersions: ...


class MakeUpload(Protocol):
    """Makes an upload. Another comment makes another text of the same version."""

    def __call__(
        self, comment: str = "", pipeline: str = "churn", project: str = "acme"
    ) -> VersionUpload: ...
