"""Rules about what makes a second run of a pipeline differ from the first one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Located, Match, Part, Severity, match_texts
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.rules.written_texts import texts_in
from kfgcp.spec.graph import Constant, Importer

# CreatePVC and DeletePVC of kfp-kubernetes. The driver does their work, and pulls no image
# (v2/driver/k8s.go).
_NOT_PULLED: Final = "argostub/"

# The tag that kfgcp gives to an image of the project (kfgcp/deploy/images/catalogue.py).
_CONTENT_TAG: Final = LazyPattern(r"c-[0-9a-f]{12}")

# The name of the package, its extras and the rest: `kfp[kubernetes]`, `==2.16.0`.
_REQUIREMENT: Final = LazyPattern(
    r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(?P<rest>.*)"
)

# `==1.2` and `===1.2`, but not `==1.*`.
_PINNED: Final = LazyPattern(r"={2,3}\s*(?P<version>[^\s,;*]+)\s*(?:,|;|\Z)")

_REPOSITORY: Final = LazyPattern(r"\b(?:git|hg|svn|bzr)\+[a-z]+://(?P<address>[^\s;#]*)")
_ARCHIVE_OF_BRANCH: Final = LazyPattern(r"/(?:main|master|HEAD|develop)(?:\.zip|\.tar\.gz|/)")
_BRANCHES: Final = frozenset({"main", "master", "HEAD", "develop", "trunk"})

# The compiler of KFP adds these to every component (kfp/dsl/component_factory.py).
_WRITTEN_BY_KFP: Final = ("kfp==", "typing-extensions>=3.7.4,<5")

_KFP_VERSION: Final = LazyPattern(r"kfp(?:\[[^]]*\])?==([^\s,;*]+)\Z")
_SDK_VERSION: Final = LazyPattern(r"kfp-(\d[\w.]*)\Z")

# Placeholders that have another value in each run.
_VALUE_OF_ONE_RUN: Final = LazyPattern(
    r"\{\{\$\.(?:pipeline_job_(?:name|resource_name|uuid|create_time_utc|schedule_time_utc)"
    r"|pipeline_task_uuid)\}\}"
)


# -- images and packages


@component_rule(
    "R101",
    Severity.WARNING,
    "{component} runs the newest version of the image {image}, which changes over time",
    hint="Name a version or a digest: NAME:VERSION or NAME@sha256:...",
)
def image_without_version(context: ComponentContext, target: Target) -> Match:
    """An image without a tag has the tag latest, which moves to each new version (the reference of
    image names of the Open Container Initiative)."""
    image = _movable_image(context)
    tag = _tag(image)
    return {"image": image} if image and tag in ("", "latest") else False


@component_rule(
    "R102",
    Severity.NOTE,
    "{component} names the image {image} by a tag, and the tag may later mean another image",
    hint="Name the digest of the image: NAME@sha256:...",
)
def image_without_digest(context: ComponentContext, target: Target) -> Match:
    """Only a digest names one image for ever (the specification of image indexes of the Open
    Container Initiative)."""
    image = _movable_image(context)
    tag = _tag(image)
    return {"image": image} if image and tag not in ("", "latest") else False


def _movable_image(context: ComponentContext) -> str:
    """Return the image of a component, "" when it has none, a digest, or a name without meaning."""
    container = context.container
    if container is None or container.image.startswith(_NOT_PULLED):
        return ""
    # An image with {{ is an input of the task.
    is_known = "{{" not in container.image
    # The tag of an image of the project is a digest of its content.
    is_fixed = "@" in container.image or _CONTENT_TAG.fullmatch(_tag(container.image))
    return container.image if is_known and not is_fixed else ""


def _tag(image: str) -> str:
    """Return the tag of an image, "" without one: `3.12` for `python:3.12`."""
    # A colon before the last slash is the one before a port: `registry:5000/image`.
    return image.rpartition("/")[2].partition(":")[2]


@component_rule(
    "R103",
    Severity.NOTE,
    "{component} installs {packages} without a version",
    hint="Add the version that you tested: packages_to_install=['pandas==2.2.3']",
)
def package_without_version(context: ComponentContext, target: Target) -> Match:
    """pip installs the newest version that it finds when the task starts (the documentation of
    pip, requirement specifiers)."""
    names = []
    for requirement in _requirements(context):
        match = _REQUIREMENT.match(requirement)
        if "://" in requirement or requirement.startswith("-") or match is None:
            continue
        if "/" not in requirement and not _PINNED.search(match["rest"]):
            names.append(match["name"])
    return match_texts("packages", names)


@component_rule(
    "R104",
    Severity.WARNING,
    "{component} installs {package} from a branch, which changes with each commit",
    hint="Add a tag or a commit: git+https://HOST/NAME@COMMIT",
)
def package_of_branch(context: ComponentContext, target: Target) -> Match:
    """pip installs the newest commit of the branch, or of the default branch when the address has
    no name after the @ (the documentation of pip, VCS support)."""
    for requirement in _requirements(context):
        if "://" not in requirement:
            continue
        repository = _REPOSITORY.search(requirement)
        if repository is not None:
            path = repository["address"].partition("/")[2]
            reference = path.rpartition("@")[2] if "@" in path else ""
            if not reference or reference in _BRANCHES:
                return {"package": _package_of_address(path.partition("@")[0])}
        elif _ARCHIVE_OF_BRANCH.search(requirement):
            name = _REQUIREMENT.match(requirement)
            return {"package": name["name"] if name is not None else "a package"}
    return False


@pipeline_rule(
    "R105",
    Severity.NOTE,
    "{component} installs kfp {installed}, but the pipeline was compiled with kfp {compiled}",
    hint="Remove kfp from packages_to_install, or install the same version as the compiler.",
)
def other_kfp(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The program that KFP starts in the container is a part of the installed kfp
    (kfp/dsl/executor_main.py), and it must fit the command that the compiler wrote."""
    compiled = _SDK_VERSION.match(str(pipeline.document.get("sdkVersion")))
    if compiled is None:
        return
    for component in pipeline.components:
        lightweight = component.lightweight
        for requirement in lightweight.requirements if lightweight is not None else ():
            pinned = _KFP_VERSION.match(requirement)
            if pinned is not None and pinned[1] != compiled[1]:
                name = component.component.name
                values = {"installed": pinned[1], "compiled": compiled[1]}
                yield Located(values, Part.COMPONENT, component.task, name)
                break


