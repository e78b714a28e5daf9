"""Draw the graph of a run as DOT of Graphviz.

Tasks are coloured by their state. A loop is one box with the number of its iterations. A nested
pipeline is a frame around its tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp import Task, TaskKind, TaskState
from kfgcp.spec.graph import Component, Graph, TaskDef, task_kind
from kfgcp_dashboard.colors import FILL, LINES, SIGNS, STATES, TEXT
from kfgcp_dashboard.text import format_duration, shorten, visible

# With more boxes than this, nested pipelines are drawn as one box each. Graphviz runs in the
# browser and needs seconds for large graphs.
MAX_BOXES: Final = 120
MAX_LABEL_WIDTH: Final = 40

# The path of an iteration ends with its number: `loop[3]`. Tasks inside have it in the middle.
_ITERATION: Final = re.compile(r"\[\d+\]$")
_INSIDE_LOOP: Final = re.compile(r"\[\d+\](?:/|$)")

# In a quoted string of DOT, a backslash begins an escape and `&` an entity of HTML.
_DOT_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})


@dataclass(frozen=True, slots=True)
class FoldedLoop:
    """The iterations of a loop together.

    Attributes:
        path: of the loop.
        counts: how many iterations are in each state.
    """

    path: str
    counts: Mapping[TaskState, int]

    @property
    def label(self) -> str:
        total = sum(self.counts.values())
        if not total:
            return "no iterations yet"
        states = []
        for state, count in sorted(self.counts.items()):
            states.append(f"{count} {SIGNS[state.value]}")
        return f"{total} iterations   {'  '.join(states)}"


def fold_loops(tasks: Sequence[Task]) -> dict[str, FoldedLoop]:
    """Return the loops of a run by their paths.

    A loop inside another loop has its own path in each iteration of the outer loop. So the result
    has it once for each of these iterations.
    """
    counts: dict[str, Counter[TaskState]] = {}
    for task in tasks:
        if task.kind is TaskKind.LOOP:
            counts[task.path] = Counter()
    for task in tasks:
        loop = _ITERATION.sub("", task.path)
        if loop != task.path and loop in counts:
            counts[loop][task.state] += 1
    loops = {}
    for path, states in counts.items():
        loops[path] = FoldedLoop(path, dict(states))
    return loops


def list_iterations(loop: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the iterations of a loop, by their numbers.

    Args:
        loop: its path.
        tasks: all tasks of the run.
    """
    iterations = []
    for task in tasks:
        path_without_number = _ITERATION.sub("", task.path)
        if task.path != loop and path_without_number == loop:
            iterations.append(task)
    iterations.sort(key=_iteration_number)
    return iterations


def draw_graph(graph: Graph | None, tasks: Sequence[Task], theme: str = "light") -> str:
    """Return the graph of a run as DOT.

    Args:
        graph: the graph of the pipeline, None when it is not available. The picture then has no
            lines between the tasks.
        tasks: the tasks of the run that exist up to now.
        theme: `light` or `dark`.
    """
    tasks_by_path = {task.path: task for task in tasks}
    drawing = _Drawing(tasks_by_path, fold_loops(tasks), theme)
    if graph is None:
        for task in tasks:
            if not _INSIDE_LOOP.search(task.path):
                drawing.add_box(task.path, task.path, task.kind)
    else:
        draws_nested = _count_boxes(graph, graph.root) <= MAX_BOXES
        drawing.add_dag(graph, graph.root, "", draws_nested)
    return drawing.to_dot()


def _iteration_number(task: Task) -> int:
    return int(task.path.rpartition("[")[2].rstrip("]"))


def _count_boxes(graph: Graph, component: Component) -> int:
    """Return the number of tasks in a pipeline and in its nested pipelines."""
    if not component.dag:
        return 0
    count = 0
    for task in component.dag.tasks.values():
        count += 1
        inner = graph.component(task)
        if task_kind(task, inner) is TaskKind.DAG:
            count += _count_boxes(graph, inner)
    return count


