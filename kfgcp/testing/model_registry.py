"""The Model Registry of a stand-in: `/v1/projects/P/locations/L/models`.

It answers the methods of ModelService in aiplatform_v1 that register a model, read it, and move
its aliases. The comments of that package's types say what each method does. What they do not say
is marked here as a guess.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import protos
from kfgcp.testing.filters import (
    EQUALITY,
    Field,
    build_leaf_compiler,
    compile_list_filter,
    read_key,
)
from kfgcp.testing.google import (
    GoogleError,
    JsonBody,
    SortKey,
    camel_case,
    check_fields,
    check_query,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    not_found,
    page_body,
    stable_number,
    wrong_state,
)
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.operations import Operations
from kfgcp.testing.rules import check_display_name, check_labels
from kfgcp.testing.server import Request, Response, Route

# The alias of the version that a name without a version means (GetModelRequest.name).
DEFAULT_ALIAS: Final = "default"
# UploadModelRequest.model_id: up to 63 characters, the first one not a number or a hyphen.
_MODEL_ID: Final = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
# Model.version_aliases: the format keeps an alias apart from the number of a version.
_ALIAS: Final = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
# A guess: the types give no number for the pages of models.
MAX_PAGE: Final = 100
_LIST_QUERY: Final = ("filter", "orderBy", "pageSize", "pageToken", "readMask")
_MODEL_ORDERS: Final = ("displayName", "createTime", "updateTime")
_VERSION_ORDERS: Final = ("createTime", "updateTime")
# Model of aiplatform_v1 marks the other fields as immutable, input only or output only.
_CHANGEABLE: Final = ("displayName", "description", "versionDescription", "labels")

ModelVersion = JsonBody
"""A Model of aiplatform_v1 as JSON. Each version is a message of this type."""


@dataclass
class _Model:
    """A model with its versions by their number, the oldest first.

    next_version: numbers are not used again after a version is deleted.
    """

    versions: dict[str, ModelVersion] = field(default_factory=dict)
    next_version: int = 1


class ModelRegistry:
    """The models of a location. Several threads may use it.

    Args:
        place: the project and the location.
        operations: where the operations of uploads and deletes are added.
        has_bucket: returns whether a bucket exists, from its name.
    """

    def __init__(
        self, place: Place, operations: Operations, has_bucket: Callable[[str], bool]
    ) -> None:
        self._place = place
        self._operations = operations
        self._has_bucket = has_bucket
        self._models: dict[str, _Model] = {}
        self._count = 0
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        collection = base + "/models"
        model = collection + "/{model}"
        return [
            Route("POST", collection + ":upload", self.upload),
            Route("GET", collection, self.list_all, _LIST_QUERY),
            Route("GET", model, self.get),
            Route("PATCH", model, self.patch, ("updateMask",)),
            Route("DELETE", model, self.delete),
            Route("GET", model + ":listVersions", self.list_versions, _LIST_QUERY),
            Route("POST", model + ":mergeVersionAliases", self.merge_version_aliases),
            Route("DELETE", model + ":deleteVersion", self.delete_version),
        ]

    # -- methods of the service

    def upload(self, request: Request, **_: str) -> Response:
        """Answer UploadModel: add a model, or a version of the model `parentModel`."""
        body = {camel_case(name): value for name, value in json_body(request).items()}
        check_fields(body, ("parent", "parentModel", "modelId", "model", "serviceAccount"))
        version = protos.read_message("Model", body.get("model") or {}, "model")
        self._check_upload(version)
        with self._lock:
            model_id = self._choose_model(body)
            model = self._models.setdefault(model_id, _Model())
            version_id = str(model.next_version)
            model.next_version += 1
            # The first version gets the default alias (Model.version_aliases).
            aliases = list(version.get("versionAliases", []))
            if not model.versions and DEFAULT_ALIAS not in aliases:
                aliases.append(DEFAULT_ALIAS)
            self._store_version(model, model_id, version_id, version)
            _move_aliases(model, version_id, aliases)
        response = {"model": self._name(model_id), "modelVersionId": version_id}
        return self._operations.start(
            "UploadModelOperationMetadata", response, "UploadModelResponse"
        )

    def get(self, request: Request, model: str, **_: str) -> Response:
        """Answer GetModel. The name may end with `@` and a version or an alias."""
        with self._lock:
            version = self._look_up_version(model)[1]
            return Response(body=dict(version))

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer ListModels: the default version of each model."""
        with self._lock:
            versions = [_find_version(model, DEFAULT_ALIAS) for model in self._models.values()]
            defaults = [dict(version) for version in versions if version is not None]
        return self._list(request, defaults, _MODEL_FIELDS, _MODEL_ORDERS)

    def list_versions(self, request: Request, model: str, **_: str) -> Response:
        """Answer ListModelVersions. The names of the versions end with `@` and their number."""
        with self._lock:
            stored_model = self._look_up(model)
            versions = []
            for version_id, version in stored_model.versions.items():
                versions.append({**version, "name": f"{self._name(model)}@{version_id}"})
        return self._list(request, versions, _VERSION_FIELDS, _VERSION_ORDERS)

    def patch(self, request: Request, model: str, **_: str) -> Response:
        """Answer UpdateModel."""
        query = check_query(request, ("updateMask",))
        mask = protos.parse_mask("Model", query.get("updateMask", ""), "update_mask")
        body = json_body(request)
        sent_etag = body.get("etag")
        changes = protos.read_message("Model", body, "model")
        if not mask:
            raise invalid("update_mask is required.", "update_mask")
        for path in mask:
            if path[0] not in _CHANGEABLE:
                raise invalid(f"{path[0]} cannot be changed.", "update_mask")
        check_display_name(changes.get("displayName", ""), "model.display_name")
        check_labels(changes.get("labels", {}), "model.labels")
        with self._lock:
            version = self._look_up_version(model)[1]
            # Model.etag: "If not set, a blind overwrite update happens". The status is a guess.
            if sent_etag and sent_etag != version["etag"]:
                raise GoogleError(409, "The etag does not match the model.", "ABORTED")
            for path in mask:
                version.pop(path[0], None)
            version.update(protos.apply_mask(changes, mask))
            _touch(version)
            return Response(body=dict(version))

    def delete(self, request: Request, model: str, **_: str) -> Response:
        """Answer DeleteModel: delete a model with all its versions."""
        with self._lock:
            self._look_up(model)
            del self._models[model]
        return self._operations.start("DeleteOperationMetadata")

    def delete_version(self, request: Request, model: str, **_: str) -> Response:
        """Answer DeleteModelVersion."""
        with self._lock:
            stored_model, version = self._look_up_version(model, needs_version=True)
            # google-cloud-aiplatform, ModelRegistry.delete_version: the last version is kept.
            if len(stored_model.versions) == 1:
                raise wrong_state("The last version of a model cannot be deleted.")
            # There must be exactly one default version (Model.version_aliases).
            if DEFAULT_ALIAS in version["versionAliases"]:
                raise wrong_state("The default version of a model cannot be deleted.")
            del stored_model.versions[version["versionId"]]
        return self._operations.start("DeleteOperationMetadata")

    def merge_version_aliases(self, request: Request, model: str, **_: str) -> Response:
        """Answer MergeVersionAliases: add aliases to a version, and remove those with a `-`."""
        body = {camel_case(name): value for name, value in json_body(request).items()}
        check_fields(body, ("name", "versionAliases"))
        sent_aliases = [str(alias) for alias in body.get("versionAliases") or []]
        if not sent_aliases:
            raise invalid("version_aliases is required.", "version_aliases")
        added = {alias for alias in sent_aliases if not alias.startswith("-")}
        removed = {alias[1:] for alias in sent_aliases if alias.startswith("-")}
        _check_aliases(added | removed)
        # "The 2 operations will be cancelled out" (MergeVersionAliasesRequest.version_aliases).
        both = added & removed
        with self._lock:
            stored_model, version = self._look_up_version(model, needs_version=True)
            if DEFAULT_ALIAS in removed - both:
                raise invalid("The alias default can only be moved.", "version_aliases")
            aliases = version["versionAliases"]
            version["versionAliases"] = [name for name in aliases if name not in removed - both]
            _move_aliases(stored_model, version["versionId"], sorted(added - both))
            _touch(version)
            return Response(body=dict(version))

    # -- for tests

    def names(self) -> list[str]:
        """Return the resource names of all models, the oldest first."""
        with self._lock:
            return [self._name(model_id) for model_id in self._models]

    # -- parts of the methods

    def _check_upload(self, version: ModelVersion) -> None:
        """Raise 400 for a model that the service would refuse."""
        # Model.display_name is required.
        if not version.get("displayName"):
            raise invalid("display_name is required.", "model.display_name")
        check_display_name(version["displayName"], "model.display_name")
        check_labels(version.get("labels", {}), "model.labels")
        _check_aliases(version.get("versionAliases", []))
        artifact_uri = version.get("artifactUri", "")
        image = (version.get("containerSpec") or {}).get("imageUri")
        # Model.upload of google-cloud-aiplatform: files need an image, a placeholder has neither.
        if artifact_uri and not image:
            raise invalid("container_spec.image_uri is required.", "model.container_spec.image_uri")
        if not artifact_uri:
            return
        scheme, _, path = artifact_uri.partition("://")
        bucket = path.partition("/")[0]
        if scheme != "gs" or not bucket:
            raise invalid(f'Invalid artifact_uri "{artifact_uri}".', "model.artifact_uri")
        if not self._has_bucket(bucket):
            raise invalid(f"The bucket gs://{bucket} does not exist.", "model.artifact_uri")

    def _choose_model(self, body: JsonObject) -> str:
        """Return the id of the model that an upload adds, or adds a version to."""
        parent_model = body.get("parentModel")
        model_id = body.get("modelId")
        if parent_model:
            parent_id = str(parent_model).rpartition("/")[2].partition("@")[0]
            self._look_up(parent_id)
            return parent_id
        if not model_id:
            self._count += 1
            return str(stable_number("model", self._place.parent, self._count))
        if not _MODEL_ID.fullmatch(str(model_id)):
            raise invalid(
                f'Invalid model_id "{model_id}": at most 63 of [a-z0-9_-], and the first is not a'
                " number or a hyphen.",
                "model_id",
            )
        # A guess: the types do not say what an id does that exists, without a parent_model.
        if model_id in self._models:
            raise GoogleError(409, f"The model {self._name(str(model_id))} already exists.")
        return str(model_id)

    def _store_version(
        self, model: _Model, model_id: str, version_id: str, version: ModelVersion
    ) -> None:
        now = format_time(time.time())
        first_version = next(iter(model.versions.values()), {"createTime": now})
        # Model.container_spec is input only in aiplatform_v1, but google-cloud-aiplatform has a
        # property that reads it from the answer (Model.container_spec). So it is stored.
        model.versions[version_id] = {
            **version,
            "name": self._name(model_id),
            "versionId": version_id,
            "versionAliases": [],
            "createTime": first_version["createTime"],
            "updateTime": now,
            "versionCreateTime": now,
        }
        _touch(model.versions[version_id])

    def _list(
        self,
        request: Request,
        versions: list[ModelVersion],
        fields: Mapping[str, Field[JsonObject]],
        orders: tuple[str, ...],
    ) -> Response:
        """Answer a list method."""
        query = check_query(request, _LIST_QUERY)
        filter_text = query.get("filter", "")
        order_text = query.get("orderBy", "")
        mask = protos.parse_mask("Model", query.get("readMask", ""), "read_mask")
        fits = compile_list_filter(filter_text, build_leaf_compiler(fields))
        sort_key = _build_sort_key(order_text, orders)
        page, token = list_page(
            sorted((version for version in versions if fits(version)), key=sort_key),
            sort_key,
            size=query.get("pageSize"),
            token=query.get("pageToken"),
            scope=f"{request.path}\n{filter_text}\n{order_text}",
            default=MAX_PAGE,
            maximum=MAX_PAGE,
        )
        if mask:
            page = [protos.apply_mask(version, mask) for version in page]
        return Response(body=page_body("models", page, token))

    def _look_up(self, model_id: str) -> _Model:
        if model_id not in self._models:
            raise not_found(self._name(model_id))
        return self._models[model_id]

    def _look_up_version(
        self, name: str, *, needs_version: bool = False
    ) -> tuple[_Model, ModelVersion]:
        """Return a model and one of its versions.

        Args:
            name: the id of the model, and perhaps `@` and a version or an alias.
            needs_version: whether the name has to contain the number of a version.
        """
        model_id, _, label = name.partition("@")
        if needs_version and not label:
            raise invalid("The name needs the number of a version, as in MODEL@1.", "name")
        model = self._look_up(model_id)
        version = _find_version(model, label or DEFAULT_ALIAS)
        if version is None:
            raise not_found(self._name(name))
        return model, version

    def _name(self, model_id: str) -> str:
        return f"{self._place.parent}/models/{model_id}"


