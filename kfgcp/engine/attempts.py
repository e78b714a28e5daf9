"""Make the attempts of a run: their commands or functions, variables and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfgcp.engine import cluster, orphans
from kfgcp.engine.executors.base import Attempt, Command, TaskException
from kfgcp.engine.layout import Layout
from kfgcp.engine.settings import EngineSettings
from kfgcp.options import RunOptions
from kfgcp.semantics import arguments
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.placeholders import fill_constant
from kfgcp.spec.graph import Container
from kfgcp.spec.lightweight import Lightweight, recognise


class Attempts:
    """Makes the attempts of one run.

    Args:
        layout: where the run keeps its files.
        options: the user's options, which each attempt carries to its executor.
        settings: the settings of the backend.
        now: when the run was made, as a timestamp for the placeholders.
    """

    def __init__(
        self, layout: Layout, options: RunOptions, settings: EngineSettings, now: str
    ) -> None:
        self._layout = layout
        self._options = options
        self._submit_dir = settings.submit_dir
        self._functions: dict[int, Lightweight | None] = {}
        # Both contain the pipeline's name, whatever the run is called, as KFP's own end-to-end
        # pipelines expect.
        job_name = f"{layout.pipeline}-{layout.run_id}"
        self._job = {
            "pipeline_job_name": job_name,
            "pipeline_job_resource_name": f"local/{job_name}",
            "pipeline_job_uuid": layout.run_id,
            "pipeline_job_create_time_utc": now,
            "pipeline_job_schedule_time_utc": now,
            "pipeline_root": layout.root or str(layout.home / "artifacts"),
            "workspace_path": str(layout.workspace),
        }

    def constants(self, node: Node) -> Mapping[str, str]:
        """Return the values of the placeholders of the job and of a task."""
        return self._job | {
            "pipeline_task_name": node.task.key if node.task else "",
            "pipeline_task_uuid": f"{self._layout.run_id}/{node.path}",
        }

    def make(self, attempt_id: int, node: Node, executor_input: dict[str, Any]) -> Attempt:
        """Return the next attempt of a node, with its ExecutorInput.

        Raises:
            ValueProblem: the task needs something of a cluster that is not here, or its arguments
                cannot be filled in.
        """
        container = node.component.executor
        assert isinstance(container, Container)
        work = self._work(container, node, executor_input)
        component_variables = self._component_variables(container, node, executor_input)
        env = {
            orphans.MARK: self._layout.run_id,
            "KFGCP_TASK": node.path,
            "KFGCP_SUBMIT_DIR": self._submit_dir,
        }
        env |= cluster.variables(container.cluster)
        env |= component_variables
        return Attempt(
            id=attempt_id,
            work=work,
            executor_input=executor_input,
            options=self._options,
            env=env,
            scratch=self._layout.working_folder(attempt_id),
            log=self._layout.log(node.path, node.attempts),
            remote=self._layout.remote,
            mounts=cluster.folders(container.cluster, in_container=isinstance(work, Command)),
        )

    def hint(self, node: Node, exception: TaskException | None) -> str:
        """Return what the user can do about an exception of a task, "" when that is not known."""
        if exception is None:
            return ""
        # Only failed tasks need these modules.
        from kfgcp.engine.hints import TaskPlace, hint_for

        container = node.component.executor
        assert isinstance(container, Container)
        in_container = self._options.executor == "docker" or self._function(container) is None
        place = TaskPlace(container.image, in_container, self._submit_dir, node.inputs.params)
        return hint_for(exception, place)

    def _component_variables(
        self, container: Container, node: Node, executor_input: Mapping[str, Any]
    ) -> dict[str, str]:
        """Return the variables that the component sets, which may name inputs."""
        params = executor_input["inputs"]["parameterValues"]
        constants = self.constants(node)
        variables: dict[str, str] = {}
        for name, value in container.env.items():
            filled = fill_constant({name: value}, params, constants, f"the variable {name}")
            variables[name] = filled[name]
        return variables

    def _function(self, container: Container) -> Lightweight | None:
        """Return the function of a component, None when it is not a lightweight component.

        Many tasks have the same container, and parsing its command takes time.
        """
        if id(container) not in self._functions:
            self._functions[id(container)] = recognise(container)
        return self._functions[id(container)]

    def _work(
        self, container: Container, node: Node, executor_input: dict[str, Any]
    ) -> Lightweight | Command:
        function = self._function(container)
        if function is not None and self._options.executor != "docker":
            return function
        constants = self.constants(node)
        params = executor_input["inputs"]["parameterValues"]
        words = container.command + container.args
        argv = arguments.resolve(words, executor_input, constants)
        # set_container_image and set_memory_limit, for example, may name inputs.
        filled = fill_constant(
            {"image": container.image, "resources": dict(container.resources)},
            params,
            constants,
            "the container",
        )
        return Command(filled["image"], tuple(argv), filled["resources"])
