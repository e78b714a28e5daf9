"""Load a pipeline from a Python file, a function in one, a compiled file, or an object of KFP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from kfgcp.config_pipelines import ProjectPipeline
from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.digest import digest
from kfgcp.spec.documents import find_line, parse_documents, read_text
from kfgcp.spec.formats import unwrap
from kfgcp.spec.json_values import NotJsonError, Place, check_json, format_place
from kfgcp.spec.params import declared_params
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.registered import RegisteredRef
from kfgcp.spec.shapes import InvalidError
from kfgcp.spec.source import digest_content
from kfgcp.spec.validate import validate, validate_platform
from kfgcp.spec.wire import pipeline_name

# Objects of KFP are callable. Their classes are slow to import, so no class is named here.
Component = Callable[..., Any]
"""A pipeline or component of KFP."""

_COMPILED_ENDINGS: Final = (".yaml", ".yml", ".json")
_ENDINGS: Final = (".py",) + _COMPILED_ENDINGS
_FORMS_HINT: Final = (
    "Give the pipeline as file.py, file.py:function, or a compiled .yaml or .json file."
)


@dataclass(frozen=True)
class Spec:
    """A valid compiled pipeline.

    Attributes:
        pipeline_spec: the PipelineSpec, with the field names of the file (camelCase). Numbers are
            as in the file, so an integer may be `3.0`.
        platform_spec: the second document of the file, with settings for single platforms; None
            without one.
        origin: the pipeline as the user named it, for messages.
        template: the address, with digest, of the template version that the pipeline comes from;
            None for a file.
        files: absolute path of each file that it was made from -> digest of the content.
        entry: the table [pipeline.X] of kfgcp.toml that names the pipeline, None without one.
        registered: the entry of a registry that the pipeline comes from, None for others.
    """

    pipeline_spec: dict[str, Any]
    platform_spec: dict[str, Any] | None
    origin: str
    template: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    entry: ProjectPipeline | None = None
    registered: RegisteredRef | None = None

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return pipeline_name(self.pipeline_spec)

    @cached_property
    def version(self) -> str:
        """The digest of the spec, with `sha256:` before it. Specs that mean the same share it.

        A pipeline from a registry has the version that was pushed. Its text can be translated for
        an environment, so the digest of the text can differ.
        """
        if self.registered is not None:
            return self.registered.version
        return digest(self.pipeline_spec)

    @cached_property
    def params(self) -> dict[str, ParamSpec]:
        """The parameters that the pipeline declares, by name."""
        return declared_params(self.pipeline_spec)


def load(pipeline: str | Path | Component) -> Spec:
    """Load and check a pipeline.

    Args:
        pipeline: `file.py`, `file.py:function`, a compiled `.yaml`, `.yml` or `.json`; or a
            pipeline or component of KFP, which is a function with its decorator.

    Raises:
        UsageError: there is no such file or function, the file has several pipelines and the
            function is missing, or the value is of another type.
        SpecError: the pipeline does not compile, or is not a valid PipelineSpec.
    """
    if not isinstance(pipeline, (str, Path)):
        # kfgcp.spec.compile imports kfp, which takes seconds, so only Python pipelines import it.
        from kfgcp.spec.compile import compile_component

        component = compile_component(pipeline)
        return from_documents(component.documents, component.origin)
    path, function = _split_function(str(pipeline))
    if path.suffix.lower() == ".py":
        from kfgcp.spec.compile import compile_file

        compiled = compile_file(path, function)
        return replace(from_documents(compiled.documents, str(pipeline)), files=compiled.files)
    text = read_text(path)
    as_json = path.suffix.lower() == ".json"
    documents = parse_documents(text, str(path), as_json=as_json)
    spec = _build_spec(documents, str(pipeline), text)
    return replace(spec, files={str(path.absolute()): digest_content(path.read_bytes())})


def is_pipeline_file_name(text: str) -> bool:
    """Return whether a text has the form of a pipeline's file name, or of a function in a file.

    A file with an ending of pipelines need not exist.

    Example:
        >>> is_pipeline_file_name("train.py:train"), is_pipeline_file_name("train")
        (True, False)
    """
    file = text.rpartition(":")[0]
    has_ending = text.lower().endswith(_ENDINGS) or file.lower().endswith(_ENDINGS)
    return has_ending or Path(text).is_file()


def from_text(text: str, origin: str) -> Spec:
    """Return the pipeline of the text of a compiled YAML or JSON file.

    Args:
        text: the text.
        origin: the pipeline as the user named it, for messages.

    Raises:
        SpecError: the text is not a valid PipelineSpec. The message names the field.
    """
    return _build_spec(parse_documents(text, origin, as_json=False), origin, text)


def from_documents(documents: Sequence[Any], origin: str) -> Spec:
    """Return the pipeline of one or two plain documents, as a compiled file holds them.

    Args:
        documents: the PipelineSpec, and the platform spec if there is one.
        origin: the pipeline as the user named it, for messages.

    Raises:
        SpecError: the documents are not a valid PipelineSpec. The message names the field.

    Example:
        >>> spec = from_documents([{
        ...     "schemaVersion": "2.1.0",
        ...     "pipelineInfo": {"name": "hello"},
        ...     "root": {"dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}}}}},
        ...     "components": {"comp-say": {"executorLabel": "exec-say"}},
        ...     "deploymentSpec": {
        ...         "executors": {"exec-say": {"container": {"image": "python:3.12"}}}
        ...     },
        ... }], "hello.yaml")
        >>> spec.name, spec.params
        ('hello', {})
    """
    for number, document in enumerate(documents):
        try:
            check_json(document)
        except NotJsonError as problem:
            invalid = InvalidError(problem.place, problem.problem)
            raise _build_error(origin, None, number, invalid) from None
    return _build_spec(documents, origin, None)


def _split_function(pipeline: str) -> tuple[Path, str | None]:
    """Return the file that a text names, and the function in it, None without one."""
    path = Path(pipeline)
    function = None
    # A file name may contain a colon, so the whole text is tried first.
    if not path.is_file():
        file, _, name = pipeline.rpartition(":")
        if file.lower().endswith(_ENDINGS):
            path = Path(file)
            function = name
    is_python = path.suffix.lower() == ".py"
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", hint=_FORMS_HINT)
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{pipeline} is not the name of a pipeline.", hint=_FORMS_HINT)
    if not path.is_file():
        raise UsageError(f"{path} does not exist.", hint=_suggest_file(path) or _FORMS_HINT)
    if function is not None and not is_python:
        raise UsageError(
            f"{path} is a compiled pipeline, so it has no function {function!r}.", hint=_FORMS_HINT
        )
    if function is not None and not function.isidentifier():
        raise UsageError(f"{function!r} is not the name of a function in {path}.", hint=_FORMS_HINT)
    return path, function


def _suggest_file(path: Path) -> str:
    """Return a hint with the file of the same folder that has a similar name, "" without one."""
    import difflib

    try:
        files = list(path.parent.iterdir())
    except OSError:
        return ""
    names = [file.name for file in files if file.suffix.lower() in _ENDINGS]
    close_names = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.with_name(close_names[0])}?" if close_names else ""


def _build_spec(documents: Sequence[Any], origin: str, text: str | None) -> Spec:
    """Validate plain documents, and return their pipeline.

    Args:
        documents: the documents.
        origin: the pipeline as the user named it.
        text: the text of the documents, so that errors can name a line; None without one.
    """
    try:
        unwrapped = unwrap(documents)
    except InvalidError as invalid:
        raise _build_error(origin, text, 0, invalid) from None
    try:
        validate(unwrapped.pipeline_spec)
    except InvalidError as invalid:
        raise _build_error(origin, text, 0, invalid, unwrapped.place) from None
    if unwrapped.platform_spec is not None:
        try:
            validate_platform(unwrapped.platform_spec)
        except InvalidError as invalid:
            raise _build_error(origin, text, 1, invalid) from None
    return Spec(unwrapped.pipeline_spec, unwrapped.platform_spec, origin)


def _build_error(
    origin: str, text: str | None, document: int, invalid: InvalidError, prefix: Place = ()
) -> SpecError:
    """Return the error for users.

    Args:
        origin: the pipeline as the user named it.
        text: the text of the documents, None without one.
        document: the index of the invalid document.
        invalid: what is wrong.
        prefix: where the PipelineSpec is in the document. Messages leave it out.
    """
    line = None
    if text and invalid.place:
        line = find_line(text, document, prefix + invalid.place)
    where = f"{origin}:{line}" if line else origin
    field_name = f"{format_place(invalid.place)} " if invalid.place else ""
    return SpecError(f"{where}: {field_name}{invalid.problem}.", hint=invalid.hint)
