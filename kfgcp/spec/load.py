"""A pipeline from a Python file, a function in one, a compiled file, or an object of KFP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.digest import digest
from kfgcp.spec.documents import find_line, parse_documents, read_text
from kfgcp.spec.formats import unwrap
from kfgcp.spec.json_values import NotJsonError, Place, check_json, format_place
from kfgcp.spec.params import declared_params
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.shapes import InvalidError
from kfgcp.spec.source import digest_content
from kfgcp.spec.validate import validate, validate_platform
from kfgcp.spec.wire import pipeline_name

Component = Callable[..., Any]
"""A pipeline or component of KFP. Its objects are callable; their classes are slow to import, so no
class is named."""

_COMPILED = (".yaml", ".yml", ".json")
_FORMS = "A pipeline is given as file.py, file.py:function, or a compiled .yaml or .json file."


@dataclass(frozen=True)
class Spec:
    """A valid compiled pipeline.

    Attributes:
        pipeline_spec: the PipelineSpec, with the field names of the file (camelCase); numbers as
            loaded, so a whole one may be `3.0`.
        platform_spec: what the file says for single platforms, its second document; None without
            one.
        origin: what the user named, for messages.
        template: the address of the version it was taken from, with its digest; None for a file.
        files: the files that it was made of, by absolute path, with the digest of their content;
            empty where there are none.
    """

    pipeline_spec: dict[str, Any]
    platform_spec: dict[str, Any] | None
    origin: str
    template: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return pipeline_name(self.pipeline_spec)

    @cached_property
    def version(self) -> str:
        """`sha256:` and a digest that is the same for specs that mean the same."""
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
        UsageError: there is no such file or function, the file leaves open which pipeline is meant,
            or the value is of another type.
        SpecError: it does not compile, or is not a valid PipelineSpec.
    """
    if not isinstance(pipeline, (str, Path)):
        from kfgcp.spec.compile import compile_component

        component = compile_component(pipeline)
        return from_documents(component.documents, component.origin)
    path, function = _split(str(pipeline))
    if path.suffix.lower() == ".py":
        from kfgcp.spec.compile import compile_file

        compiled = compile_file(path, function)
        return replace(from_documents(compiled.documents, str(pipeline)), files=compiled.files)
    text = read_text(path)
    as_json = path.suffix.lower() == ".json"
    spec = _spec(parse_documents(text, str(path), as_json=as_json), str(pipeline), text)
    return replace(spec, files={str(path.absolute()): digest_content(path.read_bytes())})


def is_pipeline_file_name(text: str) -> bool:
    """Whether a text is the name of a pipeline's file, or of a function in one, that may be there
    or not."""
    known = (".py", *_COMPILED)
    return (
        text.lower().endswith(known)
        or text.rpartition(":")[0].lower().endswith(known)
        or Path(text).is_file()
    )


def from_text(text: str, origin: str) -> Spec:
    """The pipeline of the text of a compiled YAML or JSON file.

    Raises:
        SpecError: it is not a valid PipelineSpec; names the field.
    """
    return _spec(parse_documents(text, origin, as_json=False), origin, text)


def from_documents(documents: Sequence[Any], origin: str) -> Spec:
    """The pipeline of one or two plain documents, as a compiled file holds them.

    Raises:
        SpecError: they are not a valid PipelineSpec; names the field.
    """
    for number, document in enumerate(documents):
        try:
            check_json(document)
        except NotJsonError as unfit:
            raise _error(origin, None, number, InvalidError(unfit.place, unfit.problem)) from None
    return _spec(documents, origin, None)


def _split(pipeline: str) -> tuple[Path, str | None]:
    """The file, and the function in it, that a text names."""
    path, function = Path(pipeline), None
    if not path.is_file():
        file, _, name = pipeline.rpartition(":")
        if file.lower().endswith((".py", *_COMPILED)):
            path, function = Path(file), name
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", hint=_FORMS)
    if path.suffix.lower() not in (".py", *_COMPILED):
        raise UsageError(f"{pipeline} is not the name of a pipeline.", hint=_FORMS)
    if not path.is_file():
        raise UsageError(f"{path} does not exist.", hint=_similar(path) or _FORMS)
    if function is not None and path.suffix.lower() != ".py":
        raise UsageError(
            f"{path} is a compiled pipeline, it has no function {function!r}.", hint=_FORMS
        )
    if function is not None and not function.isidentifier():
        raise UsageError(f"{function!r} is not the name of a function in {path}.", hint=_FORMS)
    return path, function


def _similar(path: Path) -> str:
    import difflib

    try:
        names = [
            each.name
            for each in path.parent.iterdir()
            if each.suffix.lower() in (".py", *_COMPILED)
        ]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.with_name(close[0])}?" if close else ""


def _spec(documents: Sequence[Any], origin: str, text: str | None) -> Spec:
    """The valid pipeline of plain documents; `text` is what they were read from, to tell lines."""
    prefix: Place = ()
    number = 0
    try:
        unwrapped = unwrap(documents)
        pipeline_spec, platform_spec = unwrapped.pipeline_spec, unwrapped.platform_spec
        prefix = unwrapped.place
        validate(pipeline_spec)
        if platform_spec is not None:
            number = 1
            prefix = ()
            validate_platform(platform_spec)
    except InvalidError as invalid:
        raise _error(origin, text, number, invalid, prefix) from None
    return Spec(pipeline_spec, platform_spec, origin)


def _error(
    origin: str, text: str | None, number: int, invalid: InvalidError, prefix: Place = ()
) -> SpecError:
    line = find_line(text, number, (*prefix, *invalid.place)) if text and invalid.place else None
    where = f"{origin}:{line}" if line else origin
    what = f"{format_place(invalid.place)} {invalid.problem}" if invalid.place else invalid.problem
    return SpecError(f"{where}: {what}.", hint=invalid.hint)
