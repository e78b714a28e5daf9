"""The methods of `Workspace` that start runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

from kfgcp.tracking import lookup
from kfgcp.tracking.choose import check_timeout
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.lookup import RunLike
from kfgcp.workspace.run_methods import RunMethods

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords
    from kfgcp.options import RunOptions
    from kfgcp.tracking.dry_run import DryRun
    from kfgcp.tracking.pipelines import PipelineLike
    from kfgcp.tracking.submit import Preview


class StartMethods(RunMethods):
    """The part of `Workspace` that starts, repeats and continues runs."""

    def submit(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        smoke: bool = False,
        in_process: bool = False,
        **changes: Unpack[OptionKeywords],
    ) -> RunHandle:
        """Start a run, and return without waiting for its end.

        Args:
            pipeline: the name of a pipeline in kfgcp.toml, `file.py`, `file.py:function`, a
                compiled `.yaml` or `.json`, the address of a version in Artifact Registry, a
                pipeline or component of KFP (a function with its decorator), or what `compile`
                returned.
            options: how to run it.
            params: values of the pipeline's parameters; the others have the values in kfgcp.toml,
                else their defaults.
            smoke: use the parameters of the smoke run in kfgcp.toml.
            in_process: execute a local run in a thread of this process. The process then does not
                end before the run has ended. Otherwise the run has a process of its own and
                continues when this process ends. Remote runs always continue.
            changes: options as keywords, see `RunOptions`. They override `options`.

        Returns:
            The new run. The warning `NotHeeded` names each part that the backend leaves out.

        Raises:
            UsageError: an option does not exist or has a wrong value.
            SpecError: the pipeline does not compile or is not a valid spec.
            ParamError: a parameter is unknown, missing or of the wrong type.
            BackendError: the backend refused it or cannot be reached.

        Example::

            run = kfgcp.submit("pipelines/churn.py", env="dev", params={"learning_rate": 0.1})
        """
        from kfgcp.tracking import submit

        combined = submit.combine(options, changes)
        backend, request = submit.prepare(self, pipeline, params, combined, smoke=smoke)
        return submit.start(self, backend, request, in_process=in_process)

    def run(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        smoke: bool = False,
        timeout: float | None = None,
        check: bool = True,
        **changes: Unpack[OptionKeywords],
    ) -> RunHandle:
        """Start a run, and wait for its end: `submit(...).wait(timeout, check=check)`.

        Args:
            pipeline: as in `submit`.
            options: how to run it.
            params: values of the pipeline's parameters; the others have the values in kfgcp.toml,
                else their defaults.
            smoke: use the parameters of the smoke run in kfgcp.toml.
            timeout: seconds to wait; None waits for ever.
            check: raise an error unless the run succeeded.
            changes: options as keywords, see `RunOptions`. They override `options`.

        Returns:
            The run, which has ended.

        Raises:
            RunFailed: the run ended FAILED or CANCELLED, and `check` is True.
            RunTimeout: the run has not ended after `timeout` seconds. It continues.
            KfgcpError: the errors of `submit`.

        Example::

            kfgcp.run("pipelines/churn.py", params={"learning_rate": 0.1}, timeout=3600).metrics
        """
        check_timeout(timeout)
        handle = self.submit(pipeline, options, params=params, smoke=smoke, **changes)
        return handle.wait(timeout, check=check)

    def preview(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        smoke: bool = False,
        **changes: Unpack[OptionKeywords],
    ) -> Preview:
        """Return what `submit` would send with the same arguments, without starting a run.

        The errors are those of `submit`.

        Example::

            kfgcp.Workspace.default().preview("pipelines/churn.py", env="dev").notes
        """
        from kfgcp.tracking import submit

        combined = submit.combine(options, changes)
        backend, request = submit.prepare(self, pipeline, params, combined, smoke=smoke)
        return submit.Preview(request, submit.notes_of(self, backend, request))

    def dry_run(
        self,
        pipeline: PipelineLike,
        options: RunOptions | None = None,
        *,
        params: Mapping[str, object] | None = None,
        smoke: bool = False,
        **changes: Unpack[OptionKeywords],
    ) -> DryRun:
        """Return the request that `submit` would send, and what the rules say. Send nothing.

        Args:
            pipeline: as in `submit`.
            options: how to run it.
            params: values of the pipeline's parameters; the others have the values in kfgcp.toml,
                else their defaults.
            smoke: use the parameters of the smoke run in kfgcp.toml.
            changes: options as keywords, see `RunOptions`. They override `options`.

        Raises:
            UsageError: an option does not exist or has a wrong value.
            SpecError: the pipeline does not compile or is not a valid spec.
            ParamError: a parameter is unknown, missing or of the wrong type.
            Unsupported: the backend would refuse the request for a reason that is not a rule.

        Example::

            kfgcp.dry_run("pipelines/churn.py", env="dev").request["runtimeConfig"]
        """
        from kfgcp.tracking import dry_run, submit

        combined = submit.combine(options, changes)
        backend, request = submit.prepare(self, pipeline, params, combined, smoke=smoke)
        return dry_run.dry_run(self, backend, request)

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

        A task with the same code and inputs as in the first run takes its outputs from there. The
        new run uses the code that was recorded with the first run. When the files of the pipeline
        were edited since then, the warning `RecordedCode` says so.

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

        Example::

            kfgcp.rerun("a1b2", from_task="train", params={"learning_rate": 0.01})
        """
        from kfgcp.tracking import submit

        check_timeout(timeout)
        workspace = lookup.workspace_of(self, run)
        backend, request = submit.prepare_repetition(workspace, run, from_task, params, changes)
        handle = submit.start(workspace, backend, request, in_process=in_process)
        if not wait:
            return handle
        return handle.wait(timeout, check=check)

    def resume(
        self,
        run: RunLike = "latest",
        *,
        wait: bool = True,
        timeout: float | None = None,
        check: bool = True,
        in_process: bool = False,
    ) -> RunHandle:
        """Continue an interrupted run of this machine, and wait for its end.

        Finished tasks do not run again.

        Args:
            run: the run to continue.
            wait: wait for its end; otherwise return at once.
            timeout: seconds to wait, see `RunHandle.wait`.
            check: raise an error unless the run succeeds.
            in_process: as in `submit`.

        Raises:
            UsageError: the run has ended, or another process executes it.
            Unsupported: the run is not on this machine.
            RunFailed: the run ended FAILED or CANCELLED, and `check` is True.

        Example::

            kfgcp.resume("a1b2").state
        """
        from kfgcp.tracking import submit

        check_timeout(timeout)
        interrupted = self.show(run)
        handle = submit.resume(interrupted.workspace, interrupted, in_process=in_process)
        if not wait:
            return handle
        return handle.wait(timeout, check=check)

    def retry(
        self,
        run: RunLike = "latest",
        *,
        wait: bool = True,
        timeout: float | None = None,
        check: bool = True,
    ) -> RunHandle:
        """Continue a failed or cancelled run, and wait for its end.

        Tasks that succeeded do not run again. The run keeps its id; `rerun` starts a new run.

        Args:
            run: the run to continue.
            wait: wait for its end; otherwise return at once.
            timeout: seconds to wait, see `RunHandle.wait`.
            check: raise an error unless the run succeeds this time.

        Raises:
            UsageError: the run has not ended, or it succeeded.
            Unsupported: the backend cannot continue runs.
            RunFailed: the run ended FAILED or CANCELLED again, and `check` is True.

        Example::

            kfgcp.retry("a1b2", timeout=3600).state
        """
        check_timeout(timeout)
        handle = self.show(run).retry()
        if not wait:
            return handle
        return handle.wait(timeout, check=check)
