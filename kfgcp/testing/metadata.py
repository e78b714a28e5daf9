"""Vertex ML Metadata of a stand-in: what experiments are made of, and the nodes that jobs bring
with them.

It has the calls of `aiplatform.init(experiment=...)`, `PipelineJob.submit(experiment=...)`,
`get_experiment_df`, `ExperimentRun` and the classes Artifact, Execution and Context. The nodes of
jobs are read from the jobs when they are asked for. Filters: schema_title, display_name, uri,
state, in_context(...), parent_contexts, create_time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from kfgcp.testing import protos
from kfgcp.testing.filters import FilterError, compile_filter
from kfgcp.testing.google import (
    GoogleError,
    check_query,
    format_time,
    invalid,
    json_body,
    list_page,
    micros,
    not_found,
    only_fields,
    snake_case,
)
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place
from kfgcp.testing.metadata_nodes import KINDS, Node, Nodes, Store
from kfgcp.testing.operations import Operations
from kfgcp.testing.server import Request, Response, Route

_ALLOW: Final = ("allowMissing", "updateMask", "etag")


class Metadata(Nodes):
    """The metadata stores of a location; `default` is there from the start.

    Args:
        place: where they are.
        operations: where creations of stores and deletions go.
        jobs: whose nodes are in the store `default`.
        canonical: a resource name as this service writes it, with the project's number.
    """

    def __init__(
        self, place: Place, operations: Operations, jobs: Jobs, canonical: Callable[[str], str]
    ) -> None:
        super().__init__(place, jobs, canonical)
        self._operations = operations

    def routes(self, base: str) -> list[Route]:
        stores = base + "/metadataStores"
        store = stores + "/{store}"
        listing = ("filter", "pageSize", "pageToken", "orderBy")
        found = [
            Route("POST", stores, self.create_store, ("metadataStoreId",)),
            Route("GET", stores, self.list_stores, ("pageSize", "pageToken")),
            Route("GET", store, self.get_store),
            Route("POST", store + "/contexts/{context}:addContextChildren", self.add_children),
            Route(
                "POST", store + "/contexts/{context}:removeContextChildren", self.remove_children
            ),
            Route(
                "POST",
                store + "/contexts/{context}:addContextArtifactsAndExecutions",
                self.add_members,
            ),
            Route(
                "GET",
                store + "/contexts/{context}:queryContextLineageSubgraph",
                self.lineage_of_context,
            ),
            Route("POST", store + "/executions/{execution}:addExecutionEvents", self.add_events),
            Route(
                "GET",
                store + "/executions/{execution}:queryExecutionInputsAndOutputs",
                self.lineage_of_execution,
            ),
        ]
        for kind, message in KINDS.items():
            new = f"{message[0].lower()}{message[1:]}Id"
            found += [
                Route("POST", f"{store}/{kind}", self._of(kind, self._create), (new,)),
                Route("GET", f"{store}/{kind}", self._of(kind, self._list), listing),
                Route("GET", f"{store}/{kind}/{{node}}", self._of(kind, self._get)),
                Route("PATCH", f"{store}/{kind}/{{node}}", self._of(kind, self._patch), _ALLOW),
                Route(
                    "DELETE",
                    f"{store}/{kind}/{{node}}",
                    self._of(kind, self._delete),
                    ("force", "etag"),
                ),
            ]
        return found

    # -- for seeding

    def experiment(self, name: str, jobs: list[Job]) -> None:
        """Makes an experiment of that name, unless there is one, and puts jobs into it."""
        store = self._stores["default"]
        with self._lock:
            full = f"{self._place.metadata_store}/contexts/{name}"
            if full not in store.nodes["contexts"]:
                body = {
                    "schemaTitle": "system.Experiment",
                    "schemaVersion": "0.0.1",
                    "displayName": name,
                }
                self._add(
                    store, "contexts", full, body | {"metadata": {"experiment_deleted": False}}
                )
            children = {self._jobs.contexts(job)["pipelineRunContext"]["name"] for job in jobs}
            store.children.setdefault(full, set()).update(children)

    def artifact_uri(self, artifact_id: str) -> str | None:
        """Return the URI of an artifact of the store `default`, None when there is no such
        artifact."""
        name = f"{self._place.metadata_store}/artifacts/{artifact_id}"
        artifact = self._look_up(self._stores["default"], "artifacts", name)
        return None if artifact is None else str(artifact.get("uri") or "")

    # -- stores

    def create_store(self, request: Request, **_: str) -> Response:
        name = check_query(request, ("metadataStoreId",)).get("metadataStoreId") or self._new_id()
        if name in self._stores:
            raise GoogleError(409, f"The MetadataStore {self._store_name(name)} already exists.")
        body = protos.read("MetadataStore", json_body(request), "metadata_store")
        store = self._add_store(name, body)
        return self._operations.start(
            "CreateMetadataStoreOperationMetadata", store.body, "MetadataStore"
        )

    def list_stores(self, request: Request, **_: str) -> Response:
        return Response(body={"metadataStores": [store.body for store in self._stores.values()]})

    def get_store(self, request: Request, store: str, **_: str) -> Response:
        return Response(body=self._store(store).body)

    # -- what belongs to what

    def add_children(self, request: Request, store: str, context: str, **_: str) -> Response:
        known, name, body = self._relation(request, store, context, ("childContexts", "context"))
        children = [self._canonical(child) for child in body.get("childContexts") or ()]
        for child in children:
            self._find(known, "contexts", child)
        with self._lock:
            known.children.setdefault(name, set()).update(children)
        return Response()

    def remove_children(self, request: Request, store: str, context: str, **_: str) -> Response:
        known, name, body = self._relation(request, store, context, ("childContexts", "context"))
        with self._lock:
            known.children.get(name, set()).difference_update(
                map(self._canonical, body.get("childContexts") or ())
            )
        return Response()

    def add_members(self, request: Request, store: str, context: str, **_: str) -> Response:
        known, name, body = self._relation(
            request, store, context, ("artifacts", "executions", "context")
        )
        for kind in ("artifacts", "executions"):
            names = [self._canonical(member) for member in body.get(kind) or ()]
            for member in names:
                self._find(known, kind, member)
            with self._lock:
                known.members.setdefault(name, set()).update(names)
        return Response()

    def add_events(self, request: Request, store: str, execution: str, **_: str) -> Response:
        known = self._store(store)
        name = f"{self._store_name(store)}/executions/{execution}"
        self._find(known, "executions", name)
        body = json_body(request)
        only_fields(body, ("events", "execution"))
        for event in body.get("events") or ():
            read = protos.read("Event", event, "events")
            artifact = self._canonical(read.get("artifact", ""))
            self._find(known, "artifacts", artifact)
            at = {"eventTime": format_time(time.time())}
            known.events.append(read | at | {"artifact": artifact, "execution": name})
        return Response()

    def lineage_of_execution(
        self, request: Request, store: str, execution: str, **_: str
    ) -> Response:
        known = self._store(store)
        name = f"{self._store_name(store)}/executions/{execution}"
        return Response(body=self._subgraph(known, {name: self._find(known, "executions", name)}))

    def lineage_of_context(self, request: Request, store: str, context: str, **_: str) -> Response:
        known = self._store(store)
        name = f"{self._store_name(store)}/contexts/{context}"
        self._find(known, "contexts", name)
        executions = {
            node["name"]: node
            for node in self._all(known, "executions")
            if self._is_in(known, node, name)
        }
        return Response(body=self._subgraph(known, executions))

    # -- nodes of one kind

    def _of(self, kind: str, method: Callable[..., Response]) -> Callable[..., Response]:
        return lambda request, store, node="", **_: method(
            request, self._store(store), store, kind, node
        )

    def _create(self, request: Request, store: Store, name: str, kind: str, node: str) -> Response:
        message = KINDS[kind]
        wanted = f"{message[0].lower()}{message[1:]}Id"
        node = check_query(request, (wanted,)).get(wanted) or self._new_id()
        full = f"{self._store_name(name)}/{kind}/{node}"
        body = protos.read(message, json_body(request), snake_case(message).lstrip("_"))
        with self._lock:
            if self._look_up(store, kind, full) is not None:
                raise GoogleError(409, f"The {message} {full} already exists.")
            return Response(body=self._add(store, kind, full, body))

    def _get(self, request: Request, store: Store, name: str, kind: str, node: str) -> Response:
        return Response(
            body=self._shown(
                store, self._find(store, kind, f"{self._store_name(name)}/{kind}/{node}")
            )
        )

    def _list(self, request: Request, store: Store, name: str, kind: str, node: str) -> Response:
        query = check_query(request, ("filter", "pageSize", "pageToken", "orderBy"))
        try:
            wanted = compile_filter(query.get("filter", ""), self._leaf(store))
        except FilterError as error:
            raise invalid(f"Invalid filter: {error}.", "filter") from None
        found = sorted((item for item in self._all(store, kind) if wanted(item)), key=_newest)
        items, token = list_page(
            found,
            _newest,
            size=query.get("pageSize"),
            token=query.get("pageToken"),
            scope=query.get("filter", ""),
            default=100,
            maximum=1000,
        )
        shown = [self._shown(store, item) for item in items]
        return Response(body={kind: shown} | ({"nextPageToken": token} if token else {}))

    def _patch(self, request: Request, store: Store, name: str, kind: str, node: str) -> Response:
        query = check_query(request, _ALLOW)
        full = f"{self._store_name(name)}/{kind}/{node}"
        body = protos.read(KINDS[kind], json_body(request), kind[:-1])
        mask = protos.mask_paths(KINDS[kind], query.get("updateMask", ""), "update_mask")
        with self._lock:
            known = store.nodes[kind].get(full)
            if known is None and query.get("allowMissing") != "true":
                raise not_found(full)
            if known is None:
                return Response(body=self._add(store, kind, full, body))
            fixed = {
                key: known[key] for key in ("name", "createTime", "schemaTitle") if key in known
            }
            known.update(
                (protos.masked(body, mask) if mask else body)
                | fixed
                | {"updateTime": format_time(time.time())}
            )
            return Response(body=self._shown(store, known))

    def _delete(self, request: Request, store: Store, name: str, kind: str, node: str) -> Response:
        full = f"{self._store_name(name)}/{kind}/{node}"
        with self._lock:
            if store.nodes[kind].pop(full, None) is None:
                raise not_found(full)
            store.children.pop(full, None)
            store.members.pop(full, None)
        return self._operations.start("DeleteOperationMetadata")

    # -- helpers

    def _relation(
        self, request: Request, store: str, context: str, fields: tuple[str, ...]
    ) -> tuple[Store, str, dict[str, Any]]:
        known, name = self._store(store), f"{self._store_name(store)}/contexts/{context}"
        self._find(known, "contexts", name)
        body = json_body(request)
        only_fields(body, fields)
        return known, name, body

    def _subgraph(self, store: Store, executions: Mapping[str, Node]) -> dict[str, Any]:
        events = [event for event in store.events if event["execution"] in executions]
        artifacts = [
            self._find(store, "artifacts", name) for name in {event["artifact"] for event in events}
        ]
        nodes = {"artifacts": artifacts, "executions": list(executions.values())}
        shown = {
            kind: [self._shown(store, node) for node in found] for kind, found in nodes.items()
        }
        return {**shown, "events": events}


def _newest(node: Node) -> tuple[int, str]:
    return -micros(node.get("createTime")), node["name"]
