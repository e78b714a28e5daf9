"""The nodes of metadata stores: those that clients made, and those that jobs bring with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.testing.filters import ORDER, WILDCARD, Call, Compare, Field, Leaf, Predicate, build_leaf
from kfgcp.testing.google import format_time, not_found, stable_number
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Place

Node = dict[str, Any]

KINDS: Final = {"contexts": "Context", "executions": "Execution", "artifacts": "Artifact"}


@dataclass(slots=True)
class Store:
    """The nodes of a metadata store that clients made, by resource name, and what belongs to
    what."""

    body: Node
    nodes: dict[str, dict[str, Node]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    children: dict[str, set[str]] = field(default_factory=dict)  # context -> contexts
    members: dict[str, set[str]] = field(default_factory=dict)  # context -> artifacts, executions
    events: list[Node] = field(default_factory=list)


class Nodes:
    """The metadata stores of a location; `default` is there from the start, and has the nodes of
    the jobs.

    Args:
        place: where they are.
        jobs: whose nodes they are.
        canonical: a resource name as this service writes it, with the project's number.
    """

    def __init__(self, place: Place, jobs: Jobs, canonical: Callable[[str], str]) -> None:
        self._place = place
        self._jobs = jobs
        self._canonical = canonical
        self._stores: dict[str, Store] = {}
        self._kept: dict[
            tuple[Job, str], list[Node]
        ] = {}  # nodes of jobs that have ended, by job and kind
        self._count = 0
        self._lock = threading.RLock()
        self._add_store("default", {})

    def _add_store(self, name: str, body: Mapping[str, Any]) -> Store:
        now = format_time(time.time())
        store = Store(
            {**body, "name": self._store_name(name), "createTime": now, "updateTime": now}
        )
        self._stores[name] = store
        return store

    def _add(self, store: Store, kind: str, full: str, body: Mapping[str, Any]) -> Node:
        now = format_time(time.time())
        node = {
            **body,
            "name": full,
            "createTime": now,
            "updateTime": now,
            "etag": str(stable_number(full, now)),
        }
        store.nodes[kind][full] = node
        return node

    def _new_id(self) -> str:
        with self._lock:
            self._count += 1
            return str(stable_number("node", self._count))

    def _store_name(self, name: str) -> str:
        return f"{self._place.parent}/metadataStores/{name}"

    def _store(self, name: str) -> Store:
        if name not in self._stores:
            raise not_found(self._store_name(name))
        return self._stores[name]

    def _find(self, store: Store, kind: str, name: str) -> Node:
        node = self._look_up(store, kind, name)
        if node is None:
            raise not_found(name)
        return node

    def _look_up(self, store: Store, kind: str, name: str) -> Node | None:
        if name in store.nodes[kind]:
            return store.nodes[kind][name]
        if kind == "contexts":
            job = self._jobs.find(name.rpartition("/")[2])
            if job is not None and store is self._stores["default"]:
                return self._jobs.contexts(job)["pipelineRunContext"]
        return next((node for node in self._of_jobs(store, kind) if node["name"] == name), None)

    def _all(self, store: Store, kind: str) -> list[Node]:
        return [*store.nodes[kind].values(), *self._of_jobs(store, kind)]

    def _of_jobs(self, store: Store, kind: str) -> list[Node]:
        if store is not self._stores["default"]:
            return []
        found = {node["name"]: node for job in self._jobs.all() for node in self._of_job(job, kind)}
        return list(found.values())

    def _of_job(self, job: Job, kind: str) -> list[Node]:
        if (job, kind) in self._kept:
            return self._kept[job, kind]
        found = self._made_of(job, kind)
        if job.ended is not None:
            self._kept[job, kind] = found
        return found

    def _made_of(self, job: Job, kind: str) -> list[Node]:
        if kind == "contexts":
            return list(self._jobs.contexts(job).values())
        created = {"createTime": format_time(job.created), "updateTime": format_time(job.created)}
        details = self._jobs.details(job)
        if kind == "executions":
            found = [detail["execution"] for detail in details if "execution" in detail]
        else:
            lists = [
                output for detail in details for output in (detail.get("outputs") or {}).values()
            ]
            found = [artifact for output in lists for artifact in output["artifacts"]]
        return [{**node, **created, "\0job": job.id} for node in found]

    def _shown(self, store: Store, node: Node) -> Node:
        shown = {key: value for key, value in node.items() if key[0] != "\0"}
        if "/contexts/" in node["name"]:
            parents = [*(node.get("parentContexts") or ()), *self._parents(store, node["name"])]
            shown |= {"parentContexts": parents} if parents else {}
        return shown

    def _parents(self, store: Store, name: str) -> list[str]:
        return [parent for parent, children in store.children.items() if name in children]

    def _is_in(self, store: Store, node: Node, context: str) -> bool:
        """Whether an artifact or execution belongs to a context: directly, or by the job that it is
        of."""
        if node["name"] in store.members.get(context, ()):
            return True
        job = self._jobs.find(node.get("\0job", ""))
        return job is not None and context in [
            found["name"] for found in self._jobs.contexts(job).values()
        ]

    def _leaf(self, store: Store) -> Callable[[Leaf], Predicate[Node]]:
        plain = build_leaf(_FIELDS)

        def leaf(node: Leaf) -> Predicate[Node]:
            if isinstance(node, Call) and node.name == "in_context" and len(node.arguments) == 1:
                context = self._canonical(node.arguments[0])
                return lambda item: self._is_in(store, item, context)
            if isinstance(node, Compare) and node.field in (
                ("parent_contexts",),
                ("parentContexts",),
            ):
                wanted = {self._canonical(value) for value in node.values}
                return lambda item: bool(
                    wanted
                    & {*(item.get("parentContexts") or ()), *self._parents(store, item["name"])}
                )
            return plain(node)

        return leaf


def _plain(name: str) -> Callable[[Node], Any]:
    return lambda node: node.get(name)


_FIELDS: Final[Mapping[str, Field[Node]]] = {
    "name": Field(_plain("name")),
    "schema_title": Field(_plain("schemaTitle")),
    "display_name": Field(_plain("displayName"), WILDCARD),
    "uri": Field(_plain("uri")),
    "state": Field(_plain("state")),
    "create_time": Field(_plain("createTime"), ORDER, "time"),
}
