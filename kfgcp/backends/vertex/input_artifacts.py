"""Input artifacts of a pipeline: `runtimeConfig.inputArtifacts` names artifacts of ML Metadata.

Field names and limits are those of the REST reference of `metadataStores.artifacts.create` and of
`RuntimeConfig.InputArtifact` (google.cloud.aiplatform.v1, metadata_service.proto and
pipeline_job.proto). The artifact must be in the same project, location and metadata store `default`
as the job. Its id has 4 to 128 characters of [a-z0-9-].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.vertex.messages import PipelineJob
from kfgcp.errors import BackendError, NotFound, ParamError, Refused, Unsupported
from kfgcp.services.client import ServiceClient
from kfgcp.spec.graph import build

_CONFLICT: Final = 409


@dataclass(frozen=True, slots=True)
class InputArtifact:
    """An input artifact of a pipeline.

    Attributes:
        name: the name of the input.
        uri: where the artifact is.
        schema_title: the title of its type.
        schema_version: the version of its type.
    """

    name: str
    uri: str
    schema_title: str
    schema_version: str

    @property
    def artifact_id(self) -> str:
        """The id in ML Metadata.

        It is the same for the same type and URI, so that tasks with this input can be cached.
        """
        identity = f"{self.schema_title} {self.schema_version} {self.uri}"
        return f"kfgcp-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def input_artifacts(request: SubmitRequest) -> list[InputArtifact]:
    """Return the artifacts that a request gives to its pipeline.

    Raises:
        ParamError: an artifact is a file on this machine.
        Unsupported: an input is a list of artifacts.
    """
    artifacts = []
    for name, definition in build(request.spec.pipeline_spec).root.artifacts.items():
        uri = request.params.get(name)
        if uri is None:
            continue
        if isinstance(uri, list):
            raise Unsupported(
                f"Vertex AI accepts one artifact for an input, not a list: {name}.",
                hint="Import the artifacts in the pipeline: dsl.importer(artifact_uri=...).",
            )
        if "://" not in uri or uri.startswith("file://"):
            raise ParamError(
                f"Wrong parameters: {name} is a path on this machine, which Vertex AI cannot read:"
                f" {uri}.",
                hint="Copy it to a bucket, and pass its URI: gs://BUCKET/NAME",
            )
        artifacts.append(InputArtifact(name, uri, definition.type, definition.version))
    return artifacts


class ArtifactStore:
    """The artifacts in the metadata store of one project and location. Threads may share it."""

    def __init__(self, http: ServiceClient, parent: str) -> None:
        self._http = http
        self._artifacts = f"v1/{parent}/metadataStores/default/artifacts"
        self._uris: dict[str, str] = {}

    def ensure(self, artifact: InputArtifact) -> None:
        """Create the artifact unless it exists."""
        body = {
            "displayName": artifact.name,
            "uri": artifact.uri,
            "schemaTitle": artifact.schema_title,
            "schemaVersion": artifact.schema_version or "0.0.1",
            "state": "LIVE",
        }
        try:
            self._http.post(
                self._artifacts,
                params={"artifactId": artifact.artifact_id},
                body=body,
                repeatable=True,
            )
        except NotFound as error:
            hint = (
                "The first pipeline run creates the metadata store. First run one without input"
                " artifacts."
            )
            raise error.amended(hint=hint) from error
        except Refused as refused:
            # A conflict means that it exists: an earlier run, or an earlier try, created it.
            if refused.status != _CONFLICT:
                raise
        self._uris[artifact.artifact_id] = artifact.uri

    def uris(self, job: PipelineJob) -> dict[str, str]:
        """Return the URIs of a job's input artifacts by the names of the inputs.

        An artifact that cannot be read has its id instead of a URI.
        """
        references = (job.get("runtimeConfig") or {}).get("inputArtifacts") or {}
        uris = {}
        for name, reference in references.items():
            uris[name] = self._uri(reference.get("artifactId", ""))
        return uris

    def _uri(self, artifact_id: str) -> str:
        if artifact_id not in self._uris:
            try:
                artifact = self._http.get(f"{self._artifacts}/{artifact_id}")
            except BackendError:
                # The run can be shown without the URI.
                return artifact_id
            self._uris[artifact_id] = str(artifact.get("uri") or artifact_id)
        return self._uris[artifact_id]
