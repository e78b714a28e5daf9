"""A run's graph as DOT: tasks coloured by their state, loops folded into one box, nested pipelines
as frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Graph, TaskDef, kind_of
from kfgcp_dashboard.colors import FILL, LINES, SIGNS, STATES, TEXT
from kfgcp_dashboard.text import duration, visible

MOST: Final = 120
"""Boxes that are drawn; a pipeline with more is drawn with its nested pipelines folded."""
LONGEST: Final = 40
_INSIDE: Final = re.compile(r"\[\d+\](?:/|$)")
_ITERATION: Final = re.compile(r"\[\d+\]$")


@dataclass(frozen=True, slots=True)
class Fold:
    """A loop's iterations together. counts: how many are in each state."""

    path: str
    counts: Mapping[TaskState, int]

    @property
    def text(self) -> str:
        states = "  ".join(
            f"{count} {SIGNS[state.value]}" for state, count in sorted(self.counts.items())
        )
        total = sum(self.counts.values())
        return f"{total} iterations   {states}" if total else "no iterations yet"


def fold(tasks: Sequence[Task]) -> dict[str, Fold]:
    """The loops of a run by their path; a loop inside of a loop counts with the iteration it stands
    in."""
    counts: dict[str, Counter[TaskState]] = {
        task.path: Counter() for task in tasks if task.kind is TaskKind.LOOP
    }
    for task in tasks:
        parent = _ITERATION.sub("", task.path)
        if parent != task.path and parent in counts:
            counts[parent][task.state] += 1
    return {path: Fold(path, dict(counted)) for path, counted in counts.items()}


def iterations(loop: str, tasks: Sequence[Task]) -> list[Task]:
    """The iterations of a loop, by their number."""
    found = [task for task in tasks if _ITERATION.sub("", task.path) == loop and task.path != loop]
    return sorted(found, key=lambda task: int(task.path.rpartition("[")[2].rstrip("]")))


def dot(graph: Graph | None, tasks: Sequence[Task], theme: str = "light") -> str:
    """The graph of a run as DOT.

    Args:
        graph: of its pipeline; None when that cannot be read, which leaves the tasks without the
            lines between them.
        tasks: of the run, as far as it is.
        theme: `light` or `dark`: Graphviz knows nothing of the page's.
    """
    drawing = _Drawing({task.path: task for task in tasks}, fold(tasks), theme)
    if graph is None:
        for task in tasks:
            if not _INSIDE.search(task.path):
                drawing.box(task.path, task.path, task.kind)
    else:
        deep = sum(1 for _ in _walk(graph, graph.root, "")) <= MOST
        drawing.dag(graph, graph.root, "", deep)
    return drawing.text()


def _walk(graph: Graph, component: Component, prefix: str) -> Iterator[str]:
    for key, task in component.dag.tasks.items() if component.dag else ():
        yield f"{prefix}{key}"
        inner = graph.component(task)
        if kind_of(task, inner) is TaskKind.DAG:
            yield from _walk(graph, inner, f"{prefix}{key}/")


