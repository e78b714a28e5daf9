"""The Model Registry of Vertex AI as a registry of our components."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from kfgcp_components.messages import one_line
from kfgcp_components.registries.base import (
    DIGEST_LABEL,
    RUN_LABEL,
    Details,
    ModelFiles,
    RegistryError,
    Version,
    changed_files,
    check_labels,
    digest_files,
    moved_meanwhile,
)
from kfgcp_components.registries.folder import check_alias
from kfgcp_components.storage import open_store

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

# The address of a stand-in of Vertex AI, as STORAGE_EMULATOR_HOST is for Cloud Storage.
EMULATOR_VARIABLE = "AIPLATFORM_EMULATOR_HOST"

# The digits of a digest in a label, whose values have at most 63 characters.
DIGEST_LENGTH = 32

# Vertex AI wants an image for each model with files. The prebuilt images of Google cannot read our
# model folders, so deploying needs an image of the user. Batch predictions do not need it.
DEFAULT_SERVING_IMAGE = "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"

# UploadModelRequest.model_id of aiplatform_v1.
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
# Seconds that an upload may take. The service copies the files of the model.
_UPLOAD_TIMEOUT = 1800

T = TypeVar("T")


class ModelVersion(Protocol):
    """A Model of aiplatform_v1: a version of a model."""

    version_id: str
    artifact_uri: str
    labels: Mapping[str, str]


class VertexRegistry:
    """The models of a project in a location."""

    def __init__(self, project: str, location: str) -> None:
        try:
            from google.cloud import aiplatform_v1
        except ImportError:
            raise ImportError(
                "the Model Registry needs google-cloud-aiplatform: pip install 'kfgcp[gcp]'"
            ) from None
        self._types = aiplatform_v1
        self._parent = f"projects/{project}/locations/{location}"
        endpoint, credentials = _connection(location)
        # The client looks for credentials at once.
        self._client = self._call(
            "connect",
            lambda: aiplatform_v1.ModelServiceClient(
                transport="rest", client_options={"api_endpoint": endpoint}, credentials=credentials
            ),
        )

    def register(self, name: str, model: ModelFiles, details: Details) -> Version:
        """Return the version with the files of a model. Add the version when it is missing."""
        _check_model_id(name)
        check_labels(details.labels)
        if not model.uri.startswith("gs://"):
            raise RegistryError(
                f"Vertex AI cannot read the model at {model.uri}; run the pipeline with a"
                " pipeline_root that begins with gs://"
            )
        stored = self._find_by_digest(name, model.digest)
        if stored:
            return stored[0]
        uploaded = self._upload(name, model, details)
        # Two attempts can upload the same files at once. Both take the oldest version. The other
        # one stays too: somebody may have given it an alias or deployed it.
        stored = self._find_by_digest(name, model.digest)
        return stored[0] if stored else uploaded

    def find(self, name: str, label: str) -> Version | None:
        """Return the version with an id or an alias, or None."""
        _check_model_id(name)
        if not label.isdecimal():
            check_alias(label)
        answer = self._get(f"{name}@{label}")
        return None if answer is None else self._version(name, answer)

    def read_alias(self, name: str, alias: str) -> str | None:
        """Return the id of the version that has an alias, or None."""
        check_alias(alias)
        version = self.find(name, alias)
        return None if version is None else version.version

    def read_previous(self, name: str, alias: str) -> str | None:
        """Return None: the service does not keep earlier versions of an alias."""
        return None

    def move_alias(self, name: str, alias: str, version: str, current: str | None) -> None:
        """Give an alias to a version.

        The service has no condition for this request. So the alias is read just before and after.
        Of two tasks that move it within the same moment, both may succeed; the later one counts.
        """
        stored = self.read_alias(name, alias)
        if stored != current:
            raise RegistryError(moved_meanwhile(name, alias, current, stored))
        # An alias is not the id of a version, although the service takes it for one.
        if not version.isdecimal() or self.find(name, version) is None:
            raise RegistryError(f"{name} has no version {version} in {self._parent}")
        resource = f"{self._model(name)}@{version}"
        self._call(
            "move the alias",
            lambda: self._client.merge_version_aliases(name=resource, version_aliases=[alias]),
        )
        stored = self.read_alias(name, alias)
        if stored != version:
            raise RegistryError(moved_meanwhile(name, alias, version, stored))

    def download(self, version: Version, folder: Path) -> None:
        """Write the files of a version into a folder.

        Raises:
            RegistryError: the files are not those that were registered. A version that something
                else registered has no digest, and is not checked.
        """
        store = open_store(version.uri)
        paths = []
        for key in store.keys(""):
            file = folder / key
            if not file.resolve().is_relative_to(folder.resolve()):
                raise RegistryError(f"{version.resource} has a file outside its folder: {key}")
            file.parent.mkdir(parents=True, exist_ok=True)
            store.download(key, file)
            paths.append(Path(key))
        digest = digest_files(folder, paths)
        if version.digest and not digest.startswith(version.digest):
            problem = changed_files(version.resource, digest, version.digest)
            raise RegistryError(f"{problem}; register the model again as a new version")

    def _upload(self, name: str, model: ModelFiles, details: Details) -> Version:
        """Add a version, and return it."""
        from google.api_core.exceptions import Conflict

        labels = {**details.labels, DIGEST_LABEL: model.digest[:DIGEST_LENGTH]}
        if details.run_id:
            labels[RUN_LABEL] = re.sub(r"[^a-z0-9_-]", "-", details.run_id.lower())[:63]
        image = details.serving_image or DEFAULT_SERVING_IMAGE
        body = self._types.Model(
            display_name=name,
            version_description=details.description,
            artifact_uri=model.uri,
            labels=labels,
            container_spec=self._types.ModelContainerSpec(image_uri=image),
        )
        request = self._types.UploadModelRequest(parent=self._parent, model=body)
        is_first = self._get(name) is None
        if is_first:
            request.model_id = name
        else:
            request.parent_model = self._model(name)
        try:
            answer = self._client.upload_model(request=request).result(timeout=_UPLOAD_TIMEOUT)
        except Conflict as error:
            # REST says 409 for a name that exists.
            if not is_first:
                raise self._refused(f"register {name}", error) from error
            # Another task has registered the first version of this model meanwhile.
            return self._upload(name, model, details)
        except Exception as error:
            raise self._refused(f"register {name}", error) from error
        resource = f"{self._model(name)}@{answer.model_version_id}"
        return Version(
            name, answer.model_version_id, resource, model.uri, model.digest[:DIGEST_LENGTH]
        )

    def _find_by_digest(self, name: str, digest: str) -> list[Version]:
        """Return the versions with the same files, the oldest first."""
        if self._get(name) is None:
            return []
        request = self._types.ListModelVersionsRequest(
            name=self._model(name), filter=f'labels.{DIGEST_LABEL}="{digest[:DIGEST_LENGTH]}"'
        )
        answers = self._call(
            f"list the versions of {name}",
            lambda: list(self._client.list_model_versions(request=request)),
        )
        versions = [self._version(name, answer) for answer in answers]
        return sorted(versions, key=lambda version: int(version.version))

    def _get(self, label: str) -> ModelVersion | None:
        """Return the answer for a model or one of its versions, or None without it."""
        from google.api_core.exceptions import NotFound

        try:
            version: ModelVersion = self._client.get_model(name=self._model(label))
        except NotFound:
            return None
        except Exception as error:
            raise self._refused(f"read {label}", error) from error
        return version

    def _call(self, what: str, request: Callable[[], T]) -> T:
        """Return the answer of a request. what: the request in words, for the error."""
        try:
            return request()
        except Exception as error:
            raise self._refused(what, error) from error

    def _refused(self, what: str, error: Exception) -> RegistryError:
        """Return an error that names the registry. what: the request in words."""
        return RegistryError(f"Vertex AI cannot {what} in {self._parent}: {one_line(error)}")

    def _version(self, name: str, answer: ModelVersion) -> Version:
        resource = f"{self._model(name)}@{answer.version_id}"
        digest = answer.labels.get(DIGEST_LABEL, "")
        return Version(name, answer.version_id, resource, answer.artifact_uri, digest)

    def _model(self, name: str) -> str:
        return f"{self._parent}/models/{name}"


def _check_model_id(name: str) -> None:
    if not _MODEL_ID.fullmatch(name):
        raise RegistryError(
            f"a model of Vertex AI cannot be named {name!r}; use at most 63 lowercase letters,"
            " digits, '_' and '-', and begin with a letter"
        )


def _connection(location: str) -> tuple[str, Credentials | None]:
    """Return the address of a location, or of the stand-in in AIPLATFORM_EMULATOR_HOST.

    The credentials are None for the service, so that the client finds those of the task.
    """
    from google.auth.credentials import AnonymousCredentials

    emulator = os.environ.get(EMULATOR_VARIABLE)
    if emulator:
        return emulator, AnonymousCredentials()
    return f"{location}-aiplatform.googleapis.com", None
