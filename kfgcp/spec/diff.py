"""Find the differences between two pipelines, task by task.

Pure: PipelineSpecs in, changes out. A difference that does not count for the version of a pipeline
(`kfgcp.spec.digest`) is not a change. The names of components and executors do not count either,
because only the file itself uses them. Any other difference is at least one change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from kfgcp.model import JsonValue
from kfgcp.spec import facts
from kfgcp.spec.digest import canonical_json, normalize
from kfgcp.spec.facts import Facts
from kfgcp.spec.json_values import JsonObject, normalize_numbers
from kfgcp.spec.tasks import FlatPipeline, Node, flatten, match_tasks
from kfgcp.spec.wire import CHANNEL, REFERENCES, as_mapping, read_iterator

# Words of facts, and keys in the values of facts, whose text may contain the name of a task.
_REFERRING: Final = frozenset(
    {"input", "parameter", "artifact", "output", "from", "condition", "iterator"}
)

# Facts, and keys in their values, that are the key of a task.
_TASK_KEYS: Final = frozenset({"dependency", "task", "status_of"})

# Facts that are a list of names. Each name that was added or removed is a change.
_SETS: Final = frozenset({"dependency", "package"})

# Lines of context around a change, in a unified diff.
_CONTEXT_LINES: Final = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two pipelines.

    Attributes:
        path: the path of the task in the second pipeline, or in the first one when the task was
            removed. "" for the pipeline itself.
        what: a word of `kfgcp.spec.facts.WORDS`. `task` stands for a task that was added, removed,
            or has another path. Then `before` and `after` are paths of the task.
        kind: whether the fact was added, removed or changed.
        before: the value in the first pipeline, as plain JSON; None if it has no such fact. For
            `code` it is the Python source. `kfgcp.spec.facts` describes the source of an input.
        after: the same for the second pipeline.
        name: the name of the parameter, input, variable, package or field. "" for a fact without a
            name, of which a task has only one.
    """

    path: str
    what: str
    kind: Literal["added", "removed", "changed"]
    before: JsonValue = None
    after: JsonValue = None
    name: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The unified diff of a changed text of several lines, without file names, else ()."""
        old = _split_lines(self.before)
        new = _split_lines(self.after)
        if self.kind != "changed" or max(len(old), len(new)) < 2:
            return ()
        diff_lines = difflib.unified_diff(old, new, lineterm="", n=_CONTEXT_LINES)
        # The first two lines name the files.
        return tuple(diff_lines)[2:]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON. `diff` has the lines of a unified diff, and may be empty."""
        return {
            "path": self.path,
            "what": self.what,
            "name": self.name,
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            "diff": list(self.lines),
        }


def diff(
    before: JsonObject,
    after: JsonObject,
    platform_before: JsonObject | None = None,
    platform_after: JsonObject | None = None,
) -> tuple[Change, ...]:
    """Return the changes from the first to the second of two valid PipelineSpecs.

    Changes of the pipeline itself come first, then changes of tasks, sorted by path.

    A task that was added or removed is one change, and so is each task inside it. The facts of
    these tasks are not changes. A task that was renamed or moved is one change if only one task of
    the first pipeline can be the same task. Its changed facts are further changes. When a text
    differs only because it contains the new name of a task, this is not a change.

    Args:
        before: the first PipelineSpec, which is valid.
        after: the second PipelineSpec, which is valid.
        platform_before: the second document of the first file, None when it has none.
        platform_after: the second document of the second file, None when it has none.

    Example:
        >>> first = {"pipelineInfo": {"name": "train", "description": "Trains."}, "root": {}}
        >>> second = {"pipelineInfo": {"name": "train", "description": "Trains well."}, "root": {}}
        >>> change = diff(first, second)[0]
        >>> change.what, change.before, change.after
        ('description', 'Trains.', 'Trains well.')
    """
    old_spec = normalize(before)
    new_spec = normalize(after)
    old = flatten(old_spec)
    new = flatten(new_spec)
    old_platform = _platform_facts(platform_before)
    new_platform = _platform_facts(platform_after)
    old_paths = match_tasks(old, new)
    renaming = _read_renaming(old, new, old_paths)

    old_facts = facts.pipeline_facts(old_spec) | old.unused | old_platform.get("", {})
    new_facts = facts.pipeline_facts(new_spec) | new.unused | new_platform.get("", {})
    changes = _compare_facts("", old_facts, new_facts, renaming)
    for path, node in new.nodes.items():
        if path not in old_paths:
            changes.append(Change(path, "task", "added", after=path))
            continue
        if path and _has_moved(node, old_paths):
            changes.append(Change(path, "task", "changed", old_paths[path], path))
        old_facts = _node_facts(old.nodes[old_paths[path]], old_platform)
        new_facts = _node_facts(node, new_platform)
        changes += _without_consequences(_compare_facts(path, old_facts, new_facts, renaming))
    removed = old.nodes.keys() - set(old_paths.values())
    changes += [Change(path, "task", "removed", before=path) for path in removed]
    if not changes:
        changes = list(_unexplained_changes(old, new))
    return tuple(sorted(changes, key=_sort_key))


