"""A workspace: one project with its store and its backends. Every verb of kfgcp is a method of
it."""

from __future__ import annotations

import builtins
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, Unpack

from kfgcp.backends.base import Deleted, LogFilter, LogLine
from kfgcp.config import FILE_NAME
from kfgcp.errors import KfgcpError, UsageError
from kfgcp.event import Event
from kfgcp.model import Run
from kfgcp.query import RunFilter
from kfgcp.spec.load import Spec, load
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.tracking import collect, lookup, pipelines
from kfgcp.tracking.choose import Choice, check_timeout, several
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.pipelines import Diff, Pipeline, PipelineLike

if TYPE_CHECKING:
    import pandas

    from kfgcp.diagnosis.checks import Finding
    from kfgcp.environments import Imported
    from kfgcp.option_keywords import OptionKeywords
    from kfgcp.options import RunOptions
    from kfgcp.scaffold import Scaffold
    from kfgcp.tracking.compare import Comparison
    from kfgcp.tracking.frames import Table
    from kfgcp.tracking.submit import Plan
    from kfgcp.tracking.update_batches import Update

_guard: Final = threading.Lock()


class Workspace(OpenProject):
    """One project: the configuration in its kfgcp.toml, the store of its runs, and its backends.

    Runs that a workspace returns belong to it, also after the current folder changes. Two
    workspaces in one program do not affect each other. Several threads can use the same workspace.

    Attributes:
        project: the configuration.
        store: the index of the runs of all environments.

    Example:
        >>> with kfgcp.Workspace.open("../other") as other:
        ...     other.run("pipelines/churn.py", params={"lr": 0.1}).metrics
    """

    @classmethod
    def open(cls, path: str | Path | None = None) -> Self:
        """Open the project of a folder.

        Args:
            path: the folder, or a kfgcp.toml. The project is that of the nearest kfgcp.toml, from
                the folder upwards; without one, it has the single environment `local`. None is the
                current folder.

        Raises:
            UsageError: there is no such folder.
            ConfigError: kfgcp.toml cannot be read or is not valid.
            StateError: the state folder cannot be used, or was written by a newer kfgcp.

        Example:
            >>> workspace = kfgcp.Workspace.open("../other")
            >>> workspace.list(limit=10)
        """
        workspace = cls(None if path is None else _folder_of(Path(path)))
        _ = workspace.project
        _ = workspace.recorded_store
        return workspace

    @staticmethod
    def default() -> Workspace:
        """Return the workspace of the current folder, which the functions of `kfgcp` use.

        Calls return the same workspace until something changes, see `renewed`.
        """
        global _default
        with _guard:
            _default = (_default or Workspace()).renewed()
            with suppress(KfgcpError):  # raised again by the verb that needs the configuration
                _ = _default.project
            return _default

    def renewed(self) -> Workspace:
        """Return this workspace, or a new one when something has changed.

        Something has changed when kfgcp.toml or a variable has another value, the state folder was
        replaced, or the workspace was closed. A workspace that was opened without a folder follows
        the current folder. A kfgcp.toml that is not valid is an error when it is needed, not here.
        """
        latest = Workspace(self._folder)
        if self._is_closed:
            return latest
        if self._project is None:
            return self
        try:
            is_same = latest.project == self._project
        except KfgcpError:
            return latest
        return self if is_same and self.is_current else latest

    # -- start runs

    def submit(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        in_process: bool = False,
        **changes: Unpack[OptionKeywords],
    ) -> RunHandle:
        """Start a run, and return without waiting for its end.

        Args:
            pipeline: `file.py`, `file.py:function`, a compiled `.yaml` or `.json`, the address of a
                version in Artifact Registry, a pipeline or component of KFP (a function with its
                decorator), or what `compile` returned.
            options: how to run it.
            params: values of the pipeline's parameters; the others have their defaults.
            in_process: execute a run of this machine in a thread of this process, which then waits
                for the end of the run before it ends. Otherwise the run has a process of its own
                and continues when this process ends. Runs elsewhere always continue.
            changes: options as keywords, see `RunOptions`. They win over `options`.

        Returns:
            The run that was started. The warning `NotHeeded` names what the backend leaves out.

        Raises:
            UsageError: an option does not exist or has a wrong value.
            SpecError: the pipeline does not compile or is not a valid spec.
            ParamError: a parameter is unknown, missing or of the wrong type.
            BackendError: the backend refused it or cannot be reached.

        Example:
            >>> run = kfgcp.submit("pipelines/churn.py", env="dev", params={"learning_rate": 0.1})
        """
        from kfgcp.tracking import submit

        chosen = submit.combine(options, changes)
        return submit.start(
            self, *submit.prepare(self, pipeline, params, chosen), in_process=in_process
        )

    def run(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        check: bool = True,
        **changes: Unpack[OptionKeywords],
    ) -> RunHandle:
        """Submit a pipeline and wait until its run has ended: `submit(...).wait(timeout,
        check=check)`.

        Args:
            pipeline: as in `submit`.
            options: how to run it.
            params: values of the pipeline's parameters; the others have their defaults.
            timeout: seconds to wait; None waits for ever.
            check: raise an error unless the run succeeded.
            changes: options as keywords, see `RunOptions`. They win over `options`.

        Returns:
            The run, which has ended.

        Raises:
            RunFailed: the run ended FAILED or CANCELLED, and `check` is True.
            RunTimeout: the run has not ended after `timeout` seconds. It continues.
            KfgcpError: the errors of `submit`.

        Example:
            >>> kfgcp.run("pipelines/churn.py", params={"learning_rate": 0.1}, timeout=3600).metrics
        """
        check_timeout(timeout)
        return self.submit(pipeline, options, params=params, **changes).wait(timeout, check=check)

    def plan(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        **changes: Unpack[OptionKeywords],
    ) -> Plan:
        """Return what `submit` would send with the same arguments. Nothing is started; the errors
        are the same.

        Example:
            >>> kfgcp.Workspace.default().plan("pipelines/churn.py", env="dev").notes
        """
        from kfgcp.tracking import submit

        chosen = submit.combine(options, changes)
        backend, request = submit.prepare(self, pipeline, params, chosen)
        return submit.Plan(request, backend.notes(request))

    def rerun(
        self,
        run: RunLike = "latest",
        *,
        from_task: str | None = None,
        params: Mapping[str, object] | None = None,
        wait: bool = True,
        timeout: float | None = None,
        check: bool = True,
        in_process: bool = False,
        **changes: Unpack[OptionKeywords],
    ) -> RunHandle:
        """Repeat a run as a new run, and wait for its end.

        Tasks whose code and inputs are the same take their outputs from the first run. The new run
        repeats the code that was recorded with the first run. The warning `RecordedCode` says so
        when the pipeline's files were edited since.

        Args:
            run: the run to repeat.
            from_task: the path of a task. This task and all tasks that depend on it run again.
            params: parameters to change; the others have the values of the run.
            wait: wait for the end of the new run; otherwise return when it has started.
            timeout: seconds to wait, see `RunHandle.wait`.
            check: raise an error unless the new run succeeds.
            in_process: as in `submit`.
            changes: options to change, see `RunOptions`; the others are those of the run, except
                `name`.

        Returns:
            The new run.

        Raises:
            UsageError: the run has no such task, or an option does not exist or has a wrong value.
            RunFailed: the new run ended FAILED or CANCELLED, and `check` is True.

        Example:
            >>> kfgcp.rerun("a1b2", from_task="train", params={"learning_rate": 0.01})
        """
        from kfgcp.tracking import submit

        check_timeout(timeout)
        workspace = lookup.workspace_of(self, run)
        prepared = submit.prepare_repetition(workspace, run, from_task, params, changes)
        handle = submit.start(workspace, *prepared, in_process=in_process)
        return handle.wait(timeout, check=check) if wait else handle

    def resume(
        self,
        run: RunLike = "latest",
        *,
        wait: bool = True,
        timeout: float | None = None,
        check: bool = True,
        in_process: bool = False,
    ) -> RunHandle:
        """Continue an interrupted run of this machine, and wait for its end. Finished tasks do not
        run again.

        Args:
            run: the run to continue.
            wait: wait for its end; otherwise return at once.
            timeout: seconds to wait, see `RunHandle.wait`.
            check: raise an error unless the run succeeds.
            in_process: as in `submit`.

        Raises:
            UsageError: it has ended, or is still running elsewhere.
            Unsupported: it is a run of another backend, which does not stop with a process of this
                machine.
            RunFailed: it ended FAILED or CANCELLED, and `check` is True.

        Example:
            >>> kfgcp.resume("a1b2").state
        """
        from kfgcp.tracking import submit

        check_timeout(timeout)
        interrupted = self.show(run)
        handle = submit.resume(interrupted.workspace, interrupted, in_process=in_process)
        return handle.wait(timeout, check=check) if wait else handle

    def retry(
        self,
        run: RunLike = "latest",
        *,
        wait: bool = True,
        timeout: float | None = None,
        check: bool = True,
    ) -> RunHandle:
        """Continue a failed or cancelled run, and wait for its end. Tasks that succeeded do not run
        again.

        It stays the same run; `rerun` starts a new one.

        Args:
            run: the run to continue.
            wait: wait for its end; otherwise return at once.
            timeout: seconds to wait, see `RunHandle.wait`.
            check: raise an error unless the run succeeds this time.

        Raises:
            UsageError: the run has not ended, or it succeeded.
            Unsupported: the backend cannot continue runs.
            RunFailed: it ended FAILED or CANCELLED again, and `check` is True.

        Example:
            >>> kfgcp.retry("a1b2", timeout=3600).state
        """
        check_timeout(timeout)
        handle = self.show(run).retry()
        return handle.wait(timeout, check=check) if wait else handle

    # -- one run

    def show(self, run: RunLike = "latest") -> RunHandle:
        """Look a run up, and read it as it is now.

        Args:
            run: its id, the beginning of one, its name, or `latest`.

        Returns:
            The run. The warning `NotWhole` says when a part of the run cannot be read now.

        Raises:
            UsageError: there is no such run, or more than one.

        Example:
            >>> kfgcp.show("a1b2").metrics
        """
        return lookup.show(self, run)

    def events(self, run: RunLike = "latest") -> builtins.list[Event]:
        """Read a run, and return what happened to it.

        Args:
            run: the run.

        Returns:
            The events in the order of the facts: within a task, and between a task and those that
                depend
            on it. Tasks that ran at the same time may be in any order. A run that an earlier
            version of kfgcp recorded has no events of that time.

        Raises:
            UsageError: there is no such run, or more than one.

        Example:
            >>> [event.kind.value for event in kfgcp.events("a1b2")]
            ['run.created', 'run.started', 'task.started', 'task.succeeded', 'run.succeeded']
        """
        return self.show(run).events()

    def logs(
        self,
        run: RunLike = "latest",
        task: str | None = None,
        attempt: int | None = None,
        *,
        since: str | None = None,
        severity: str | None = None,
        all_lines: bool = False,
    ) -> Iterator[LogLine]:
        """Return the lines that a run's tasks wrote so far. Arguments as in `RunHandle.logs`.

        Example:
            >>> for line in kfgcp.logs("a1b2", "train", since="10m"):
            ...     print(line.text)
        """
        handle = lookup.look(self, run)
        return handle.logs(task, attempt, since=since, severity=severity, all_lines=all_lines)

    def watch(
        self,
        run: RunLike = "latest",
        *,
        logs: bool | LogFilter = True,
        notice: Callable[[str], None] = lambda text: None,
    ) -> Iterator[Update]:
        """Return what happens in a run until it has ended, several updates at a time.

        `RunHandle.updates` gives each update alone, in the order in which things happened.

        Args:
            run: the run to follow.
            logs: which lines; False for none.
            notice: called with a line of text when the backend cannot be reached, and when it can
                again.

        Example:
            >>> for update in kfgcp.watch("a1b2"):
            ...     print(update.run.state, [task.path for task in update.tasks])
        """
        from kfgcp.tracking.update_batches import in_batches

        handle = run if isinstance(run, RunHandle) else self.show(run)
        return in_batches(handle.updates(logs=logs, notice=notice))

    def cancel(self, run: RunLike = "latest") -> RunHandle:
        """Ask a run to end. A run that has ended stays as it is.

        Example:
            >>> kfgcp.cancel("a1b2").wait(check=False)
        """
        return self.show(run).cancel()

    def delete(self, run: RunLike) -> Deleted:
        """Delete a run that has ended, on its backend and here, with its logs and artifacts in the
        state folder.

        Files that another run uses are kept until the last such run is deleted: a task that was
        CACHED has the files and the log of the task that ran.

        Returns:
            What was kept, and for which runs.

        Raises:
            UsageError: the run has not ended.

        Example:
            >>> kfgcp.delete("a1b2").kept_files
        """
        return lookup.look(self, run).delete()

    def tag(
        self, run: RunLike = "latest", *tags: str, remove: str | Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Add tags to a run, remove others, and return all its tags, sorted.

        Args:
            run: the run.
            tags: words to add: at most 64 characters each, without blanks and commas.
            remove: words to remove. A word that the run does not have is not an error.

        Raises:
            UsageError: a tag is not such a word, or there is no such run.

        Example:
            >>> kfgcp.tag("a1b2", "good", remove="candidate")
            ('good',)
        """
        store = lookup.workspace_of(self, run).store
        return store.tag(lookup.id_of(self, run), tags, remove=several(remove))

    def note(self, run: RunLike = "latest", text: str | None = None) -> str:
        """Write the note of a run, and return it.

        Args:
            run: the run.
            text: the new note, which may have several lines. "" removes the note. None does not
                change it.

        Raises:
            UsageError: there is no such run.

        Example:
            >>> kfgcp.note("a1b2", "The learning rate was too high.")
            'The learning rate was too high.'
        """
        store = lookup.workspace_of(self, run).store
        run_id = lookup.id_of(self, run)
        if text is not None:
            store.note(run_id, text.strip())
        return store.get(run_id, whole=False).note

    def spec_of(self, run: RunLike = "latest") -> Spec:
        """Return the pipeline of a run, as it was recorded.

        Raises:
            UsageError: there is no such run, or its backend did not give its pipeline.
        """
        if isinstance(run, Run):
            return pipelines.spec_of(self, run)
        handle = self.show(run)
        return pipelines.spec_of(handle.workspace, handle.snapshot)

    def deleted_artifacts(self, run: RunHandle) -> set[str]:
        """Return the URIs of a run's artifacts that were files on this machine and have been
        deleted."""
        from kfgcp.engine.stored_outputs import deleted_files

        outcomes = run.workspace.store.outcomes(run.run_id).values()
        return {
            Path(path).as_uri() for outcome in outcomes for path in deleted_files(outcome.outputs)
        }

    # -- many runs

    def list(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        metrics: bool = True,
        order: str = NEWEST_FIRST,
        **choice: Unpack[Choice],
    ) -> builtins.list[Run]:
        """Return runs of all environments, without their tasks and artifacts, whoever started them.

        Args:
            where: an expression; or a filter, which cannot be combined with `choice`.
            limit: the largest number of runs; None for all.
            refresh: read from remote backends what has changed. A backend that cannot be reached is
                an error when its environment was asked for. Otherwise it is the warning
                `NotRefreshed`, and its runs are listed as they were last seen.
            metrics: read the metrics of ended runs also where this takes several requests for each
                run, as on Kubeflow. `unread` tells for which runs they were not read.
            order: a name as in expressions, and `asc` or `desc`: `metrics.evaluate.accuracy desc`.
            choice: fields of `Choice`.

        Raises:
            UsageError: the expression or the order cannot be read, or an option does not exist or
                has a wrong value.

        Example:
            >>> kfgcp.list("metrics.evaluate.accuracy > 0.9", experiment="churn", since="7d", limit=10)
        """
        run_filter = collect.filter_of(where, limit, choice)
        return collect.list_runs(
            self, run_filter, limit, refresh=refresh, metrics=metrics, order=order
        )

    def unread(self, runs: Sequence[Run]) -> set[str]:
        """Return the ids of the ended runs that were only listed: their metrics and outputs are not
        known."""
        return collect.unread_runs(self, runs)

    def runs(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return runs as a frame, newest first: a row for each run.

        Args:
            where: an expression; or a filter, which cannot be combined with `choice`.
            limit: the largest number of runs; None for all.
            refresh: as in `list`.
            choice: fields of `Choice`.

        Returns:
            A frame with columns for the facts of a run, `params.*` and `metrics.<task>.<name>`.

        Raises:
            MissingExtra: pandas is not installed.
            UsageError: the expression cannot be read.

        Example:
            >>> kfgcp.runs(experiment="churn", state="SUCCEEDED", since="7d")
        """
        run_filter = collect.filter_of(where, limit, choice)
        return collect.frame(self, "runs", run_filter, limit, refresh=refresh)

    def metrics(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the metrics of runs as a frame: run_id, task, artifact, name, value. Arguments as
        in `runs`.

        Example:
            >>> kfgcp.metrics(experiment="churn").pivot(index="run_id", columns="name", values="value")
        """
        run_filter = collect.filter_of(where, limit, choice)
        return collect.frame(self, "metrics", run_filter, limit, refresh=refresh)

    def tasks(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the tasks of runs as a frame, a row for each task. Arguments as in `runs`.

        Returns:
            A frame with run_id, path, kind, state, attempts, cached, cache_reason, started_at,
            ended_at, seconds, inputs and outputs as JSON text, error.

        Example:
            >>> kfgcp.tasks(pipeline="churn").groupby("path").seconds.mean()
        """
        run_filter = collect.filter_of(where, limit, choice)
        return collect.frame(self, "tasks", run_filter, limit, refresh=refresh)

    def artifacts(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the artifacts of runs as a frame: run_id, task, name, type, uri, metadata as JSON
        text.

        Arguments as in `runs`.

        Example:
            >>> kfgcp.artifacts("tags == 'good'", pipeline="churn").uri
        """
        run_filter = collect.filter_of(where, limit, choice)
        return collect.frame(self, "artifacts", run_filter, limit, refresh=refresh)

    def compare(
        self,
        runs: Sequence[RunLike] = (),
        *,
        baseline: RunLike | None = None,
        goals: Mapping[str, str] | None = None,
    ) -> Comparison:
        """Return what differs between runs.

        Args:
            runs: two or more; the two newest when none are named. A run that is named twice counts
                once.
            baseline: the run that the others are measured against; the first one when None.
            goals: which value of a metric is better. A name of a metric or `task/artifact/name`,
                with `maximize` or `minimize`. It counts before `metrics` in kfgcp.toml, and before
                what names suggest.

        Raises:
            UsageError: there are fewer than two runs, or `goals` names a metric that no run has.

        Example:
            >>> print(kfgcp.compare(["a1b2", "c3d4"], goals={"cost": "minimize"}).to_markdown())
        """
        return collect.compare_runs(self, runs, baseline, goals or {})

    def export(
        self,
        runs: Sequence[RunLike] = (),
        *,
        form: str = "csv",
        file: str | Path | None = None,
        wanted: RunFilter | None = None,
        table: Table = "runs",
        raw: bool = False,
    ) -> str:
        """Write runs as CSV, JSON or Parquet, oldest first.

        Args:
            runs: the runs to export; empty for all runs that match `wanted`.
            form: csv, json or parquet.
            file: the file to write; None returns the text. Parquet needs a file.
            wanted: the filter when `runs` is empty.
            table: what a row is: a run, or a metric, task or artifact of the runs. JSON of runs
                contains whole runs.
            raw: write all texts in CSV as they are. Otherwise texts that a spreadsheet takes for
                formulas get `'` in front.

        Returns:
            The text; empty when a file was written.

        Example:
            >>> kfgcp.export(form="parquet", file="runs.parquet")
        """
        path = None if file is None else Path(file)
        return collect.export_runs(self, runs, wanted, form=form, file=path, table=table, raw=raw)

    # -- pipelines

    @staticmethod
    def compile(pipeline: PipelineLike, output: str | Path | None = None) -> Spec:
        """Compile and check a pipeline, and write it to a file when `output` is given.

        Args:
            pipeline: `file.py`, `file.py:function`, a compiled `.yaml` or `.json`, or a pipeline or
                component of KFP (a function with its decorator).
            output: a `.yaml` or `.json` file to write.

        Returns:
            The compiled pipeline, which `submit` takes too.

        Raises:
            SpecError: it does not compile or is not a valid spec.

        Example:
            >>> kfgcp.compile("pipelines/churn.py", "churn.yaml").version
        """
        spec = pipeline if isinstance(pipeline, Spec) else load(pipeline)
        if output is not None:
            from kfgcp.spec.write import write

            write(spec, Path(output))
        return spec

    def load_pipeline(self, pipeline: str | Path, env: str | None = None) -> Spec:
        """Load and check a pipeline without starting it.

        Args:
            pipeline: a file, as in `compile`, or the address of a version in Artifact Registry.
            env: the environment whose sign-in is used for Artifact Registry; the default one when
                None.

        Raises:
            SpecError: it does not compile or is not a valid spec.
            BackendError: Artifact Registry refused it or cannot be reached.
        """
        return pipelines.load_pipeline(self, pipeline, env)

    def diff(self, before: Pipeline, after: Pipeline) -> Diff:
        """Return what differs between two pipelines: files, runs, or versions (`sha256:` and 8
        digits or more).

        Raises:
            UsageError: one of them is not a file, run or version, or could be several.
            SpecError: one of them does not compile or is not a valid spec.

        Example:
            >>> kfgcp.diff("a1b2", "pipelines/churn.py").changes
        """
        return pipelines.diff(self, before, after)

    # -- the project

    def doctor(
        self,
        env: str | None = None,
        pipeline: str | Path | Spec | None = None,
        *,
        notice: Callable[[Finding], None] = lambda finding: None,
    ) -> builtins.list[Finding]:
        """Check everything that a submission needs, in order. Stop at the first problem.

        Args:
            env: the environment; the default one when None.
            pipeline: a pipeline to submit. Its images are checked, too.
            notice: called with each finding as soon as it is known.

        Returns:
            The findings. When there is a problem, the last one says what to do.

        Raises:
            SpecError: the pipeline does not compile or is not a valid spec.

        Example:
            >>> kfgcp.doctor("dev")[-1].ok
            True
        """
        from kfgcp.backends.diagnose import diagnose
        from kfgcp.spec.graph import build

        images = None
        if pipeline is not None:
            spec = (
                pipeline if isinstance(pipeline, Spec) else self.load_pipeline(str(pipeline), env)
            )
            images = build(spec.pipeline_spec).images
        findings = []
        for finding in diagnose(lambda: self.project, env, images):
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
            read_only: nobody may launch, cancel, rerun or annotate.
            browser: open the dashboard in a browser, if there is one.

        Raises:
            UsageError: the port is in use, or everybody could see the dashboard.
            MissingExtra: Streamlit is not installed.

        Example:
            >>> kfgcp.dashboard(port=8600, read_only=True)
        """
        from kfgcp_dashboard.server import serve

        serve(self, host=host, port=port, read_only=read_only, browser=browser)

    @staticmethod
    def init(folder: str | Path = ".") -> Scaffold:
        """Make a new project in a folder, with a pipeline that runs at once. Existing files stay as
        they are.

        Raises:
            UsageError: a file that it would write exists already.

        Example:
            >>> kfgcp.init("churn").files
        """
        from kfgcp.scaffold import scaffold

        return scaffold(Path(folder))

    def import_env(
        self, name: str, outputs: str, *, key: str | None = None, replace: bool = False
    ) -> Imported:
        """Write an environment into kfgcp.toml, as the outputs of Terraform have it.

        The workspace keeps the configuration that it has read. Open it again to use the
        environment.

        Args:
            name: the name of the environment.
            outputs: what `terraform output -json` printed in a folder of terraform/envs.
            key: which environment of several in the outputs; `name` when None.
            replace: replace an environment of that name. Its comments stay.

        Raises:
            UsageError: these are not such outputs, or the name is taken.
            ConfigError: kfgcp.toml is not valid, before or afterwards. Nothing was written.

        Example:
            >>> kfgcp.import_env("dev", Path("outputs.json").read_text()).file
        """
        from kfgcp.environments import import_environment

        file = self.project.file or self.project.root / FILE_NAME
        return import_environment(file, name, outputs, key=key, replace=replace)


_default: Workspace | None = None
"""The workspace that `Workspace.default` returned last."""


def function(name: str) -> Callable[..., object]:
    """Return a method of `Workspace` as a function over `Workspace.default()`.

    A method that needs no workspace is returned as it is.
    """
    method = inspect.getattr_static(Workspace, name)
    if isinstance(method, (staticmethod, classmethod)):
        bound: Callable[..., object] = getattr(Workspace, name)
        return bound

    def call(*arguments: object, **options: object) -> object:
        return method(Workspace.default(), *arguments, **options)

    functools.update_wrapper(call, method)
    signature = inspect.signature(method)
    _, *parameters = signature.parameters.values()
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__module__, call.__qualname__ = "kfgcp", name  # where pickle finds it
    return call


def _folder_of(path: Path) -> Path:
    """Return the folder that a path of a project means."""
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {path}.",
            hint="Give the folder of a project, or create a project: kfgcp init FOLDER",
        )
    return folder.absolute()
