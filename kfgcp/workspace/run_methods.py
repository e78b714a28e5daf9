"""The methods of `Workspace` that read, follow or change one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.backends.base import Deleted, LogFilter, LogLine
from kfgcp.event import Event
from kfgcp.model import Run
from kfgcp.tracking import lookup
from kfgcp.tracking.choose import as_list
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    from kfgcp.spec.load import Spec
    from kfgcp.tracking.update_batches import Update


class RunMethods(OpenProject):
    """The part of `Workspace` that reads, follows and changes one run."""

    def show(self, run: RunLike = "latest") -> RunHandle:
        """Find a run, and read its current state.

        Args:
            run: its id, the beginning of one, its name, or `latest`.

        Returns:
            The run. The warning `NotWhole` says when a part of the run cannot be read now.

        Raises:
            UsageError: there is no such run, or more than one.

        Example::

            kfgcp.show("a1b2").metrics
        """
        return lookup.show(self, run)

    def events(self, run: RunLike = "latest") -> list[Event]:
        """Read a run, and return what happened to it.

        Args:
            run: the run.

        Returns:
            The events in the order in which they happened. Events of tasks that ran at the same
            time may be in any order. Old versions of kfgcp recorded runs without events.

        Raises:
            UsageError: there is no such run, or more than one.

        Example::

            [event.kind.value for event in kfgcp.events("a1b2")]
            # ['run.created', 'run.started', 'task.started', 'task.succeeded', 'run.succeeded']
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
        """Return the lines that the tasks of a run wrote so far.

        The arguments are those of `RunHandle.logs`.

        Example::

            for line in kfgcp.logs("a1b2", "train", since="10m"):
                print(line.text)
        """
        handle = lookup.find_without_logs(self, run)
        return handle.logs(task, attempt, since=since, severity=severity, all_lines=all_lines)

    def watch(
        self,
        run: RunLike = "latest",
        *,
        logs: bool | LogFilter = True,
        notice: Callable[[str], None] = lambda text: None,
    ) -> Iterator[Update]:
        """Return what happens in a run until it has ended, several updates at a time.

        `RunHandle.updates` returns single updates, in the order in which they happened.

        Args:
            run: the run to follow.
            logs: which lines of logs; True for all, False for none.
            notice: called with a line of text when the backend cannot be reached, and when it can
                be reached again.

        Example::

            for update in kfgcp.watch("a1b2"):
                print(update.run.state, [task.path for task in update.tasks])
        """
        from kfgcp.tracking.update_batches import in_batches

        handle = run if isinstance(run, RunHandle) else self.show(run)
        return in_batches(handle.updates(logs=logs, notice=notice))

    def cancel(self, run: RunLike = "latest") -> RunHandle:
        """Ask a run to end, and return it. A run that has ended stays as it is.

        Example::

            kfgcp.cancel("a1b2").wait(check=False)
        """
        return self.show(run).cancel()

    def delete(self, run: RunLike) -> Deleted:
        """Delete a run that has ended, on its backend and on this machine.

        Its logs and artifacts in the state folder are deleted too. Files that other runs use are
        kept until the last of these runs is deleted: a task that was CACHED has the files and the
        log of the task that ran.

        Returns:
            The numbers of files and logs that were kept, and the runs that use them.

        Raises:
            UsageError: the run has not ended.

        Example::

            kfgcp.delete("a1b2").kept_files
        """
        return lookup.find_without_logs(self, run).delete()

    def tag(
        self, run: RunLike = "latest", *tags: str, remove: str | Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Add tags to a run, remove other tags, and return all tags of the run, sorted.

        Args:
            run: the run.
            tags: words to add: at most 64 characters each, without blanks and commas.
            remove: words to remove. A word that the run does not have is not an error.

        Raises:
            UsageError: a tag is too long or has a blank or comma, or there is no such run.

        Example::

            kfgcp.tag("a1b2", "good", remove="candidate")
            # ('good',)
        """
        store = lookup.workspace_of(self, run).store
        return store.tag(lookup.find_id(self, run), tags, remove=as_list(remove))

    def note(self, run: RunLike = "latest", text: str | None = None) -> str:
        """Return the note of a run. With a text, replace the note first.

        Args:
            run: the run.
            text: the new note, which may have several lines. "" removes the note. None does not
                change it.

        Raises:
            UsageError: there is no such run.

        Example::

            kfgcp.note("a1b2", "The learning rate was too high.")
            # 'The learning rate was too high.'
        """
        store = lookup.workspace_of(self, run).store
        run_id = lookup.find_id(self, run)
        if text is not None:
            store.note(run_id, text.strip())
        return store.get(run_id, with_tasks=False).note

    def spec_of(self, run: RunLike = "latest") -> Spec:
        """Return the pipeline of a run, as it was recorded.

        Raises:
            UsageError: there is no such run, or its pipeline was not recorded.
        """
        # Most commands need no pipeline, and start-up time counts.
        from kfgcp.tracking import pipelines

        if isinstance(run, Run):
            return pipelines.spec_of(self, run)
        handle = self.show(run)
        return pipelines.spec_of(handle.workspace, handle.snapshot)

    def deleted_artifacts(self, run: RunHandle) -> set[str]:
        """Return the URIs of artifacts of a run whose files on this machine were deleted."""
        from kfgcp.engine.stored_outputs import deleted_files

        uris: set[str] = set()
        for outcome in run.workspace.store.outcomes(run.run_id).values():
            uris.update(Path(path).as_uri() for path in deleted_files(outcome.outputs))
        return uris
