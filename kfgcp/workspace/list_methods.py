"""The methods of `Workspace` that list, compare and export runs."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from kfgcp.model import Run
from kfgcp.query import RunFilter
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.tracking import collect
from kfgcp.tracking.choose import Choice
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    import pandas

    from kfgcp.tracking.compare import Comparison
    from kfgcp.tracking.frames import Table


class ListMethods(OpenProject):
    """The part of `Workspace` that lists, compares and exports runs."""

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
        """Return runs of all environments, without their tasks and artifacts.

        Args:
            where: an expression; or a filter, which cannot be combined with `choice`.
            limit: the largest number of runs; None for all.
            refresh: read from remote backends what has changed. When `choice` or the filter names
                one environment, a backend that cannot be reached is an error. Otherwise it is the
                warning `NotRefreshed`, and its runs are listed as they were last read.
            metrics: also read metrics of ended runs that take several requests for each run, as on
                Kubeflow. `unread` returns the runs whose metrics were not read.
            order: a name as in expressions, and `asc` or `desc`: `metrics.evaluate.accuracy desc`.
            choice: fields of `Choice`.

        Raises:
            UsageError: the expression or the order cannot be read, or an option does not exist or
                has a wrong value.

        Example::

            kfgcp.list("metrics.evaluate.accuracy > 0.9", experiment="churn", limit=10)
        """
        run_filter = collect.build_filter(where, limit, choice)
        return collect.list_runs(
            self, run_filter, limit, refresh=refresh, metrics=metrics, order=order
        )

    def unread(self, runs: Sequence[Run]) -> set[str]:
        """Return the ids of the ended runs whose metrics and outputs were not read yet."""
        return collect.unread_runs(self, runs)

    def runs(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return runs as a frame with a row for each run, newest first.

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

        Example::

            kfgcp.runs(experiment="churn", state="SUCCEEDED", since="7d")
        """
        run_filter = collect.build_filter(where, limit, choice)
        return collect.frame(self, "runs", run_filter, limit, refresh=refresh)

    def metrics(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the metrics of runs as a frame with a row for each metric.

        The arguments are those of `runs`.

        Returns:
            A frame with run_id, task, artifact, name, value.

        Example::

            metrics = kfgcp.metrics(experiment="churn")
            metrics.pivot(index="run_id", columns="name", values="value")
        """
        run_filter = collect.build_filter(where, limit, choice)
        return collect.frame(self, "metrics", run_filter, limit, refresh=refresh)

    def tasks(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the tasks of runs as a frame with a row for each task.

        The arguments are those of `runs`.

        Returns:
            A frame with run_id, path, kind, state, attempts, cached, cache_reason, started_at,
            ended_at, seconds, inputs and outputs as JSON text, error.

        Example::

            kfgcp.tasks(pipeline="churn").groupby("path").seconds.mean()
        """
        run_filter = collect.build_filter(where, limit, choice)
        return collect.frame(self, "tasks", run_filter, limit, refresh=refresh)

    def artifacts(
        self,
        where: RunFilter | str | None = None,
        *,
        limit: int | None = None,
        refresh: bool = True,
        **choice: Unpack[Choice],
    ) -> pandas.DataFrame:
        """Return the artifacts of runs as a frame with a row for each artifact.

        The arguments are those of `runs`.

        Returns:
            A frame with run_id, task, name, type, uri, metadata as JSON text.

        Example::

            kfgcp.artifacts("tags == 'good'", pipeline="churn").uri
        """
        run_filter = collect.build_filter(where, limit, choice)
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
            runs: two or more runs; the two newest ones when empty. A run that is named twice counts
                once.
            baseline: the run that the others are measured against; the first one when None.
            goals: the name of a metric or its `task/artifact/name` -> `maximize` or `minimize`. For
                other metrics, kfgcp.toml decides, and without an entry there the name.

        Raises:
            UsageError: there are fewer than two runs, or `goals` names a metric that no run has.

        Example::

            print(kfgcp.compare(["a1b2", "c3d4"], goals={"cost": "minimize"}).to_markdown())
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
            table: what each row is: a run, or a metric, task or artifact of the runs. JSON of runs
                contains the whole runs.
            raw: write all texts in CSV as they are. Otherwise `'` is put before texts that a
                spreadsheet takes for formulas.

        Returns:
            The text; empty when a file was written.

        Example::

            kfgcp.export(form="parquet", file="runs.parquet")
        """
        path = None if file is None else Path(file)
        return collect.export_runs(self, runs, wanted, form=form, file=path, table=table, raw=raw)
