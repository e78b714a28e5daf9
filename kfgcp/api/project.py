"""A project and its environments: making them, looking at what ails them, showing their runs in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp import config
from kfgcp.spec.load import Spec
from kfgcp.tracking import pipelines

if TYPE_CHECKING:
    from kfgcp.diagnosis.checks import Finding
    from kfgcp.environments import Imported
    from kfgcp.scaffold import Scaffold


def doctor(
    env: str | None = None,
    pipeline: str | Path | Spec | None = None,
    *,
    notice: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """What is found on the way that a submission takes, up to the first broken link, which says how to mend it.

    Args:
        env: the environment, the project's default one when None.
        pipeline: one to submit, as of `submit`: its images are looked for too.
        notice: takes each finding as soon as it is there.

    Raises:
        SpecError: the pipeline does not compile or is not a valid spec.
    """
    from kfgcp.diagnosis.diagnose import diagnose
    from kfgcp.spec.graph import build

    images = None
    if pipeline is not None:
        spec = pipeline if isinstance(pipeline, Spec) else pipelines.load_pipeline(config.load(), str(pipeline), env)
        images = build(spec.pipeline_spec).images
    found = []
    for finding in diagnose(env, images):
        notice(finding)
        found.append(finding)
    return found


def dashboard(*, host: str = "127.0.0.1", port: int = 8501, read_only: bool = False, browser: bool = True) -> None:
    """Serves the dashboard of the current project until it is interrupted.

    Args:
        host: the address to listen on; anything but loopback needs a way to tell who looks.
        port: the port to listen on, 0 for a free one.
        read_only: nobody may launch, cancel, rerun or annotate.
        browser: open it, where there is one.

    Raises:
        UsageError: the port is taken, or it would show everything to everybody.
        MissingExtra: Streamlit is not installed.
    """
    from kfgcp_dashboard.server import serve

    serve(host=host, port=port, read_only=read_only, browser=browser)


def init(folder: str | Path = ".") -> Scaffold:
    """A new project in a folder, with a pipeline that runs at once; existing files are left as they are.

    Raises:
        UsageError: a file that it would write is there.
    """
    from kfgcp.scaffold import scaffold

    return scaffold(Path(folder))


def import_env(name: str, outputs: str, *, key: str | None = None, replace: bool = False) -> Imported:
    """The environment `name` of kfgcp.toml, written as the outputs of Terraform have it.

    Args:
        name: of the environment.
        outputs: what `terraform output -json` printed in a folder of terraform/envs.
        key: which environment of several in them; `name` when missing.
        replace: whether an environment of that name may be there; its comments stay.

    Raises:
        UsageError: these are no such outputs, or the name is taken.
        ConfigError: kfgcp.toml is not valid, before or afterwards. Nothing was written.
    """
    from kfgcp.environments import import_environment

    return import_environment(name, outputs, key=key, replace=replace)