def _find_version(model: _Model, label: str) -> ModelVersion | None:
    """Return the version with a number or an alias, or None."""
    if label in model.versions:
        return model.versions[label]
    for version in model.versions.values():
        if label in version["versionAliases"]:
            return version
    return None


def _move_aliases(model: _Model, version_id: str, aliases: Iterable[str]) -> None:
    """Give aliases to a version, and take them from the other versions.

    The documentation of version aliases: an alias belongs to one version of a model at a time, and
    can be moved to another version.
    """
    moved = set(aliases)
    for version in model.versions.values():
        remaining_aliases = [alias for alias in version["versionAliases"] if alias not in moved]
        if version["versionId"] == version_id:
            remaining_aliases += sorted(moved)
        version["versionAliases"] = remaining_aliases


def _check_aliases(aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise invalid(
                f'Invalid version alias "{alias}": it must match {_ALIAS.pattern}.',
                "version_aliases",
            )


def _touch(version: ModelVersion) -> None:
    """Set the time of the last change, and a new etag."""
    now = format_time(time.time())
    version["updateTime"] = now
    version["versionUpdateTime"] = now
    content = {name: value for name, value in version.items() if name != "etag"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    version["etag"] = digest[:16]


def _build_sort_key(order: str, allowed: tuple[str, ...]) -> Callable[[ModelVersion], SortKey]:
    """Return the sort key for an `orderBy`. Without one, the newest comes first (a guess)."""
    name, _, direction = (order or "create_time desc").strip().partition(" ")
    name = camel_case(name)
    direction = direction.strip().lower()
    if name not in allowed or direction not in ("", "asc", "desc"):
        raise invalid(
            f'Invalid order_by: "{order}" is not one of {", ".join(allowed)} [desc].', "order_by"
        )
    # The name and the version make the keys different.
    if name == "displayName":
        return lambda version: (version["displayName"], version["name"])
    sign = -1 if direction == "desc" else 1
    return lambda version: (sign * micros(version[name]), version["name"])


def _read_model_id(version: JsonObject) -> str:
    return str(version["name"]).rpartition("/")[2]


# The fields in the comments of ListModelsRequest and ListModelVersionsRequest in aiplatform_v1.
_VERSION_FIELDS: Final[Mapping[str, Field[JsonObject]]] = {
    "labels": Field(read_key("labels"), EQUALITY, "map"),
}
_MODEL_FIELDS: Final[Mapping[str, Field[JsonObject]]] = {
    **_VERSION_FIELDS,
    "model": Field(_read_model_id, EQUALITY),
    "display_name": Field(read_key("displayName"), EQUALITY),
}
