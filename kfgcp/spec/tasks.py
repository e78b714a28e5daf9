"""The tasks of two PipelineSpecs, flattened to paths, and which of one is which of the other.
Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfgcp.spec.digest import canonical_json, digest
from kfgcp.spec.facts import Facts
from kfgcp.spec.wire import (
    REFERENCES,
    as_mapping,
    component_name,
    executor_label,
    is_dag,
    read_components,
    read_executors,
    read_root,
    read_tasks,
)

_COUNTED = re.compile(r"-[1-9]\d*(?![\w.])")
_NUMBERED = re.compile(r"(.+)-([1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Node:
    """A task with what it runs. The pipeline itself is the node whose path is empty.

    component, executor: their bodies, without the names by which they are found. content: a digest
    of both, of nested tasks too; rough: of what the task says too, but for the numbers of tasks in
    names.
    """

    path: str
    key: str
    parent: str | None
    task: Mapping[str, Any]
    component: Mapping[str, Any]
    executor: Mapping[str, Any]
    label: str
    content: str
    rough: str

    @property
    def group(self) -> bool:
        return is_dag(self.component)


@dataclass(frozen=True, slots=True)
class FlatPipeline:
    """A pipeline's nodes by path, those around others first; unused: components and executors that
    no task uses."""

    nodes: Mapping[str, Node]
    unused: Facts


def flatten(spec: Mapping[str, Any]) -> FlatPipeline:
    """The tasks of a PipelineSpec in the form of `kfgcp.spec.digest.normalize`."""
    components, executors = read_components(spec), read_executors(spec)
    contents: dict[str, tuple[str, str]] = {}
    nodes: dict[str, Node] = {}

    def content(body: Mapping[str, Any]) -> tuple[str, str]:
        """A digest of a component, and one that numbers of tasks do not change."""
        exact, rough = (
            {
                **_without(body, *REFERENCES),
                "executor": executors.get(executor_label(body)),
                "dag": [
                    _without(body.get("dag"), "tasks"),
                    {
                        key: [_without(task, *REFERENCES), named(task)[side]]
                        for key, task in read_tasks(body).items()
                    },
                ],
            }
            for side in (0, 1)
        )
        return digest(exact), digest({"": _COUNTED.sub("", canonical_json(rough))})

    def named(task: Any) -> tuple[str, str]:
        name = component_name(task)
        if name not in contents:
            contents[name] = content(as_mapping(components.get(name)))
        return contents[name]

    def add(
        path: str, key: str, parent: str | None, task: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        label = executor_label(body)
        exact, rough = content(body) if parent is None else named(task)
        own_fields = _without(task, *REFERENCES, "taskInfo")
        executor = as_mapping(executors.get(label))
        rough += _COUNTED.sub("", canonical_json(own_fields))
        nodes[path] = Node(path, key, parent, task, body, executor, label, exact, rough)
        for child, each in sorted(read_tasks(body).items()):
            inside = as_mapping(components.get(component_name(each)))
            add(f"{path}/{child}" if path else child, child, path, as_mapping(each), inside)

    add("", "", None, {}, read_root(spec))
    labels = {node.label for node in nodes.values()}
    unused: Facts = {
        ("component", name): body for name, body in components.items() if name not in contents
    }
    unused |= {
        ("executor", label): body for label, body in executors.items() if label not in labels
    }
    return FlatPipeline(nodes, unused)


def match_tasks(before: FlatPipeline, after: FlatPipeline) -> dict[str, str]:
    """The path before of each task of `after` that was there, the pipeline itself included.

    Tasks of one name in one place are the same. So are those whose number KFP has changed (`say-2`,
    now `say-3`), and those that have another name or place and the same content, where only one
    comes into question.
    """
    pairs = {"": ""}
    for path in after.nodes:  # those around others come first
        if path in pairs:
            _pair_within(pairs, _children(before, pairs[path]), _children(after, path))
    known = set(pairs.values())
    lost = [node for path, node in before.nodes.items() if path not in known]
    for one, other in _same(
        lost, [node for path, node in after.nodes.items() if path not in pairs], _contents
    ):
        if other.path not in pairs and one.path not in pairs.values():
            for path in after.nodes:
                if f"{path}/".startswith(f"{other.path}/"):  # what is inside moved along
                    pairs[path] = one.path + path[len(other.path) :]
    return pairs


def _pair_within(pairs: dict[str, str], old: list[Node], new: list[Node]) -> None:
    """Pairs the tasks of a DAG with those of the one that it was."""
    for keys in (_numbers, _roughs, _keys, _contents):
        for one, other in _same(old, new, keys):
            pairs[other.path] = one.path
        known = set(pairs.values())
        old = [node for node in old if node.path not in known]
        new = [node for node in new if node.path not in pairs]


def _numbers(nodes: Sequence[Node]) -> list[Hashable]:
    """Which of so many tasks of one name it is; a task must have the same content too, a group need
    not."""
    stems: dict[str, list[int]] = {}
    for node in nodes:
        stems.setdefault(_stem(node)[0], []).append(_stem(node)[1])
    found: list[Hashable] = []
    for node in nodes:
        stem, number = _stem(node)
        rank = sorted(stems[stem]).index(number)
        found.append((stem, len(stems[stem]), rank, node.group or node.content))
    return found


def _roughs(nodes: Sequence[Node]) -> list[Hashable]:
    return [(_stem(node)[0], node.rough) for node in nodes]


def _keys(nodes: Sequence[Node]) -> list[Hashable]:
    return [node.key for node in nodes]


def _contents(nodes: Sequence[Node]) -> list[Hashable]:
    return [node.content for node in nodes]


def _stem(node: Node) -> tuple[str, int]:
    """The name and number of a task's key, as KFP counts: `say` is the first, `say-2` the
    second."""
    match = _NUMBERED.fullmatch(node.key)
    return (match[1], int(match[2])) if match else (node.key, 1)


def _same(
    old: Sequence[Node], new: Sequence[Node], keys: Callable[[Sequence[Node]], list[Hashable]]
) -> Iterator[tuple[Node, Node]]:
    """The nodes of both that have the same key, and that no other on their side has."""
    ours, theirs = (
        {key: node for key, node in zip(found, nodes, strict=True) if found.count(key) == 1}
        for nodes, found in ((old, keys(old)), (new, keys(new)))
    )
    yield from ((ours[key], node) for key, node in theirs.items() if key in ours)


def _children(flat: FlatPipeline, path: str) -> list[Node]:
    return [node for node in flat.nodes.values() if node.parent == path]


def _without(body: Any, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in as_mapping(body).items() if key not in fields}