def _sort_key(change: Change) -> tuple[Any, ...]:
    return change.path.split("/"), facts.WORDS.index(change.what), change.name, change.kind


def _split_lines(value: JsonValue) -> list[str]:
    """Return the lines of a text, or of the texts of a command."""
    if isinstance(value, str):
        return value.splitlines()
    if not isinstance(value, list):
        return []
    lines: list[str] = []
    for text in value:
        if not isinstance(text, str):
            return []
        lines += text.splitlines()
    return lines


# -- facts


def _node_facts(node: Node, platform: Mapping[str, Facts]) -> Facts:
    node_facts = facts.component_facts(node.component)
    node_facts |= facts.executor_facts(node.executor)
    node_facts |= facts.task_facts(node.key, node.task)
    # A DAG has no label. The facts under the label "" belong to the pipeline as a whole.
    if node.label:
        node_facts |= platform.get(node.label, {})
    return node_facts


def _platform_facts(document: JsonObject | None) -> dict[str, Facts]:
    """Return the facts of a platform spec by the label of the executor.

    The facts of the pipeline as a whole are under the label "".
    """
    facts_by_label: dict[str, Facts] = {}
    for name, platform in as_mapping(as_mapping(document).get("platforms")).items():
        for field, value in as_mapping(platform).items():
            if field != "deploymentSpec":
                facts_by_label.setdefault("", {})["platform", f"{name}.{field}"] = value
                continue
            for label, body in as_mapping(as_mapping(value).get("executors")).items():
                executor_facts = facts_by_label.setdefault(label, {})
                for key, setting in as_mapping(body).items():
                    executor_facts["platform", f"{name}.{key}"] = setting
    return facts_by_label


def _has_moved(node: Node, old_paths: Mapping[str, str]) -> bool:
    """Return whether a task was renamed or moved itself, and not only a DAG around it."""
    old_parent = old_paths.get(node.parent or "")
    if old_parent is None:
        return True
    expected_old_path = f"{old_parent}/{node.key}" if old_parent else node.key
    return old_paths[node.path] != expected_old_path


def _compare_facts(path: str, before: Facts, after: Facts, renaming: _Renaming) -> list[Change]:
    """Return the differences between the facts of a task, or of the pipeline itself.

    For the comparison, names of tasks in `after` are replaced by the old names of these tasks. The
    changes show the new names.
    """
    old_values = dict(_split_sets(before))
    new_names: dict[tuple[str, str], str] = {}
    new_values: dict[tuple[str, str], Any] = {}
    for (word, name), value in _split_sets(after):
        key = (word, renaming.apply(word, name))
        new_names[key] = name
        new_values[key] = value
    changes = []
    # The union of two dicts has the keys of the first dict first, in their order.
    for key in old_values | new_values:
        word, name = key
        old_value = normalize_numbers(old_values.get(key))
        new_value = normalize_numbers(new_values.get(key))
        if key not in new_values:
            changes.append(Change(path, word, "removed", before=old_value, name=name))
        elif key not in old_values:
            changes.append(Change(path, word, "added", after=new_value, name=new_names[key]))
        elif canonical_json(old_value) != canonical_json(renaming.apply(word, new_value)):
            changes.append(Change(path, word, "changed", old_value, new_value, new_names[key]))
    return changes


def _split_sets(task_facts: Facts) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield the facts. A fact that is a list of names becomes one fact for each name."""
    for (word, name), value in task_facts.items():
        if word in _SETS and isinstance(value, list):
            for item in value:
                yield (word, str(item)), item
        else:
            yield (word, name), value


# -- changes that follow from others


def _without_consequences(changes: list[Change]) -> list[Change]:
    """Return the changes of a task without changes that only follow from another change."""
    keys = {(change.what, change.name, change.kind) for change in changes}
    wiring = _changed_wiring(changes)
    return [change for change in changes if not _is_consequence(change, keys, wiring)]


def _changed_wiring(changes: list[Change]) -> set[tuple[str, object]]:
    """Return ("removed", old task) and ("added", new task) for each change of an input's source."""
    wiring: set[tuple[str, object]] = set()
    for change in changes:
        if change.what == "input":
            wiring.add(("removed", _producer(change.before)))
            wiring.add(("added", _producer(change.after)))
    return wiring


def _producer(source: JsonValue) -> object:
    """Return the task that an input comes from, None for another source."""
    fields = as_mapping(source)
    return fields.get("task", fields.get("status_of"))


