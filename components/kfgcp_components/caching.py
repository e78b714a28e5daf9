"""Switch the cache off for components that must run each time.

The cache takes the outputs of an earlier task with the same inputs. A task that changes something
outside of the run would then change nothing, and a task that reads something that moves would give
what was there before.
"""

from __future__ import annotations

from kfp.dsl.pipeline_context import Pipeline
from kfp.dsl.pipeline_task import PipelineTask
from kfp.dsl.python_component import PythonComponent


class UncachedComponent(PythonComponent):  # type: ignore[misc]  # kfp has no types
    """A component whose tasks are not cached, unless the pipeline switches the cache on."""

    def __call__(self, *args: object, **kwargs: object) -> PipelineTask:
        """Return a task, whose cache is off."""
        task = super().__call__(*args, **kwargs)
        # Outside of a pipeline, kfp has run the task already, and refuses options for it.
        if Pipeline.get_default_pipeline() is not None:
            task.set_caching_options(False)
        return task


def without_cache(component: PythonComponent) -> PythonComponent:
    """Return a component whose tasks are not cached, unless the pipeline switches the cache on.

    Args:
        component: a component, as `@dsl.component` makes it.
    """
    return UncachedComponent(component.component_spec, component.python_func)
