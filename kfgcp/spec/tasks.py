"""List the tasks of PipelineSpecs by their paths, and match the tasks of two PipelineSpecs.

Pure. KFP names a second task of a component `say-2`, so a task that is inserted changes the names
of the tasks after it. Tasks are therefore matched by their content too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.spec.digest import canonical_json, digest
from kfgcp.spec.facts import Facts
from kfgcp.spec.json_values import JsonObject
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

# The number of a task inside any text, `say-2` for example.
_NUMBER_IN_TEXT: Final = re.compile(r"-[1-9]\d*(?![\w.])")
_NUMBERED_KEY: Final = re.compile(r"(?P<stem>.+)-(?P<number>[1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Node:
    """A task with the component that it runs. The pipeline itself is the node with an empty path.

    Attributes:
        path: the task path.
        key: the key of the task in its DAG.
        parent: the path of the DAG that it is in, None for the pipeline itself.
        task: the JSON of the task.
        component: the JSON of its component.
        executor: the JSON of its executor, empty for a DAG.
        label: the label of its executor, "" for a DAG.
        content: a digest of the component and the executor, nested tasks included.
        rough: a text with a digest of the component, the executor and the task. It does not depend
            on the numbers in names of tasks.
    """

    path: str
    key: str
    parent: str | None
    task: JsonObject
    component: JsonObject
    executor: JsonObject
    label: str
    content: str
    rough: str

    @property
    def group(self) -> bool:
        """Whether it is a DAG."""
        return is_dag(self.component)


@dataclass(frozen=True, slots=True)
class FlatPipeline:
    """The nodes of a pipeline.

    Attributes:
        nodes: by path. Each DAG comes before the tasks inside it.
        unused: components and executors that no task uses.
    """

    nodes: Mapping[str, Node]
    unused: Facts


def flatten(spec: JsonObject) -> FlatPipeline:
    """Return the tasks of a PipelineSpec in the form of `kfgcp.spec.digest.normalize`.

    Example:
        >>> flat = flatten({
        ...     "root": {"dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}}}}},
        ...     "components": {"comp-say": {"executorLabel": "exec-say"}},
        ... })
        >>> list(flat.nodes)
        ['', 'say']
    """
    return _Flattener(spec).flatten()


class _Flattener:
    """The nodes of one PipelineSpec while they are made. Each component is digested once."""

    def __init__(self, spec: JsonObject) -> None:
        self._root = read_root(spec)
        self._components = read_components(spec)
        self._executors = read_executors(spec)
        self._digests: dict[str, tuple[str, str]] = {}
        self._nodes: dict[str, Node] = {}

    def flatten(self) -> FlatPipeline:
        """Return all nodes."""
        exact, rough = self._digest_component(self._root)
        self._add_node("", "", None, {}, self._root, exact, rough)
        used_labels = {node.label for node in self._nodes.values()}
        unused: Facts = {}
        for name, body in self._components.items():
            if name not in self._digests:
                unused["component", name] = body
        for label, body in self._executors.items():
            if label not in used_labels:
                unused["executor", label] = body
        return FlatPipeline(self._nodes, unused)

    def _add_node(
        self,
        path: str,
        key: str,
        parent: str | None,
        task: JsonObject,
        component: JsonObject,
        exact: str,
        rough: str,
    ) -> None:
        """Add the node of a task, and the nodes of the tasks inside it."""
        label = executor_label(component)
        task_fields = _without(task, REFERENCES + ("taskInfo",))
        self._nodes[path] = Node(
            path=path,
            key=key,
            parent=parent,
            task=task,
            component=component,
            executor=as_mapping(self._executors.get(label)),
            label=label,
            content=exact,
            rough=rough + _remove_numbers(task_fields),
        )
        for child_key, child in sorted(read_tasks(component).items()):
            child_path = f"{path}/{child_key}" if path else child_key
            child_component = as_mapping(self._components.get(component_name(child)))
            exact, rough = self._digest_task(child)
            self._add_node(
                child_path, child_key, path, as_mapping(child), child_component, exact, rough
            )

    def _digest_task(self, task: JsonObject) -> tuple[str, str]:
        """Return the exact and the rough digest of the component that a task runs."""
        name = component_name(task)
        if name not in self._digests:
            component = as_mapping(self._components.get(name))
            self._digests[name] = self._digest_component(component)
        return self._digests[name]

    def _digest_component(self, component: JsonObject) -> tuple[str, str]:
        """Return the exact and the rough digest of a component.

        The rough digest does not depend on the numbers in names of tasks.
        """
        exact_tasks = {}
        rough_tasks = {}
        for key, task in read_tasks(component).items():
            fields = _without(task, REFERENCES)
            exact, rough = self._digest_task(task)
            exact_tasks[key] = [fields, exact]
            rough_tasks[key] = [fields, rough]
        body = _without(component, REFERENCES)
        dag_fields = _without(component.get("dag"), ("tasks",))
        body["executor"] = self._executors.get(executor_label(component))
        exact_body = {**body, "dag": [dag_fields, exact_tasks]}
        rough_body = {**body, "dag": [dag_fields, rough_tasks]}
        return digest(exact_body), digest({"": _remove_numbers(rough_body)})


def match_tasks(before: FlatPipeline, after: FlatPipeline) -> dict[str, str]:
    """Return the tasks of the second pipeline that are also in the first one.

    Tasks with the same name in the same DAG are the same task. Tasks whose number KFP has changed
    (`say-2`, now `say-3`) are the same task too. So are tasks with another name or another DAG and
    the same content, if there is only one candidate.

    Args:
        before: the first pipeline.
        after: the second pipeline.

    Returns:
        Path in the second pipeline -> path in the first one. The pipeline itself is included.
    """
    old_paths = {"": ""}
    # DAGs come before the tasks inside them, so a DAG is matched before the tasks inside it.
    for path in after.nodes:
        if path in old_paths:
            _match_children(old_paths, _children(before, old_paths[path]), _children(after, path))
    # The remaining tasks may have moved into another DAG.
    matched = set(old_paths.values())
    old_nodes = [node for path, node in before.nodes.items() if path not in matched]
    new_nodes = [node for path, node in after.nodes.items() if path not in old_paths]
    for old, new in _match_unique(old_nodes, new_nodes, _content_keys):
        if new.path in old_paths or old.path in old_paths.values():
            continue
        for path in after.nodes:
            # The tasks inside a DAG moved with it.
            if f"{path}/".startswith(f"{new.path}/"):
                old_paths[path] = old.path + path[len(new.path) :]
    return old_paths


def _match_children(old_paths: dict[str, str], old: list[Node], new: list[Node]) -> None:
    """Match the tasks of a DAG with the tasks of the same DAG before, and add them to `old_paths`.

    The order of the keys matters. The most certain keys come first, and a task that is matched
    takes no part in later comparisons.
    """
    for make_keys in (_number_keys, _rough_keys, _name_keys, _content_keys):
        for old_node, new_node in _match_unique(old, new, make_keys):
            old_paths[new_node.path] = old_node.path
        matched = set(old_paths.values())
        old = [node for node in old if node.path not in matched]
        new = [node for node in new if node.path not in old_paths]


def _match_unique(
    old: Sequence[Node],
    new: Sequence[Node],
    make_keys: Callable[[Sequence[Node]], list[Hashable]],
) -> Iterator[tuple[Node, Node]]:
    """Yield each old and new node with the same key, if no other node on its side has that key."""
    old_by_key = _nodes_by_unique_key(old, make_keys(old))
    new_by_key = _nodes_by_unique_key(new, make_keys(new))
    for key, node in new_by_key.items():
        if key in old_by_key:
            yield old_by_key[key], node


def _nodes_by_unique_key(nodes: Sequence[Node], keys: Sequence[Hashable]) -> dict[Hashable, Node]:
    return {key: node for key, node in zip(keys, nodes, strict=True) if keys.count(key) == 1}


def _number_keys(nodes: Sequence[Node]) -> list[Hashable]:
    """Return keys of tasks: the name without number, and the rank among the tasks of that name.

    The key of a task also has its content. The key of a group has no content, because the tasks
    inside it are compared later.
    """
    numbers: dict[str, list[int]] = {}
    for node in nodes:
        stem, number = _split_number(node)
        numbers.setdefault(stem, []).append(number)
    keys: list[Hashable] = []
    for node in nodes:
        stem, number = _split_number(node)
        rank = sorted(numbers[stem]).index(number)
        content = "" if node.group else node.content
        keys.append((stem, len(numbers[stem]), rank, content))
    return keys


def _rough_keys(nodes: Sequence[Node]) -> list[Hashable]:
    return [(_split_number(node)[0], node.rough) for node in nodes]


def _name_keys(nodes: Sequence[Node]) -> list[Hashable]:
    return [node.key for node in nodes]


def _content_keys(nodes: Sequence[Node]) -> list[Hashable]:
    return [node.content for node in nodes]


def _split_number(node: Node) -> tuple[str, int]:
    """Return the name and number of a task's key, as KFP counts: `say` is 1, `say-2` is 2."""
    match = _NUMBERED_KEY.fullmatch(node.key)
    if match is None:
        return node.key, 1
    return match["stem"], int(match["number"])


def _children(flat: FlatPipeline, path: str) -> list[Node]:
    return [node for node in flat.nodes.values() if node.parent == path]


def _remove_numbers(value: Any) -> str:
    return _NUMBER_IN_TEXT.sub("", canonical_json(value))


def _without(body: object, fields: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in as_mapping(body).items() if key not in fields}
