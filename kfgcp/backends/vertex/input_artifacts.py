"""Give artifacts to a pipeline as inputs, and read the URIs of a job's input artifacts.

`runtimeConfig.inputArtifacts` of a job has the ids of artifacts in ML Metadata. So kfgcp first
creates an artifact there for each URI. The artifact must be in the project and the location of the
job, in the metadata store `default`. Its id has 4 to 128 characters of [a-z0-9-].

Field names and limits come from the REST reference of `metadataStores.artifacts.create` and from
`RuntimeConfig.InputArtifact` (google.cloud.aiplatform.v1, metadata_service.proto and
pipeline_job.proto).
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

# The HTTP status when the artifact exists already.
_CONFLICT: Final = 409


@dataclass(frozen=True, slots=True)
class InputArtifact:
    """An input artifact of a pipeline.

    Attributes:
        name: the name of the input.
        uri: the URI of the content.
        schema_title: the type of the artifact, such as `system.Dataset`.
        schema_version: the version of the type, such as `0.0.1`.
    """

    name: str
    uri: str
    schema_title: str
    schema_version: str

    @property
    def artifact_id(self) -> str:
        """The id of the artifact in ML Metadata.

        Two artifacts with the same type and URI have the same id. So the service can take the
        results of a task with this input from its cache.
        """
        identity = f"{self.schema_title} {self.schema_version} {self.uri}"
        return f"kfgcp-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def input_artifacts(request: SubmitRequest) -> list[InputArtifact]:
    """Return the input artifacts of a request.

    Raises:
        ParamError: a parameter for an artifact is a path on this machine.
        Unsupported: a parameter for an artifact is a list.
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
                hint="Copy the file to a bucket, and pass its URI: gs://BUCKET/NAME",
            )
        artifacts.append(InputArtifact(name, uri, definition.type, definition.version))
    return artifacts


class ArtifactStore:
    """The artifacts in the metadata store of one project and location. Threads may share it.

    Args:
        http: the client of Vertex AI.
        parent: `projects/PROJECT/locations/LOCATION`.
    """

    def __init__(self, http: ServiceClient, parent: str) -> None:
        self._http = http
        self._artifacts_path = f"v1/{parent}/metadataStores/default/artifacts"
        # An artifact never changes its URI, so each URI is requested once.
        self._uris_by_id: dict[str, str] = {}

    def ensure(self, artifact: InputArtifact) -> None:
        """Create the artifact, unless it exists.

        Raises:
            NotFound: the project has no metadata store yet.
            BackendError: the service did not create the artifact.
        """
        body = {
            "displayName": artifact.name,
            "uri": artifact.uri,
            "schemaTitle": artifact.schema_title,
            "schemaVersion": artifact.schema_version or "0.0.1",
            "state": "LIVE",
        }
        try:
            self._http.post(
                self._artifacts_path,
                params={"artifactId": artifact.artifact_id},
                body=body,
                repeatable=True,
            )
        except NotFound as error:
            hint = (
                "The project has no metadata store yet. Run any pipeline without input artifacts"
                " once: this creates the store."
            )
            raise error.amended(hint=hint) from error
        except Refused as refused:
            # After a conflict the artifact exists: an earlier run created it, or an earlier try of
            # this request did, whose answer was lost.
            if refused.status != _CONFLICT:
                raise
        self._uris_by_id[artifact.artifact_id] = artifact.uri

    def input_uris(self, job: PipelineJob) -> dict[str, str]:
        """Return the URI of each input artifact of a job, by the name of the input.

        When an artifact cannot be read, its id stands in place of the URI.
        """
        references = (job.get("runtimeConfig") or {}).get("inputArtifacts") or {}
        uris = {}
        for name, reference in references.items():
            uris[name] = self._fetch_uri(reference.get("artifactId", ""))
        return uris

    def _fetch_uri(self, artifact_id: str) -> str:
        if artifact_id not in self._uris_by_id:
            try:
                artifact = self._http.get(f"{self._artifacts_path}/{artifact_id}")
            except BackendError:
                # A run without this URI is better than no run.
                return artifact_id
            self._uris_by_id[artifact_id] = str(artifact.get("uri") or artifact_id)
        return self._uris_by_id[artifact_id]
