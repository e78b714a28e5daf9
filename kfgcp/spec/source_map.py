"""Where the parts of a pipeline are written: the lines of its tasks, groups and components.

For a pipeline in Python, the files that it was compiled from are parsed, not imported, and calls
and `with` statements are matched with the names of tasks and groups. A compiled file has the lines
of its keys. Files are read at the first question, so a check without findings pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from kfgcp.spec.load import Spec
from kfgcp.spec.pipeline_files import pipeline_files
from kfgcp.spec.source import display_path

# Users of source maps find these here.
from kfgcp.spec.source_comments import Comment as Comment
from kfgcp.spec.source_comments import has_mark, read_yaml_comments
from kfgcp.spec.source_document import DocumentLines
from kfgcp.spec.source_groups import parse_group
from kfgcp.spec.source_lines import Location as Location
from kfgcp.spec.source_lines import sanitize as sanitize
from kfgcp.spec.source_lines import without_number
from kfgcp.spec.source_python import Function, Program
from kfgcp.spec.source_tasks import Call, PipelineBody
from kfgcp.spec.wire import component_name, is_dag, read_components, read_root, read_tasks


class SourceMap:
    """The lines of the parts of a pipeline. Every method returns None for what is not known.

    Args:
        spec: the pipeline. A file of it that cannot be read or parsed any more has no lines.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._key = sanitize(spec.name)
        self._bodies: dict[Function, PipelineBody] = {}
        self._groups_by_pipeline: dict[str, dict[str, list[str]]] = {}

    @property
    def comments(self) -> Sequence[Comment]:
        """The comments that suppress rules, in all files."""
        comments: list[Comment] = []
        for file in self._files:
            if has_mark(file):
                comments += self._read_comments(file)
        return comments

    def find_pipeline(self) -> Location | None:
        """Return the line of the pipeline itself."""
        if self._root is not None:
            return self._root.location
        if self._document is not None:
            return self._document.find_root()
        # A component that was compiled alone is a pipeline with one task.
        component = self._program.find_function(self._key, is_pipeline=False)
        return component.location if component is not None else None

    def find_component(self, name: str, task: str = "") -> Location | None:
        """Return the line of a component.

        Args:
            name: in the spec: `comp-train-model`.
            task: the path of a task that runs it. Components of different files may have the same
                name, and the call of the task tells which one it is.
        """
        if self._document is not None:
            return self._document.find_component(name)
        call = self._find_call(task) if task else None
        if call is not None and isinstance(call.target, Function):
            return call.target.location
        key = name.removeprefix("comp-")
        for function_key in (key, without_number(key)):
            function = self._program.find_function(function_key, is_pipeline=False)
            # A component may have the name of the pipeline that it is in.
            if function is None and function_key != self._key:
                function = self._program.find_function(function_key, is_pipeline=True)
            if function is not None:
                return function.location
        return None

    def find_task(self, path: str, methods: Sequence[str] = ()) -> Location | None:
        """Return the line where a task or group is made, or where a method of the task is called.

        The tasks of a pipeline whose code is not known have the line of the nearest part around
        them that is known.

        Args:
            path: of the task in the spec, such as `for-loop-1/train-model-2`.
            methods: the names of methods, such as `set_retry`. The first one that is called wins.
        """
        if self._document is not None:
            return self._document.find_task(path.split("/"))
        group_location = self._find_group(path)
        if group_location is not None:
            return group_location
        call = self._find_call(path)
        if call is not None:
            for method in methods:
                if method in call.methods:
                    return Location(call.location.file, call.methods[method])
            return call.location
        around = path.rpartition("/")[0]
        return self.find_task(around) if around else None

    # -- files

    @cached_property
    def _files(self) -> list[Path]:
        """The files of the pipeline, the one that the user named first."""
        return pipeline_files(self._spec)

    @cached_property
    def _program(self) -> Program:
        return Program(file for file in self._files if file.suffix.lower() == ".py")

    @cached_property
    def _document_text(self) -> str | None:
        """The content of a compiled file, None for a pipeline in Python."""
        if not self._files or self._files[0].suffix.lower() == ".py":
            return None
        try:
            return self._files[0].read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return None

    @cached_property
    def _document(self) -> DocumentLines | None:
        if self._document_text is None:
            return None
        name = str(display_path(self._files[0]))
        return DocumentLines(self._document_text, name, self._spec.pipeline_spec)

    def _read_comments(self, file: Path) -> Sequence[Comment]:
        if file.suffix.lower() == ".py":
            module = self._program.read(file)
            return module.comments if module is not None else ()
        # JSON has no comments.
        if self._document_text is None or file.suffix.lower() == ".json":
            return ()
        return read_yaml_comments(self._document_text, str(display_path(file)))

    # -- functions

    @cached_property
    def _root(self) -> Function | None:
        """The function of the pipeline."""
        if not self._program.files:
            return None
        module = self._program.read(self._program.files[0])
        functions = module.functions if module is not None else {}
        named = functions.get(self._spec.origin.rpartition(":")[2])
        if named is not None and named.is_pipeline:
            return named
        same_name = self._program.find_function(self._key, is_pipeline=True)
        if same_name is not None:
            return same_name
        # The program may compute the name of the pipeline. That does not matter when its file has
        # only one pipeline.
        pipelines = [function for function in functions.values() if function.is_pipeline]
        return pipelines[0] if len(pipelines) == 1 else None

    def _body(self, pipeline: Function) -> PipelineBody:
        if pipeline not in self._bodies:
            self._bodies[pipeline] = PipelineBody(pipeline, self._program)
        return self._bodies[pipeline]

    def _find_call(self, path: str) -> Call | None:
        segments = path.split("/")
        pipeline = self._pipeline_around(segments)
        return self._body(pipeline).find_call(segments[-1]) if pipeline is not None else None

    def _pipeline_around(self, segments: Sequence[str]) -> Function | None:
        """Return the function that makes a task, None when its code is not known.

        Loops, conditions and exit handlers are written in the function of the pipeline around them.
        """
        pipeline = self._root
        for key in segments[:-1]:
            if pipeline is None:
                return None
            if parse_group(key) is not None:
                continue
            call = self._body(pipeline).find_call(key)
            target = call.target if call is not None else None
            pipeline = target if isinstance(target, Function) and target.is_pipeline else None
        return pipeline

    def _find_group(self, path: str) -> Location | None:
        segments = path.split("/")
        group = parse_group(segments[-1])
        pipeline = self._pipeline_around(segments)
        if group is None or pipeline is None:
            return None
        keys = self._group_keys(segments)
        return self._body(pipeline).find_group(segments[-1], keys.get(group[0], []))

    def _group_keys(self, segments: Sequence[str]) -> Mapping[str, list[str]]:
        """Return the groups of the pipeline that contains a group, by kind, in KFP's order."""
        depth = len(segments) - 1
        while depth > 0 and parse_group(segments[depth - 1]) is not None:
            depth -= 1
        pipeline_path = "/".join(segments[:depth])
        if pipeline_path not in self._groups_by_pipeline:
            groups = self._read_groups(segments[:depth])
            self._groups_by_pipeline[pipeline_path] = groups
        return self._groups_by_pipeline[pipeline_path]

    def _read_groups(self, pipeline_path: Sequence[str]) -> dict[str, list[str]]:
        components = read_components(self._spec.pipeline_spec)
        tasks = read_tasks(read_root(self._spec.pipeline_spec))
        for key in pipeline_path:
            tasks = read_tasks(components.get(component_name(tasks.get(key, {})), {}))
        numbers: dict[str, dict[int, str]] = {}
        open_dags = [tasks]
        while open_dags:
            for key, task in open_dags.pop().items():
                group = parse_group(key)
                component = components.get(component_name(task), {})
                # A component of the user may have the name of a group.
                if group is not None and is_dag(component):
                    numbers.setdefault(group[0], {})[group[1]] = key
                    open_dags.append(read_tasks(component))
        keys: dict[str, list[str]] = {}
        for kind, by_number in numbers.items():
            keys[kind] = [by_number[number] for number in sorted(by_number)]
        return keys


def read_source_map(spec: Spec) -> SourceMap:
    """Return the lines of a pipeline's parts. Files are read at the first question."""
    return SourceMap(spec)
