"""What differs between two pipelines, task by task. Pure: PipelineSpecs in, changes out.

What does not count for a pipeline's version (`kfgcp.spec.digest`) is no change, nor is the name of
a component or an executor, which nothing but the file itself sees. Anything else is at least one
change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from kfgcp.model import JsonValue
from kfgcp.spec import facts
from kfgcp.spec.digest import canonical_json, normalize
from kfgcp.spec.facts import Facts
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.tasks import FlatPipeline, Node, flatten, match_tasks
from kfgcp.spec.wire import CHANNEL, REFERENCES, as_mapping, read_iterator

_REFERRING: Final = {"input", "parameter", "artifact", "output", "from", "condition", "iterator"}
_SETS: Final = {"dependency", "package"}
"""Facts that are a list of names; each name that came or went is a change."""

Renaming = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not the same.

    path: of the task, as it is in the second pipeline unless it is gone; "" for the pipeline
    itself. what: a word of `kfgcp.spec.facts.WORDS`, `task` for one that came, went, or has another
    path: before and after are its paths then. before, after: plain JSON, None where there was or is
    nothing; for `code` the Python source; where a value comes from as in `kfgcp.spec.facts`. name:
    which parameter, input, variable, package or field it is; "" where there is only one.
    """

    path: str
    what: str
    kind: Literal["added", "removed", "changed"]
    before: JsonValue = None
    after: JsonValue = None
    name: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """A changed text of several lines, source or a script, as a unified diff without file
        names; else ()."""
        old, new = _lines(self.before), _lines(self.after)
        if self.kind != "changed" or max(len(old), len(new)) < 2:
            return ()
        return tuple(difflib.unified_diff(old, new, lineterm="", n=2))[2:]

    def to_dict(self) -> dict[str, JsonValue]:
        """As JSON; `diff` has the lines of a unified diff, and is empty where the values are
        short."""
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
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    platform_before: Mapping[str, Any] | None = None,
    platform_after: Mapping[str, Any] | None = None,
) -> tuple[Change, ...]:
    """What is different in the second of two valid PipelineSpecs; the pipeline itself first, then
    tasks by path.

    Of a task that came or went only that is told, and the same of those inside it. A task that has
    another name or another place is one change where it is clear which it was, and all else that
    changed in it is told too; what only follows from another name is not.

    Args:
        before: the first PipelineSpec.
        after: the second.
        platform_before: the second document of the first file, compared when either has one.
        platform_after: that of the second file.
    """
    old, new = flatten(normalize(before)), flatten(normalize(after))
    platforms = (_platform(platform_before), _platform(platform_after))
    pairs = match_tasks(old, new)
    renamed = _renaming(old, new, pairs)
    found = _of_facts(
        "",
        facts.of_pipeline(normalize(before)) | old.unused | platforms[0].get("", {}),
        facts.of_pipeline(normalize(after)) | new.unused | platforms[1].get("", {}),
        renamed,
    )
    for path, node in new.nodes.items():
        if path not in pairs:
            found.append(Change(path, "task", "added", after=path))
            continue
        one = old.nodes[pairs[path]]
        if path and _moved(node, pairs):
            found.append(Change(path, "task", "changed", pairs[path], path))
        ours, theirs = _facts(one, platforms[0]), _facts(node, platforms[1])
        found += _told_once(_of_facts(path, ours, theirs, renamed))
    gone = old.nodes.keys() - set(pairs.values())
    found += [Change(path, "task", "removed", before=path) for path in gone]
    return tuple(sorted(found or _unexplained(old, new), key=_order))


def _facts(node: Node, platform: Mapping[str, Facts]) -> Facts:
    own = (
        facts.of_component(node.component)
        | facts.of_executor(node.executor)
        | facts.of_task(node.key, node.task)
    )
    return own | (platform.get(node.label, {}) if node.label else {})


def _order(change: Change) -> tuple[Any, ...]:
    return change.path.split("/"), facts.WORDS.index(change.what), change.name, change.kind


def _moved(node: Node, pairs: Mapping[str, str]) -> bool:
    """Whether a task was elsewhere, and not only because what is around it has another name."""
    around = pairs.get(node.parent or "")
    return around is None or pairs[node.path] != (f"{around}/{node.key}" if around else node.key)


def _of_facts(path: str, before: Facts, after: Facts, renamed: Renaming) -> list[Change]:
    old = dict(_single(before))
    new = {
        (word, renamed(word, name)): (name, value, renamed(word, value))
        for (word, name), value in _single(after)
    }
    found = []
    for word, name in dict.fromkeys([*old, *new]):
        if (word, name) not in new:
            found.append(
                Change(path, word, "removed", before=normalize_numbers(old[word, name]), name=name)
            )
            continue
        shown, value, same = new[word, name]
        if (word, name) not in old:
            found.append(Change(path, word, "added", after=normalize_numbers(value), name=shown))
        elif canonical_json(old[word, name]) != canonical_json(same):
            found.append(
                Change(
                    path,
                    word,
                    "changed",
                    normalize_numbers(old[word, name]),
                    normalize_numbers(value),
                    shown,
                )
            )
    return found


