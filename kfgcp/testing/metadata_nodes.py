"""The nodes of metadata stores: the nodes that clients create, and the nodes of jobs.

The nodes of jobs are not stored. For each request, they are built from the jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.filters import (
    ORDER,
    WILDCARD,
    Call,
    Compare,
    Field,
    Leaf,
    Predicate,
    build_leaf_compiler,
    read_key,
)
from kfgcp.testing.google import JsonBody, format_time, not_found, stable_number
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place

Node = JsonBody
"""A Context, an Execution, an Artifact or an Event as JSON."""

# The name of a collection in paths -> the message type of aiplatform_v1.
KINDS: Final = {"contexts": "Context", "executions": "Execution", "artifacts": "Artifact"}

# The key of a node that holds the id of its job. It starts with a null character, so it cannot be
# the name of a real field. `_view` removes it from answers.
_JOB_ID: Final = "\0job"


@dataclass(slots=True)
class Store:
    """A metadata store with the nodes that clients created.

    Attributes:
        body: the MetadataStore as JSON.
        nodes: kind -> resource name -> node.
        children: the resource name of a context -> the resource names of its child contexts.
        members: the resource name of a context -> the resource names of its artifacts and
            executions.
        events: each event connects an execution with an artifact that it reads or writes.
    """

    body: Node
    nodes: dict[str, dict[str, Node]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    children: dict[str, set[str]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    events: list[Node] = field(default_factory=list)


class Nodes:
    """The stores of a location and the look-up of their nodes. `Metadata` answers the requests.

    The store `default` always exists, as in a project that uses Vertex AI. This store also has the
    nodes of jobs.

    Args:
        place: the location.
        jobs: the jobs whose nodes are in the store `default`.
        canonical_name: returns a resource name with the number of the project instead of its id.
    """

    def __init__(self, place: Place, jobs: Jobs, canonical_name: Callable[[str], str]) -> None:
        self._place = place
        self._jobs = jobs
        self._canonical_name = canonical_name
        self._stores: dict[str, Store] = {}
        # A cache: the nodes of a job that has ended do not change any more.
        self._ended_job_nodes: dict[tuple[Job, str], list[Node]] = {}
        self._count = 0
        self._lock = threading.RLock()
        self._add_store("default", {})

    def _add_store(self, store_id: str, body: JsonObject) -> Store:
        now = format_time(time.time())
        name = self._store_name(store_id)
        store = Store({**body, "name": name, "createTime": now, "updateTime": now})
        self._stores[store_id] = store
        return store

    def _add(self, store: Store, kind: str, name: str, body: JsonObject) -> Node:
        """Add a node with a resource name."""
        now = format_time(time.time())
        node = {
            **body,
            "name": name,
            "createTime": now,
            "updateTime": now,
            "etag": str(stable_number(name, now)),
        }
        store.nodes[kind][name] = node
        return node

    def _new_id(self) -> str:
        with self._lock:
            self._count += 1
            return str(stable_number("node", self._count))

    def _store_name(self, store_id: str) -> str:
        return f"{self._place.parent}/metadataStores/{store_id}"

    def _look_up_store(self, store_id: str) -> Store:
        if store_id not in self._stores:
            raise not_found(self._store_name(store_id))
        return self._stores[store_id]

    def _look_up(self, store: Store, kind: str, name: str) -> Node:
        """Return the node with a resource name, or raise 404."""
        node = self._find(store, kind, name)
        if node is None:
            raise not_found(name)
        return node

    def _find(self, store: Store, kind: str, name: str) -> Node | None:
        """Return the node with a resource name, None when there is none."""
        if name in store.nodes[kind]:
            return store.nodes[kind][name]
        if kind == "contexts" and store is self._stores["default"]:
            # The context of a run has the id of its job. So the job can be looked up, instead of
            # building the nodes of all jobs.
            job = self._jobs.find(name.rpartition("/")[2])
            if job is not None:
                return self._jobs.contexts(job)["pipelineRunContext"]
        for node in self._list_job_nodes(store, kind):
            if node["name"] == name:
                return node
        return None

    def _list_nodes(self, store: Store, kind: str) -> list[Node]:
        """Return the nodes of a kind: the nodes that clients created, then the nodes of jobs."""
        return [*store.nodes[kind].values(), *self._list_job_nodes(store, kind)]

    def _list_job_nodes(self, store: Store, kind: str) -> list[Node]:
        """Return the nodes of all jobs, if the store is `default`."""
        if store is not self._stores["default"]:
            return []
        # A node can be built several times: jobs of one pipeline have the same context, and a
        # nested pipeline has the same outputs as its tasks. So keep one node for each name.
        nodes_by_name: dict[str, Node] = {}
        for job in self._jobs.all():
            for node in self._read_job_nodes(job, kind):
                nodes_by_name[node["name"]] = node
        return list(nodes_by_name.values())

    def _read_job_nodes(self, job: Job, kind: str) -> list[Node]:
        """Return the nodes of a job, from the cache if the job has ended."""
        if (job, kind) in self._ended_job_nodes:
            return self._ended_job_nodes[job, kind]
        nodes = self._build_job_nodes(job, kind)
        if job.final_run is not None:
            self._ended_job_nodes[job, kind] = nodes
        return nodes

    def _build_job_nodes(self, job: Job, kind: str) -> list[Node]:
        """Return the nodes of one kind that are in the JSON of a job."""
        if kind == "contexts":
            return list(self._jobs.contexts(job).values())
        nodes: list[Node] = []
        for detail in self._jobs.details(job):
            if kind == "artifacts":
                for output in (detail.get("outputs") or {}).values():
                    nodes += output["artifacts"]
            elif "execution" in detail:
                nodes.append(detail["execution"])
        created = format_time(job.created)
        job_fields = {"createTime": created, "updateTime": created, _JOB_ID: job.id}
        return [node | job_fields for node in nodes]

    def _view(self, store: Store, node: Node) -> Node:
        """Return the JSON of a node for an answer: without `_JOB_ID`, and with parent contexts."""
        view = {key: value for key, value in node.items() if key != _JOB_ID}
        if "/contexts/" in node["name"]:
            parents = self._list_parents(store, node)
            if parents:
                view["parentContexts"] = parents
        return view

    def _list_parents(self, store: Store, node: Node) -> list[str]:
        """Return the parents in the JSON of a context, then the parents that clients have added."""
        parents = list(node.get("parentContexts") or ())
        for parent, children in store.children.items():
            if node["name"] in children:
                parents.append(parent)
        return parents

    def _is_in_context(self, store: Store, node: Node, context: str) -> bool:
        """Return whether an artifact or an execution belongs to a context.

        A node belongs to the contexts that a client added it to, and to the contexts of its job.
        """
        if node["name"] in store.members.get(context, ()):
            return True
        job = self._jobs.find(node.get(_JOB_ID, ""))
        if job is None:
            return False
        job_contexts = self._jobs.contexts(job).values()
        return any(job_context["name"] == context for job_context in job_contexts)

    def _leaf_compiler(self, store: Store) -> Callable[[Leaf], Predicate[Node]]:
        """Return the function that compiles comparisons and calls, see `compile_filter`."""
        compile_field = build_leaf_compiler(_FIELDS)

        def compile_leaf(leaf: Leaf) -> Predicate[Node]:
            if isinstance(leaf, Call) and leaf.name == "in_context" and len(leaf.arguments) == 1:
                context = self._canonical_name(leaf.arguments[0])
                return lambda node: self._is_in_context(store, node, context)
            if isinstance(leaf, Compare) and leaf.field in _PARENT_CONTEXTS:
                contexts = {self._canonical_name(value) for value in leaf.values}
                return lambda node: not contexts.isdisjoint(self._list_parents(store, node))
            return compile_field(leaf)

        return compile_leaf


_PARENT_CONTEXTS: Final = (("parent_contexts",), ("parentContexts",))

_FIELDS: Final[Mapping[str, Field[Node]]] = {
    "name": Field(read_key("name")),
    "schema_title": Field(read_key("schemaTitle")),
    "display_name": Field(read_key("displayName"), WILDCARD),
    "uri": Field(read_key("uri")),
    "state": Field(read_key("state")),
    "create_time": Field(read_key("createTime"), ORDER, "time"),
}
