"""What an attempt is made of: its command or function, its variables, its folders, and the
constants of its job."""

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
        settings: what the backend tells the engine.
        now: when it was made, for the placeholders.
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
        """The values of the placeholders of the job and of a task."""
        return self._job | {
            "pipeline_task_name": node.task.key if node.task else "",
            "pipeline_task_uuid": f"{self._layout.run_id}/{node.path}",
        }

    def make(self, attempt_id: int, node: Node, wire: dict[str, Any]) -> Attempt:
        """The next attempt of a node, with its ExecutorInput.

        Raises:
            ValueProblem: something that it needs of a cluster is not here, or its arguments cannot
                be filled in.
        """
        container = node.component.executor
        assert isinstance(container, Container)
        work = self._work(container, node, wire)
        params = wire["inputs"]["parameterValues"]
        constants = self.constants(node)
        env = {
            name: fill_constant({name: value}, params, constants, f"the variable {name}")[name]
            for name, value in container.env.items()
        }
        return Attempt(
            id=attempt_id,
            work=work,
            executor_input=wire,
            options=self._options,
            env={
                orphans.MARK: self._layout.run_id,
                "KFGCP_TASK": node.path,
                "KFGCP_SUBMIT_DIR": self._submit_dir,
                **cluster.variables(container.cluster),
                **env,
            },
            scratch=self._layout.working_folder(attempt_id),
            log=self._layout.log(node.path, node.attempts),
            remote=self._layout.remote,
            mounts=cluster.folders(container.cluster, in_container=isinstance(work, Command)),
        )

    def hint(self, node: Node, exception: TaskException | None) -> str:
        """Return what the user can do about an exception of a task, "" for an unknown one or
        none."""
        if exception is None:
            return ""
        from kfgcp.engine.hints import TaskPlace, hint_for  # only failed tasks need these modules

        container = node.component.executor
        assert isinstance(container, Container)
        in_container = self._options.executor == "docker" or self._function(container) is None
        place = TaskPlace(container.image, in_container, self._submit_dir, node.inputs.params)
        return hint_for(exception, place)

    def _function(self, container: Container) -> Lightweight | None:
        if id(container) not in self._functions:
            self._functions[id(container)] = recognise(container)
        return self._functions[id(container)]

    def _work(
        self, container: Container, node: Node, wire: dict[str, Any]
    ) -> Lightweight | Command:
        function = self._function(container)
        if function is not None and self._options.executor != "docker":
            return function
        constants = self.constants(node)
        params = wire["inputs"]["parameterValues"]
        argv = arguments.resolve((*container.command, *container.args), wire, constants)
        # set_container_image and set_memory_limit, for example, may name inputs.
        place = fill_constant(
            {"image": container.image, "resources": dict(container.resources)},
            params,
            constants,
            "the container",
        )
        return Command(place["image"], tuple(argv), place["resources"])