class _Drawing:
    """The lines of a DOT file, while they are written.

    Attributes of the object, all by the path of the task:
        _tasks: the tasks that exist in the run.
        _loops: the loops with their iterations.
        _ids: the name of the box or frame in DOT.
        _ends: the boxes where lines to and from the task end. A frame cannot have lines in DOT, so
            they go to its first box and come from its last box.
    """

    def __init__(
        self, tasks: Mapping[str, Task], loops: Mapping[str, FoldedLoop], theme: str
    ) -> None:
        self._tasks = tasks
        self._loops = loops
        self._theme = theme
        self._nodes: list[str] = []
        self._edges: list[str] = []
        self._ids: dict[str, str] = {}
        self._ends: dict[str, tuple[str, str]] = {}

    def to_dot(self) -> str:
        line_color = LINES[self._theme]
        # `compound` lets lines end at frames (`lhead`, `ltail`).
        graph_style = (
            "graph [bgcolor=transparent rankdir=LR compound=true nodesep=0.28 ranksep=0.5"
            f' fontname="sans-serif" fontsize=11 fontcolor="{line_color}" color="{line_color}"'
            ' style="rounded,dashed" pad=0.1];'
        )
        node_style = (
            'node [shape=box style="rounded,filled" fontname="sans-serif" fontsize=12'
            f' penwidth=1.6 margin="0.16,0.09" fillcolor="{FILL[self._theme]}"'
            f' fontcolor="{TEXT[self._theme]}" color="{line_color}"];'
        )
        edge_style = f'edge [color="{line_color}" arrowsize=0.6 penwidth=1.1];'
        lines = ["digraph {", graph_style, node_style, edge_style]
        lines += self._nodes
        lines += self._edges
        lines.append("}")
        return "\n".join(lines)

    def add_dag(self, graph: Graph, component: Component, prefix: str, draws_nested: bool) -> None:
        """Add the tasks of a pipeline and the lines between them.

        Args:
            graph: of the whole run.
            component: the pipeline.
            prefix: of the paths of its tasks: "" or `outer/`.
            draws_nested: whether nested pipelines are frames. Otherwise they are boxes.
        """
        if not component.dag:
            return
        tasks = component.dag.tasks
        for key, task in tasks.items():
            path = f"{prefix}{key}"
            inner = graph.component(task)
            kind = task_kind(task, inner)
            if kind is TaskKind.DAG and draws_nested and inner.dag and inner.dag.tasks:
                self._add_frame(graph, inner, path, task)
            else:
                self.add_box(path, task.label, kind)
        # The lines come last, because they need the boxes at both of their ends.
        for key, task in tasks.items():
            for upstream in task.upstream:
                if upstream in tasks:
                    self._add_edge(f"{prefix}{upstream}", f"{prefix}{key}")

    def add_box(self, path: str, label: str, kind: TaskKind) -> None:
        """Add a task or a loop as a box."""
        task = self._tasks.get(path)
        state = self._find_state(path)
        label_lines = [f"{SIGNS[state]} {shorten(label, MAX_LABEL_WIDTH)}"]
        attributes = [f'color="{STATES[state]}"']
        if kind is TaskKind.LOOP:
            loop = self._loops.get(path)
            label_lines.append("loop" if loop is None else loop.label)
            # A double border.
            attributes.append("peripheries=2")
        elif task is not None and task.seconds is not None and task.state is not TaskState.SKIPPED:
            label_lines.append(format_duration(task.seconds))
        if state in ("SKIPPED", "PENDING"):
            attributes.append(f'fontcolor="{LINES[self._theme]}" style="rounded,filled,dashed"')
        name = self._get_id(path)
        quoted_label = _quote("\n".join(label_lines))
        quoted_tooltip = _quote(f"{path}: {state}")
        self._nodes.append(
            f"{name} [label={quoted_label} tooltip={quoted_tooltip} {' '.join(attributes)}];"
        )
        self._ends[path] = (name, name)

    def _add_frame(self, graph: Graph, component: Component, path: str, task: TaskDef) -> None:
        """Add a nested pipeline, which has at least one task, as a frame."""
        state = self._find_state(path)
        # Graphviz draws a frame around a subgraph only when its name begins with "cluster".
        name = f"cluster_{self._get_id(path)}"
        title = _quote(f"{SIGNS[state]} {shorten(task.label, MAX_LABEL_WIDTH)}")
        self._nodes.append(f"subgraph {name} {{")
        self._nodes.append(f'label={title}; labeljust=l; margin=12; color="{STATES[state]}";')
        self.add_dag(graph, component, f"{path}/", True)
        self._nodes.append("}")
        assert component.dag is not None
        keys = list(component.dag.tasks)
        first_box, _ = self._ends[f"{path}/{keys[0]}"]
        _, last_box = self._ends[f"{path}/{keys[-1]}"]
        self._ids[path] = name
        self._ends[path] = (first_box, last_box)

    def _find_state(self, path: str) -> str:
        """Return the state of a task. A task that does not exist yet is pending.

        A skipped pipeline has no tasks in the run, so its tasks are skipped as well.
        """
        while path not in self._tasks:
            parent = path.rpartition("/")[0]
            if not parent:
                return TaskState.PENDING.value
            if parent in self._tasks and self._tasks[parent].state is not TaskState.SKIPPED:
                return TaskState.PENDING.value
            path = parent
        return self._tasks[path].state.value

    def _add_edge(self, upstream: str, downstream: str) -> None:
        _, tail = self._ends[upstream]
        head, _ = self._ends[downstream]
        # The line is cut where it meets the frame.
        attributes = []
        if self._is_frame(upstream):
            attributes.append(f"ltail={self._ids[upstream]}")
        if self._is_frame(downstream):
            attributes.append(f"lhead={self._ids[downstream]}")
        suffix = f" [{' '.join(attributes)}]" if attributes else ""
        self._edges.append(f"{tail} -> {head}{suffix};")

    def _is_frame(self, path: str) -> bool:
        return self._ids[path].startswith("cluster_")

    def _get_id(self, path: str) -> str:
        return self._ids.setdefault(path, f"n{len(self._ids)}")


def _quote(text: str) -> str:
    """Return a text as a quoted string of DOT."""
    lines = [visible(line).translate(_DOT_ESCAPES) for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