def _requirements(context: ComponentContext) -> Iterator[str]:
    """Yield the requirements that the author of a component wrote."""
    if context.lightweight is None:
        return
    for requirement in context.lightweight.requirements:
        if requirement.startswith(_WRITTEN_BY_KFP):
            continue
        yield requirement


def _package_of_address(path: str) -> str:
    """Return `tools` for `team/tools.git`."""
    return path.rstrip("/").rpartition("/")[2].removesuffix(".git") or "a package"


# -- caching


@component_rule(
    "R110",
    Severity.NOTE,
    "{component} uses the artifact of its first import again, also when the file has changed",
    hint="Set reimport=True, or import an address that names one version of the file.",
)
def importer_reuses(context: ComponentContext, target: Target) -> Match:
    """ImporterSpec.reimport of pipeline_spec.proto: without it, an artifact with the same URI is
    used again."""
    executor = context.component.executor
    if not isinstance(executor, Importer) or executor.reimport:
        return False
    return isinstance(executor.uri.source, Constant)


@task_rule(
    "R111",
    Severity.NOTE,
    "{task} has caching on and no inputs, so later runs take its outputs from the first run",
    hint="If the task reads data that changes, turn caching off: set_caching_options(False)",
    methods=("set_caching_options",),
)
def cached_without_inputs(context: TaskContext, target: Target) -> Match:
    """The cache key has the inputs, the image and the command (docs/reference/semantics.md,
    caching)."""
    task = context.task
    if not task.cache or task.cache_key or task.params or task.artifacts:
        return False
    return context.container is not None and task.iterator is None


@task_rule(
    "R113",
    Severity.NOTE,
    "{task} has caching on, and its command contains {placeholder}: the cache does not look at"
    " the value of this placeholder",
    hint="Turn caching off with set_caching_options(False), or pass the value as an input.",
    methods=("set_caching_options",),
)
def cached_command_of_run(context: TaskContext, target: Target) -> Match:
    """The cache key has the command before its placeholders are filled in
    (docs/reference/semantics.md, caching)."""
    container = context.container
    if not context.task.cache or container is None:
        return False
    for word in container.templates:
        match = _VALUE_OF_ONE_RUN.search(word)
        if match is not None:
            return {"placeholder": match[0]}
    return False


@task_rule(
    "R114",
    Severity.NOTE,
    "{task} has caching on, but never takes outputs from the cache, because '{input}' is"
    " different in each run",
    hint="Turn caching off with set_caching_options(False).",
    methods=("set_caching_options",),
)
def never_cached(context: TaskContext, target: Target) -> Match:
    """The cache key has the values of the inputs (docs/reference/semantics.md, caching)."""
    task = context.task
    if not task.cache or task.cache_key or context.container is None:
        return False
    for name, binding in task.params.items():
        source = binding.source
        if isinstance(source, Constant):
            for _, text in texts_in(source.value, name):
                if _VALUE_OF_ONE_RUN.search(text):
                    return {"input": name}
    return False
