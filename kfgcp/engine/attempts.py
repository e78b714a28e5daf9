"""Make the attempts of a run: their commands or functions, variables and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfgcp.engine import cluster, orphans
from kfgcp.engine.executors.base import Attempt, Command, TaskException
from kfgcp.engine.layout import Layout
from kfgcp.engine.secrets import Secrets
from kfgcp.engine.settings import EngineSettings
from kfgcp.options import RunOptions
from kfgcp.semantics import arguments
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.placeholders import fill_constant
from kfgcp.spec.graph import Container
from kfgcp.spec.lightweight import Lightweight, recognise


class Attempts:
    """The builder of the attempts of one run.

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
        self._secrets = Secrets(settings.secrets)
        self._functions: dict[int, Lightweight | None] = {}
        # The two names contain the name of the pipeline, not the name of the run. KFP's own
        # end-to-end pipelines expect that.
        job_name = f"{layout.pipeline}-{layout.run_id}"
        self._job_constants = {
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
        return self._job_constants | {
            "pipeline_task_name": node.task.key if node.task else "",
            "pipeline_task_uuid": f"{self._layout.run_id}/{node.path}",
        }

    def make(self, attempt_id: int, node: Node, executor_input: dict[str, Any]) -> Attempt:
        """Return the next attempt of a node.

        Args:
            attempt_id: the id of the attempt, unique in the engine.
            node: the task.
            executor_input: the ExecutorInput of the attempt, in its JSON form.

        Raises:
            ValueProblem: the task needs a variable, secret or folder of a cluster that this machine
                does not have, or the placeholders in its arguments have no value.
        """
        container = node.component.executor
        assert isinstance(container, Container)
        work = self._build_work(container, node, executor_input)
        component_variables = self._component_variables(container, node, executor_input)
        env = {
            orphans.RUN_ID_VARIABLE: self._layout.run_id,
            "KFGCP_TASK": node.path,
            "KFGCP_SUBMIT_DIR": self._submit_dir,
        }
        secrets = self._secrets.cluster_variables(container.cluster)
        env |= cluster.variables(container.cluster, known=self._secrets.covers(container.cluster))
        env |= secrets
        env |= component_variables
        return Attempt(
            id=attempt_id,
            work=work,
            executor_input=executor_input,
            options=self._options,
            env=env,
            scratch=self._layout.working_folder(attempt_id),
            log=self._layout.log(node.path, node.attempts),
            copies_folder=self._layout.copies_folder,
            mounts=cluster.folders(container.cluster, in_container=isinstance(work, Command)),
        )

    def hint(self, node: Node, exception: TaskException | None) -> str:
        """Return what the user can do about an exception of a task, "" when no hint is known."""
        if exception is None:
            return ""
        # Only failed tasks need this module, so other runs do not pay for its import.
        from kfgcp.engine.hints import TaskPlace, hint_for

        container = node.component.executor
        assert isinstance(container, Container)
        in_container = self._options.executor == "docker" or self._function(container) is None
        place = TaskPlace(container.image, in_container, self._submit_dir, node.inputs.params)
        return hint_for(exception, place)

    def _component_variables(
        self, container: Container, node: Node, executor_input: Mapping[str, Any]
    ) -> dict[str, str]:
        """Return the variables that the component sets, with their placeholders filled in."""
        params = executor_input["inputs"]["parameterValues"]
        constants = self.constants(node)
        variables: dict[str, str] = {}
        for name, value in container.env.items():
            secret = self._secrets.value(value)
            if secret is not None:
                variables[name] = secret
                continue
            # The value is passed inside a dict, because values there always become text.
            filled = fill_constant({name: value}, params, constants, f"the variable {name}")
            variables[name] = filled[name]
        return variables

    def _function(self, container: Container) -> Lightweight | None:
        """Return the function of a component, None when it is not a lightweight component."""
        # Parsing a command takes time, and many tasks have the same container.
        if id(container) not in self._functions:
            self._functions[id(container)] = recognise(container)
        return self._functions[id(container)]

    def _build_work(
        self, container: Container, node: Node, executor_input: dict[str, Any]
    ) -> Lightweight | Command:
        """Return the function that the attempt runs, or the command when it needs a container."""
        function = self._function(container)
        if function is not None and self._options.executor != "docker":
            return function
        constants = self.constants(node)
        params = executor_input["inputs"]["parameterValues"]
        templates = container.command + container.args
        argv = arguments.resolve(templates, executor_input, constants)
        # The image and the resources may contain placeholders of inputs: a pipeline can pass an
        # input to set_container_image and set_memory_limit.
        filled = fill_constant(
            {"image": container.image, "resources": dict(container.resources)},
            params,
            constants,
            "the container",
        )
        return Command(filled["image"], tuple(argv), filled["resources"])
