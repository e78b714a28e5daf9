"""A stand-in of Vertex ML Metadata: the contexts, executions and artifacts of experiments.

It answers the requests of `aiplatform.init(experiment=...)`, `PipelineJob.submit(experiment=...)`,
`get_experiment_df`, `ExperimentRun` and the classes Artifact, Execution and Context. Filters can
have schema_title, display_name, uri, state, in_context(...), parent_contexts and create_time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import protos
from kfgcp.testing.filters import compile_list_filter
from kfgcp.testing.google import (
    GoogleError,
    JsonBody,
    check_fields,
    check_query,
    format_time,
    json_body,
    list_page,
    micros,
    not_found,
    page_body,
)
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.metadata_nodes import KINDS, Node, Nodes, Store
from kfgcp.testing.operations import Operations
from kfgcp.testing.server import Handler, Request, Response, Route

# The number of nodes in an answer, see the list requests of MetadataService in aiplatform_v1.
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
_LIST_QUERY: Final = ("filter", "pageSize", "pageToken", "orderBy")
_UPDATE_QUERY: Final = ("allowMissing", "updateMask", "etag")
# Fields that an update does not change.
_FIXED_FIELDS: Final = ("name", "createTime", "schemaTitle")


@dataclass(frozen=True, slots=True)
class _Target:
    """The collection or the node that a request is for.

    store_id: the last part of the resource name of the store. kind: a key of `KINDS`. node_id: the
    last part of the resource name of the node, empty for a collection.
    """

    store: Store
    store_id: str
    kind: str
    node_id: str

    @property
    def message_type(self) -> str:
        """Return the type of the nodes in aiplatform_v1, such as `Context`."""
        return KINDS[self.kind]

    @property
    def body_field(self) -> str:
        """Return the name of the body in errors, such as `context`."""
        return self.kind.removesuffix("s")


class _NodeMethod(Protocol):
    def __call__(self, request: Request, target: _Target) -> Response:
        """Answer a request for nodes of one kind."""


class Metadata(Nodes):
    """The service of the metadata stores of a location. The store `default` always exists.

    Args:
        place: the location.
        operations: starts the operations that create stores and delete nodes.
        jobs: the jobs whose nodes are in the store `default`.
        canonical_name: returns a resource name with the number of the project instead of its id.
    """

    def __init__(
        self, place: Place, operations: Operations, jobs: Jobs, canonical_name: Callable[[str], str]
    ) -> None:
        super().__init__(place, jobs, canonical_name)
        self._operations = operations

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        stores = base + "/metadataStores"
        store = stores + "/{store}"
        context = store + "/contexts/{context}"
        execution = store + "/executions/{execution}"
        routes = [
            Route("POST", stores, self.create_store, ("metadataStoreId",)),
            Route("GET", stores, self.list_stores, ("pageSize", "pageToken")),
            Route("GET", store, self.get_store),
            Route("POST", context + ":addContextChildren", self.add_children),
            Route("POST", context + ":removeContextChildren", self.remove_children),
            Route("POST", context + ":addContextArtifactsAndExecutions", self.add_members),
            Route("GET", context + ":queryContextLineageSubgraph", self.query_context_lineage),
            Route("POST", execution + ":addExecutionEvents", self.add_events),
            Route(
                "GET", execution + ":queryExecutionInputsAndOutputs", self.query_execution_lineage
            ),
        ]
        for kind in KINDS:
            routes += self._node_routes(kind, f"{store}/{kind}")
        return routes

    def _node_routes(self, kind: str, collection: str) -> list[Route]:
        node = collection + "/{node}"
        id_parameter = _id_parameter(KINDS[kind])
        return [
            Route("POST", collection, self._handler(kind, self._create), (id_parameter,)),
            Route("GET", collection, self._handler(kind, self._list), _LIST_QUERY),
            Route("GET", node, self._handler(kind, self._get)),
            Route("PATCH", node, self._handler(kind, self._patch), _UPDATE_QUERY),
            Route("DELETE", node, self._handler(kind, self._delete), ("force", "etag")),
        ]

    def _handler(self, kind: str, method: _NodeMethod) -> Handler:
        """Return the handler that calls a method with the target of its request."""

        def handler(request: Request, store: str, node: str = "", **_: str) -> Response:
            target = _Target(self._look_up_store(store), store, kind, node)
            return method(request, target)

        return handler

    # -- for the other parts of the stand-in

    def add_to_experiment(self, name: str, jobs: list[Job]) -> None:
        """Create an experiment unless it exists, and add jobs to the experiment."""
        store = self._stores["default"]
        with self._lock:
            context = f"{self._place.metadata_store}/contexts/{name}"
            if context not in store.nodes["contexts"]:
                # The fields that `aiplatform.init(experiment=...)` gives an experiment.
                body = {
                    "schemaTitle": "system.Experiment",
                    "schemaVersion": "0.0.1",
                    "displayName": name,
                    "metadata": {"experiment_deleted": False},
                }
                self._add(store, "contexts", context, body)
            run_contexts = {self._jobs.contexts(job)["pipelineRunContext"]["name"] for job in jobs}
            store.children.setdefault(context, set()).update(run_contexts)

    def artifact_uri(self, artifact_id: str) -> str | None:
        """Return the URI of an artifact of the store `default`, None without such an artifact."""
        name = f"{self._place.metadata_store}/artifacts/{artifact_id}"
        artifact = self._find(self._stores["default"], "artifacts", name)
        if artifact is None:
            return None
        return str(artifact.get("uri") or "")

    # -- stores

    def create_store(self, request: Request, **_: str) -> Response:
        """Answer CreateMetadataStore."""
        query = check_query(request, ("metadataStoreId",))
        store_id = query.get("metadataStoreId") or self._new_id()
        if store_id in self._stores:
            raise GoogleError(
                409, f"The MetadataStore {self._store_name(store_id)} already exists."
            )
        body = protos.read_message("MetadataStore", json_body(request), "metadata_store")
        store = self._add_store(store_id, body)
        return self._operations.start(
            "CreateMetadataStoreOperationMetadata", store.body, "MetadataStore"
        )

    def list_stores(self, request: Request, **_: str) -> Response:
        """Answer ListMetadataStores."""
        return Response(body={"metadataStores": [store.body for store in self._stores.values()]})

    def get_store(self, request: Request, store: str, **_: str) -> Response:
        """Answer GetMetadataStore."""
        return Response(body=self._look_up_store(store).body)

    # -- relations between nodes

    def add_children(self, request: Request, store: str, context: str, **_: str) -> Response:
        """Answer AddContextChildren."""
        metadata_store, name = self._look_up_context(store, context)
        body = _read_body(request, ("childContexts", "context"))
        children = [self._canonical_name(child) for child in body.get("childContexts") or ()]
        for child in children:
            self._look_up(metadata_store, "contexts", child)
        with self._lock:
            metadata_store.children.setdefault(name, set()).update(children)
        return Response()

    def remove_children(self, request: Request, store: str, context: str, **_: str) -> Response:
        """Answer RemoveContextChildren."""
        metadata_store, name = self._look_up_context(store, context)
        body = _read_body(request, ("childContexts", "context"))
        removed = {self._canonical_name(child) for child in body.get("childContexts") or ()}
        with self._lock:
            metadata_store.children.get(name, set()).difference_update(removed)
        return Response()

    def add_members(self, request: Request, store: str, context: str, **_: str) -> Response:
        """Answer AddContextArtifactsAndExecutions."""
        metadata_store, name = self._look_up_context(store, context)
        body = _read_body(request, ("artifacts", "executions", "context"))
        for kind in ("artifacts", "executions"):
            members = [self._canonical_name(member) for member in body.get(kind) or ()]
            for member in members:
                self._look_up(metadata_store, kind, member)
            with self._lock:
                metadata_store.members.setdefault(name, set()).update(members)
        return Response()

    def add_events(self, request: Request, store: str, execution: str, **_: str) -> Response:
        """Answer AddExecutionEvents."""
        metadata_store = self._look_up_store(store)
        name = f"{self._store_name(store)}/executions/{execution}"
        self._look_up(metadata_store, "executions", name)
        body = _read_body(request, ("events", "execution"))
        for event in body.get("events") or ():
            checked_event = protos.read_message("Event", event, "events")
            artifact = self._canonical_name(checked_event.get("artifact", ""))
            self._look_up(metadata_store, "artifacts", artifact)
            # Event of aiplatform_v1: only the service sets the time.
            checked_event["eventTime"] = format_time(time.time())
            checked_event["artifact"] = artifact
            checked_event["execution"] = name
            metadata_store.events.append(checked_event)
        return Response()

    def query_execution_lineage(
        self, request: Request, store: str, execution: str, **_: str
    ) -> Response:
        """Answer QueryExecutionInputsAndOutputs."""
        metadata_store = self._look_up_store(store)
        name = f"{self._store_name(store)}/executions/{execution}"
        node = self._look_up(metadata_store, "executions", name)
        return Response(body=self._subgraph(metadata_store, [node]))

    def query_context_lineage(
        self, request: Request, store: str, context: str, **_: str
    ) -> Response:
        """Answer QueryContextLineageSubgraph."""
        metadata_store, name = self._look_up_context(store, context)
        executions = self._list_nodes(metadata_store, "executions")
        members = [node for node in executions if self._is_in_context(metadata_store, node, name)]
        return Response(body=self._subgraph(metadata_store, members))

    # -- nodes of one kind

    def _create(self, request: Request, target: _Target) -> Response:
        id_parameter = _id_parameter(target.message_type)
        query = check_query(request, (id_parameter,))
        node_id = query.get(id_parameter) or self._new_id()
        name = f"{self._store_name(target.store_id)}/{target.kind}/{node_id}"
        body = protos.read_message(target.message_type, json_body(request), target.body_field)
        with self._lock:
            if self._find(target.store, target.kind, name) is not None:
                raise GoogleError(409, f"The {target.message_type} {name} already exists.")
            return Response(body=self._add(target.store, target.kind, name, body))

    def _get(self, request: Request, target: _Target) -> Response:
        node = self._look_up(target.store, target.kind, self._node_name(target))
        return Response(body=self._view(target.store, node))

    def _list(self, request: Request, target: _Target) -> Response:
        query = check_query(request, _LIST_QUERY)
        filter_text = query.get("filter", "")
        fits = compile_list_filter(filter_text, self._leaf_compiler(target.store))
        nodes = [node for node in self._list_nodes(target.store, target.kind) if fits(node)]
        page, token = list_page(
            sorted(nodes, key=_newest_first),
            _newest_first,
            size=query.get("pageSize"),
            token=query.get("pageToken"),
            scope=filter_text,
            default=DEFAULT_PAGE,
            maximum=MAX_PAGE,
        )
        views = [self._view(target.store, node) for node in page]
        return Response(body=page_body(target.kind, views, token))

    def _patch(self, request: Request, target: _Target) -> Response:
        query = check_query(request, _UPDATE_QUERY)
        name = self._node_name(target)
        body = protos.read_message(target.message_type, json_body(request), target.body_field)
        mask = protos.parse_mask(target.message_type, query.get("updateMask", ""), "update_mask")
        with self._lock:
            node = target.store.nodes[target.kind].get(name)
            if node is None:
                if query.get("allowMissing") != "true":
                    raise not_found(name)
                return Response(body=self._add(target.store, target.kind, name, body))
            changes = protos.apply_mask(body, mask) if mask else body
            fixed_values: JsonBody = {key: node[key] for key in _FIXED_FIELDS if key in node}
            node.update(changes)
            node.update(fixed_values, updateTime=format_time(time.time()))
            return Response(body=self._view(target.store, node))

    def _delete(self, request: Request, target: _Target) -> Response:
        name = self._node_name(target)
        with self._lock:
            if target.store.nodes[target.kind].pop(name, None) is None:
                raise not_found(name)
            target.store.children.pop(name, None)
            target.store.members.pop(name, None)
        return self._operations.start("DeleteOperationMetadata")

    # -- helpers

    def _node_name(self, target: _Target) -> str:
        return f"{self._store_name(target.store_id)}/{target.kind}/{target.node_id}"

    def _look_up_context(self, store_id: str, context_id: str) -> tuple[Store, str]:
        """Return the store and the resource name of a context, or raise 404."""
        store = self._look_up_store(store_id)
        name = f"{self._store_name(store_id)}/contexts/{context_id}"
        self._look_up(store, "contexts", name)
        return store, name

    def _subgraph(self, store: Store, executions: list[Node]) -> JsonBody:
        """Return a LineageSubgraph: executions, their events, and the artifacts of the events."""
        execution_names = {node["name"] for node in executions}
        events = [event for event in store.events if event["execution"] in execution_names]
        artifact_names = {event["artifact"] for event in events}
        artifacts = [self._look_up(store, "artifacts", name) for name in artifact_names]
        return {
            "artifacts": [self._view(store, node) for node in artifacts],
            "executions": [self._view(store, node) for node in executions],
            "events": events,
        }


def _id_parameter(message_type: str) -> str:
    """Return the query parameter for the id of a new node, such as `contextId`."""
    return f"{message_type[0].lower()}{message_type[1:]}Id"


def _read_body(request: Request, fields: tuple[str, ...]) -> JsonObject:
    """Return the body of a request, or raise 400 if it has other fields than `fields`."""
    body = json_body(request)
    check_fields(body, fields)
    return body


def _newest_first(node: Node) -> tuple[int, str]:
    """Return the sort key of a node. The name makes the keys of all nodes different."""
    return -micros(node.get("createTime")), node["name"]