def _single(found: Facts) -> Iterator[tuple[tuple[str, str], Any]]:
    """The facts, those of lists of names as one for each name."""
    for (word, name), value in found.items():
        if word in _SETS and isinstance(value, list):
            yield from (((word, str(each)), each) for each in value)
        else:
            yield (word, name), value


def _told_once(changes: list[Change]) -> list[Change]:
    """Without changes that only follow from another one of the same task."""
    told = {(change.what, change.name, change.kind) for change in changes}
    wired = {
        (side, as_mapping(value).get("task", as_mapping(value).get("status_of")))
        for change in changes
        if change.what == "input"
        for side, value in (("removed", change.before), ("added", change.after))
    }

    def follows(change: Change) -> bool:
        match change.what:
            case "dependency":  # the data come from there
                return (change.kind, change.name) in wired
            case "parameter" | "artifact":  # what the compiler hands on to the tasks of a group
                return (
                    change.name.startswith(CHANNEL) and ("input", change.name, change.kind) in told
                )
            case "command":  # it installs the packages
                return any(what == "package" for what, _, _ in told)
            case "resource" | "accelerator":  # KFP says these twice
                twin = f"resource{change.name[:1].upper()}{change.name[1:]}"
                return (change.what, twin, change.kind) in told
        return False

    return [change for change in changes if not follows(change)]


def _renaming(old: FlatPipeline, new: FlatPipeline, pairs: Mapping[str, str]) -> Renaming:
    """What puts a task's name before for the one after, wherever a value of the second pipeline
    refers to it."""
    keys = set()
    for path, one in pairs.items():
        keys.add((new.nodes[path].key, old.nodes[one].key))
        keys.add((_item(new.nodes[path]), _item(old.nodes[one])))
    ours, theirs = ([each[side] for each in keys] for side in (1, 0))
    names = {a: b for a, b in keys if a != b and theirs.count(a) == 1 and ours.count(b) == 1}
    if not names:
        return lambda word, value: value
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    channel = re.compile(rf"(?<={CHANNEL})({alternatives})(?=-[A-Za-z_]|(?![\w-]))")

    def renamed(word: str, value: Any) -> Any:
        """Of a fact's name or value; word: that of the fact, or the key in its value."""
        if word in ("dependency", "task", "status_of"):
            return names.get(str(value), value)
        if word not in _REFERRING:
            return value
        if isinstance(value, dict):
            return {key: renamed(key, each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(word, each) for each in value]
        return (
            channel.sub(lambda match: names[match[1]], value) if isinstance(value, str) else value
        )

    return renamed


def _item(node: Node) -> str:
    """What a loop calls its item, without the prefix: `loop-item-param-1`."""
    loop = read_iterator(node.task)
    return "" if loop is None else loop.item.removeprefix(CHANNEL)


def _platform(document: Mapping[str, Any] | None) -> dict[str, Facts]:
    """What a platform spec says of each executor, by label, and of the whole pipeline under ""."""
    found: dict[str, Facts] = {}
    for name, platform in as_mapping(as_mapping(document).get("platforms")).items():
        for field, value in as_mapping(platform).items():
            if field != "deploymentSpec":
                found.setdefault("", {})["platform", f"{name}.{field}"] = value
                continue
            for label, body in as_mapping(as_mapping(value).get("executors")).items():
                said = {
                    ("platform", f"{name}.{key}"): each for key, each in as_mapping(body).items()
                }
                found.setdefault(label, {}).update(said)
    return found


def _unexplained(old: FlatPipeline, new: FlatPipeline) -> Iterator[Change]:
    """What differs although all facts are the same: an order that they do not keep, a variable that
    is set twice."""
    for path, one in old.nodes.items():
        ours, theirs = _records(one), _records(new.nodes[path])
        for field in dict.fromkeys([*ours, *theirs]):
            before, after = normalize_numbers(ours.get(field)), normalize_numbers(theirs.get(field))
            if canonical_json(before) != canonical_json(after) or (field in ours) is not (
                field in theirs
            ):
                yield Change(path, "other", "changed", before, after, field)


def _records(node: Node) -> dict[str, Any]:
    """All that is said of a task, but for what it contains and the names by which its parts are
    found."""
    dag = {
        f"dag.{field}": value
        for field, value in as_mapping(node.component.get("dag")).items()
        if field != "tasks"
    }
    run = {
        field: value for body in node.executor.values() for field, value in as_mapping(body).items()
    }
    hidden = (*REFERENCES, "dag")
    return {
        key: each
        for key, each in {**node.component, **node.task, **dag, **run}.items()
        if key not in hidden
    }


def _lines(value: Any) -> list[str]:
    """A text, or the texts of a command, as lines."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return [line for each in value for line in each.splitlines()]
    return value.splitlines() if isinstance(value, str) else []
