"""The texts that a pipeline itself holds: constants, defaults, variables and URIs of importers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Located, Part
from kfgcp.spec.graph import Constant, Importer


class Origin(Enum):
    """The kind of place where a text is written."""

    CONSTANT = auto()
    DEFAULT = auto()
    VARIABLE = auto()
    IMPORTED = auto()


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A text in a pipeline.

    Attributes:
        text: the text, or a text inside a list or dict.
        where: the subject of a sentence about the text, such as `input 'x' of task train`.
        name: the name of the input or variable that has the text, or the key of a dict.
        origin: the kind of place where it is written.
        part: what must change to change the text.
        task: the path of the task that has it, empty for the pipeline itself.
        component: the name of the component that has it, empty for the pipeline itself.
    """

    text: str
    where: str
    name: str
    origin: Origin
    part: Part = Part.PIPELINE
    task: str = ""
    component: str = ""

    def locate(self, **values: str) -> Located:
        """Return the answer of a rule about this text.

        Args:
            values: the values of the placeholders in the message, beside `{where}`.
        """
        all_values = {"where": self.where, **values}
        return Located(all_values, self.part, self.task, self.component)


def written_texts(pipeline: PipelineContext) -> tuple[WrittenText, ...]:
    """Return all texts that a pipeline holds, without commands, images and source code."""
    key = "written_texts"
    texts = pipeline.memo.get(key)
    if texts is None:
        texts = _read_texts(pipeline)
        pipeline.memo[key] = texts
    return texts


def texts_in(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Yield the texts inside a value, each with the key of the dict that has it, or the name.

    Example:
        >>> list(texts_in({"url": "a", "rows": ["b", 3]}, "options"))
        [('url', 'a'), ('rows', 'b')]
    """
    # Most values are texts.
    if isinstance(value, str):
        yield name, value
        return
    # This list is the stack of the traversal, the last value is the next one.
    stack: list[tuple[str, object]] = [(name, value)]
    while stack:
        name, item = stack.pop()
        if isinstance(item, str):
            yield name, item
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.items())))
        elif isinstance(item, list):
            stack.extend((name, element) for element in reversed(item))


def _read_texts(pipeline: PipelineContext) -> tuple[WrittenText, ...]:
    texts: list[WrittenText] = []
    for param in pipeline.graph.root.params.values():
        where = f"the default of the pipeline's parameter '{param.name}'"
        for name, text in texts_in(param.default, param.name):
            texts.append(WrittenText(text, where, name, Origin.DEFAULT))
    for component in pipeline.components:
        texts.extend(_component_texts(component))
    for task in pipeline.tasks:
        texts.extend(_task_texts(task))
    return tuple(texts)


def _component_texts(context: ComponentContext) -> Iterator[WrittenText]:
    component = context.component
    label = f"component {component.name.removeprefix('comp-')}"
    place = (Part.COMPONENT, context.task, component.name)
    for param in component.params.values():
        # Most inputs have no default.
        if param.default is None:
            continue
        where = f"the default of input '{param.name}' of {label}"
        for name, text in texts_in(param.default, param.name):
            yield WrittenText(text, where, name, Origin.DEFAULT, *place)
    if context.container is not None:
        for variable, value in context.container.env.items():
            where = f"the environment variable {variable} of {label}"
            yield WrittenText(value, where, variable, Origin.VARIABLE, *place)
    executor = component.executor
    if isinstance(executor, Importer) and isinstance(executor.uri.source, Constant):
        uri = executor.uri.source.value
        if isinstance(uri, str):
            yield WrittenText(uri, f"the URI of {label}", "uri", Origin.IMPORTED, *place)


def _task_texts(context: TaskContext) -> Iterator[WrittenText]:
    for name, binding in context.task.params.items():
        source = binding.source
        # A number contains no text. Most inputs have no constant.
        if isinstance(source, Constant) and isinstance(source.value, (str, list, dict)):
            where = f"input '{name}' of task {context.path}"
            for key, text in texts_in(source.value, name):
                yield WrittenText(
                    text,
                    where,
                    key,
                    Origin.CONSTANT,
                    Part.TASK,
                    context.path,
                    context.component.name,
                )