def _is_consequence(
    change: Change, keys: Collection[tuple[str, str, str]], wiring: set[tuple[str, object]]
) -> bool:
    """Return whether a change only follows from another change of the same task.

    Args:
        change: the change.
        keys: `what`, `name` and `kind` of all changes of the task.
        wiring: the result of `_changed_wiring`.
    """
    match change.what:
        case "dependency":
            # KFP's compiler also lists the tasks that inputs come from in dependentTasks.
            return (change.kind, change.name) in wiring
        case "parameter" | "artifact":
            # The compiler adds these inputs to a group, to pass values to the tasks inside it.
            has_prefix = change.name.startswith(CHANNEL)
            return has_prefix and ("input", change.name, change.kind) in keys
        case "command":
            # The command installs the packages.
            return any(what == "package" for what, _, _ in keys)
        case "resource" | "accelerator":
            # KFP's compiler writes `cpuLimit: 2` and `resourceCpuLimit: "2"` for the same setting.
            twin = f"resource{change.name[:1].upper()}{change.name[1:]}"
            return (change.what, twin, change.kind) in keys
    return False


# -- other names of tasks


@dataclass(frozen=True, slots=True)
class _Renaming:
    """The names that tasks and loop items had in the first pipeline.

    Attributes:
        old_names: name in the second pipeline -> name in the first one, if the two differ.
        channel: matches the names of `old_names` in the names of inputs that the compiler adds.
            None when `old_names` is empty.
    """

    old_names: Mapping[str, str]
    channel: re.Pattern[str] | None

    def apply(self, word: str, value: Any) -> Any:
        """Return the value with the old names of all tasks that it refers to.

        Args:
            word: the word of the fact, or a key inside its value.
            value: the name or the value of a fact of the second pipeline, or a part of this value.
        """
        if self.channel is None:
            return value
        if word in _TASK_KEYS:
            return self.old_names.get(str(value), value)
        if word not in _REFERRING:
            return value
        if isinstance(value, dict):
            return {key: self.apply(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.apply(word, item) for item in value]
        if isinstance(value, str):
            return self.channel.sub(lambda match: self.old_names[match[1]], value)
        return value


def _read_renaming(old: FlatPipeline, new: FlatPipeline, old_paths: Mapping[str, str]) -> _Renaming:
    """Return the tasks and loop items that have a new name in the second pipeline.

    A name is left out when DAGs use it for several tasks whose names in the other pipeline differ.
    """
    name_pairs = set()
    for path, old_path in old_paths.items():
        name_pairs.add((new.nodes[path].key, old.nodes[old_path].key))
        name_pairs.add((_item_name(new.nodes[path]), _item_name(old.nodes[old_path])))
    new_names = [new_name for new_name, _ in name_pairs]
    old_names = [old_name for _, old_name in name_pairs]
    renamed = {}
    for new_name, old_name in name_pairs:
        is_unique = new_names.count(new_name) == 1 and old_names.count(old_name) == 1
        if new_name != old_name and is_unique:
            renamed[new_name] = old_name
    if not renamed:
        return _Renaming({}, None)
    # Longer names come first, because `say-2` must not match as `say`.
    alternatives = "|".join(map(re.escape, sorted(renamed, key=len, reverse=True)))
    channel = re.compile(rf"(?<={CHANNEL})({alternatives})(?=-[A-Za-z_]|(?![\w-]))")
    return _Renaming(renamed, channel)


def _item_name(node: Node) -> str:
    """Return the name of a loop's item without its prefix, `loop-item-param-1` for example."""
    loop = read_iterator(node.task)
    return "" if loop is None else loop.item.removeprefix(CHANNEL)


# -- differences that are not in the facts


def _unexplained_changes(old: FlatPipeline, new: FlatPipeline) -> Iterator[Change]:
    """Yield the differences between two pipelines whose facts are all the same.

    Facts lose some orders, and the first value of an environment variable that is set twice.
    """
    for path, old_node in old.nodes.items():
        old_fields = _all_fields(old_node)
        new_fields = _all_fields(new.nodes[path])
        for field in old_fields | new_fields:
            before = normalize_numbers(old_fields.get(field))
            after = normalize_numbers(new_fields.get(field))
            was_added_or_removed = (field in old_fields) is not (field in new_fields)
            if was_added_or_removed or canonical_json(before) != canonical_json(after):
                yield Change(path, "other", "changed", before, after, field)


def _all_fields(node: Node) -> dict[str, Any]:
    """Return the fields of a task, its component and its executor.

    The tasks of a DAG and the names of components and executors are left out.
    """
    fields = {**node.component, **node.task}
    for field, value in as_mapping(node.component.get("dag")).items():
        if field != "tasks":
            fields[f"dag.{field}"] = value
    for body in node.executor.values():
        fields |= as_mapping(body)
    for field in REFERENCES:
        fields.pop(field, None)
    fields.pop("dag", None)
    return fields