class _Drawing:
    """Lines of DOT, and which box or frame stands for which task."""

    def __init__(self, tasks: Mapping[str, Task], folds: Mapping[str, Fold], theme: str) -> None:
        self._tasks = tasks
        self._folds = folds
        self._theme = theme
        self._lines: list[str] = []
        self._edges: list[str] = []
        self._ids: dict[str, str] = {}
        self._ends: dict[str, tuple[str, str]] = {}

    def text(self) -> str:
        line, ink = LINES[self._theme], TEXT[self._theme]
        head = [
            "digraph {",
            (
                "graph [bgcolor=transparent rankdir=LR compound=true nodesep=0.28 ranksep=0.5"
                f' fontname="sans-serif" fontsize=11 fontcolor="{line}" color="{line}"'
                ' style="rounded,dashed" pad=0.1];'
            ),
            (
                'node [shape=box style="rounded,filled" fontname="sans-serif" fontsize=12'
                f' penwidth=1.6 margin="0.16,0.09" fillcolor="{FILL[self._theme]}"'
                f' fontcolor="{ink}" color="{line}"];'
            ),
            f'edge [color="{line}" arrowsize=0.6 penwidth=1.1];',
        ]
        return "\n".join([*head, *self._lines, *self._edges, "}"])

    def dag(self, graph: Graph, component: Component, prefix: str, deep: bool) -> None:
        tasks = component.dag.tasks if component.dag else {}
        for key, task in tasks.items():
            path, inner = f"{prefix}{key}", graph.component(task)
            kind = kind_of(task, inner)
            if kind is TaskKind.DAG and deep and inner.dag and inner.dag.tasks:
                self._frame(graph, inner, path, task)
            else:
                self.box(path, task.label, kind)
        for key, task in tasks.items():
            for upstream in task.upstream:
                if upstream in tasks:
                    self._edge(f"{prefix}{upstream}", f"{prefix}{key}")

    def box(self, path: str, label: str, kind: TaskKind) -> None:
        task, state = self._tasks.get(path), self._state(path)
        lines = [f"{SIGNS[state]} {_cut(label)}"]
        if kind is TaskKind.LOOP:
            lines.append(self._folds[path].text if path in self._folds else "loop")
        elif task is not None and task.seconds is not None and task.state is not TaskState.SKIPPED:
            lines.append(duration(task.seconds))
        more = " peripheries=2" if kind is TaskKind.LOOP else ""
        faint = (
            f' fontcolor="{LINES[self._theme]}" style="rounded,filled,dashed"'
            if state in ("SKIPPED", "PENDING")
            else ""
        )
        name = self._id(path)
        tip = _quoted(f"{path}: {state}")
        label_text = _quoted("\n".join(lines))
        self._lines.append(
            f'{name} [label={label_text} tooltip={tip} color="{STATES[state]}"{more}{faint}];'
        )
        self._ends[path] = (name, name)

    def _frame(self, graph: Graph, component: Component, path: str, task: TaskDef) -> None:
        state = self._state(path)
        name = f"cluster_{self._id(path)}"
        self._lines.append(f"subgraph {name} {{")
        title = _quoted(f"{SIGNS[state]} {_cut(task.label)}")
        self._lines.append(f'label={title}; labeljust=l; margin=12; color="{STATES[state]}";')
        self.dag(graph, component, f"{path}/", True)
        self._lines.append("}")
        assert component.dag is not None
        keys = list(component.dag.tasks)
        first, last = self._ends[f"{path}/{keys[0]}"], self._ends[f"{path}/{keys[-1]}"]
        self._ids[path] = name
        self._ends[path] = (first[0], last[1])

    def _state(self, path: str) -> str:
        """Of a task; what never came into being is as the pipeline around it, where that was
        skipped."""
        while path not in self._tasks:
            above = path.rpartition("/")[0]
            if not above:
                return TaskState.PENDING.value
            if above in self._tasks and self._tasks[above].state is not TaskState.SKIPPED:
                return TaskState.PENDING.value
            path = above
        return self._tasks[path].state.value

    def _edge(self, above: str, below: str) -> None:
        tail, head = self._ends[above][1], self._ends[below][0]
        sides = [
            f"{end}={self._ids[path]}"
            for end, path in (("ltail", above), ("lhead", below))
            if self._ids[path].startswith("cluster_")
        ]
        attributes = f" [{' '.join(sides)}]" if sides else ""
        self._edges.append(f"{tail} -> {head}{attributes};")

    def _id(self, path: str) -> str:
        return self._ids.setdefault(path, f"n{len(self._ids)}")


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _quoted(text: str) -> str:
    """A string of DOT, where a backslash begins an escape and `&` an entity of HTML."""
    marks = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})
    lines = [visible(line).translate(marks) for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
