"""The methods of `Workspace` for pipelines and for the project itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.config import FILE_NAME
from kfgcp.tracking.choose import as_list
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    from kfgcp.config import Environment
    from kfgcp.deploy.images.images import Images
    from kfgcp.diagnosis.checks import Check, Finding
    from kfgcp.environments import Imported
    from kfgcp.project_templates import Template
    from kfgcp.rules.report import Report
    from kfgcp.scaffold import Scaffold
    from kfgcp.spec.load import Spec
    from kfgcp.tracking.pipelines import Diff, Pipeline, PipelineLike


class ProjectMethods(OpenProject):
    """The part of `Workspace` that compiles pipelines, checks the project and writes its files.

    The methods import what loads pipelines themselves. Most commands need no pipeline, and would
    start half as fast again.
    """

    def compile(
        self, pipeline: PipelineLike, output: str | Path | None = None, env: str | None = None
    ) -> Spec:
        """Compile and check a pipeline, and write it to a file when `output` is given.

        Names of the project's images are replaced by pinned references, see `Workspace.images`.

        Args:
            pipeline: the name of a pipeline in kfgcp.toml, `file.py`, `file.py:function`, a
                compiled `.yaml` or `.json`, a version in a registry (`NAME@TAG`), or a pipeline or
                component of KFP (a function with its decorator).
            output: a `.yaml` or `.json` file to write.
            env: the environment whose registry has the version; the default one when None.

        Returns:
            The compiled pipeline, which `submit` takes too.

        Raises:
            ConfigError: kfgcp.toml has no pipeline with this name.
            SpecError: it does not compile or is not a valid spec.
            ConfigError: it names an image of the project that cannot be read.

        Example::

            kfgcp.compile("pipelines/churn.py", "churn.yaml").version
        """
        from kfgcp.deploy.images.pins import pin_images
        from kfgcp.spec.load import Spec, load
        from kfgcp.tracking import pipelines

        if isinstance(pipeline, Spec):
            spec = pipeline
        elif pipelines.is_declared_name(pipeline) or pipelines.is_version(pipeline):
            spec = pipelines.load_pipeline(self, pipeline, env)
        else:
            # A file that names no image of the project needs no kfgcp.toml, not even a valid one.
            spec = pin_images(load(pipeline), lambda: self.project)
        if output is not None:
            # Imported only here, because this module imports PyYAML, which is slow.
            from kfgcp.spec.write import write

            write(spec, Path(output))
        return spec

    @property
    def images(self) -> Images:
        """The images of the project: list, lock, build and push them.

        Example::

            kfgcp.Workspace.default().images.push("tabular")[0].reference
        """
        from kfgcp.deploy.images.images import Images

        return Images(lambda: self.project)

    def load_pipeline(self, pipeline: str | Path, env: str | None = None) -> Spec:
        """Load and check a pipeline without starting it.

        Args:
            pipeline: a name, file or version, as in `compile`, or the address of a version in
                Artifact Registry.
            env: the environment whose registry has the version, or whose sign-in is used for
                Artifact Registry; the default one when None.

        Raises:
            SpecError: it does not compile or is not a valid spec.
            BackendError: Artifact Registry refused it or cannot be reached.
        """
        from kfgcp.tracking.pipelines import load_pipeline

        return load_pipeline(self, pipeline, env)

    def check(
        self,
        pipeline: PipelineLike,
        envs: str | Sequence[str] | None = None,
        *,
        all_envs: bool = False,
        server: str = "",
        select: str | Sequence[str] = (),
        ignore: str | Sequence[str] = (),
        params: Mapping[str, object] | None = None,
    ) -> Report:
        """Return what prevents a pipeline from running in environments, or changes its results.

        Nothing is sent to a service.

        Args:
            pipeline: as in `submit`.
            envs: the names of environments. When None, they are those that kfgcp.toml names for the
                pipeline, else the default one.
            all_envs: check for all environments of kfgcp.toml instead.
            server: the version of the servers of Kubeflow Pipelines, such as `2.14.0`; "" for the
                version that kfgcp has seen last, else the newest one.
            select: ids (`V203`) and families (`V`) of the only rules to apply; all when empty.
            ignore: ids and families of rules to leave out.
            params: values of parameters; the others have their defaults.

        Raises:
            UsageError: a rule does not exist, or `server` is not a version.
            ConfigError: there is no such environment.
            SpecError: the pipeline does not compile or is not a valid spec.
            ParamError: a parameter is unknown or of the wrong type.

        Example::

            kfgcp.check("pipelines/churn.py", ["local", "dev"]).runs_on("dev")
        """
        from kfgcp.tracking import pipelines
        from kfgcp.tracking.check import CheckOptions, check, choose_envs

        entry = pipelines.find_entry(self, pipeline)
        names = choose_envs(self.project, as_list(envs or ()), all_envs=all_envs, entry=entry)
        options = CheckOptions(
            server=server, select=as_list(select), ignore=as_list(ignore), params=params or {}
        )
        spec = pipelines.load_pipeline(self, pipeline, names[0])
        return check(self.project, spec, names, options, self.recorded_store)

    def diff(self, before: Pipeline, after: Pipeline, env: str | None = None) -> Diff:
        """Return what differs between two pipelines.

        Args:
            before: the name of a pipeline in kfgcp.toml, a file, a run, the version of a run
                (`sha256:` and at least 8 digits), or a version in a registry (`NAME@TAG`).
            after: the same.
            env: the environment whose registry has a version; the default one when None.

        Raises:
            UsageError: one of them is not a file, run or version, or could be several.
            SpecError: one of them does not compile, or is not a valid spec.

        Example::

            kfgcp.diff("a1b2", "pipelines/churn.py").changes
        """
        from kfgcp.tracking.pipelines import diff

        return diff(self, before, after, env)

    def doctor(
        self,
        env: str | None = None,
        pipeline: str | Path | Spec | None = None,
        *,
        notice: Callable[[Finding], None] = lambda finding: None,
    ) -> list[Finding]:
        """Check everything that a run needs, in order, and stop at the first problem.

        Args:
            env: the environment; the default one when None.
            pipeline: a pipeline to submit. Its images are checked, too.
            notice: called with each finding, as soon as its check has ended.

        Returns:
            The findings. When there is a problem, the last one says what to do.

        Raises:
            SpecError: the pipeline does not compile or is not a valid spec.

        Example::

            kfgcp.doctor("dev")[-1].ok
            # True
        """
        from kfgcp.backends.diagnose import diagnose
        from kfgcp.deploy.images.pins import doctor_checks
        from kfgcp.spec.graph import build

        images = None
        if isinstance(pipeline, (str, Path)):
            pipeline = self.load_pipeline(pipeline, env)
        if pipeline is not None:
            images = build(pipeline.pipeline_spec).images

        def image_checks(environment: Environment) -> Sequence[Check]:
            return doctor_checks(images or (), self.project, environment)

        findings = []
        for finding in diagnose(lambda: self.project, env, images, image_checks):
            notice(finding)
            findings.append(finding)
        return findings

    def dashboard(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8501,
        read_only: bool = False,
        browser: bool = True,
    ) -> None:
        """Serve the dashboard of the project until it is interrupted.

        Args:
            host: the address to listen on. An address other than loopback needs a way to identify
                users.
            port: the port to listen on, 0 for a free one.
            read_only: nobody can start, cancel, rerun or annotate runs.
            browser: open the dashboard in a browser, if there is one.

        Raises:
            UsageError: the port is in use, or users could open the dashboard without a sign-in.
            MissingExtra: Streamlit is not installed.

        Example::

            kfgcp.dashboard(port=8600, read_only=True)
        """
        # The dashboard is a program that imports `Workspace`. An import statement here would be a
        # circular import, so the server is imported by its name.
        server = import_module("kfgcp_dashboard.server")
        server.serve(self, host=host, port=port, read_only=read_only, browser=browser)

    @staticmethod
    def init(folder: str | Path = ".", *, template: str | None = None) -> Scaffold:
        """Start a new project in a folder, with a pipeline that runs at once.

        Args:
            folder: the folder, which is created when it is missing.
            template: the name of a template, see `templates`; None for the smallest project.

        Raises:
            UsageError: a file of the new project already exists, or kfgcp has no template
                with this name. Nothing was written.

        Example::

            kfgcp.init("churn", template="train-gate-register").files
        """
        from kfgcp.scaffold import scaffold

        return scaffold(Path(folder), template)

    @staticmethod
    def templates() -> list[Template]:
        """Return the templates of new projects, in the order in which a newcomer learns them.

        Example::

            [template.name for template in kfgcp.templates()]
        """
        from kfgcp.project_templates import all_templates

        return all_templates()

    def import_env(
        self, name: str, outputs: str, *, key: str | None = None, replace: bool = False
    ) -> Imported:
        """Write an environment from the outputs of Terraform into kfgcp.toml.

        The workspace keeps the configuration that it has read. To use the new environment, open
        the workspace again.

        Args:
            name: the name of the environment.
            outputs: what `terraform output -json` printed in a folder of terraform/envs.
            key: the key of the environment in the outputs; `name` when None.
            replace: replace an existing environment with this name. Its comments stay.

        Raises:
            UsageError: the outputs are not those of Terraform, or the name is taken.
            ConfigError: kfgcp.toml is not valid, before or afterwards. Nothing was written.

        Example::

            kfgcp.import_env("dev", Path("outputs.json").read_text()).file
        """
        from kfgcp.environments import import_environment

        file = self.project.file or self.project.root / FILE_NAME
        return import_environment(file, name, outputs, key=key, replace=replace)
