"""Create, read and end the runs of a Kubeflow Pipelines, with its REST API v2beta1."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from kfgcp.backends.base import UNKNOWN_SUBMISSION, LogFilter, LogLine, SubmitRequest
from kfgcp.backends.incomplete import readable_runs
from kfgcp.backends.kubeflow import causes, filters
from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.cancelling import CancellingRuns
from kfgcp.backends.kubeflow.clients import open_clients
from kfgcp.backends.kubeflow.create_run import create
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.filters import Predicate
from kfgcp.backends.kubeflow.late_tasks import has_late_tasks, read_with_late_tasks
from kfgcp.backends.kubeflow.limits import check_experiment_name, check_parameters
from kfgcp.backends.kubeflow.logs import LogServices, RunLogs, RunTail
from kfgcp.backends.kubeflow.messages import RunAnswer, check_run
from kfgcp.backends.kubeflow.names import API, Experiments, Versions
from kfgcp.backends.kubeflow.pod_names import read_workflow_pods
from kfgcp.backends.kubeflow.read_run import RunReader, RunSource, Where
from kfgcp.backends.kubeflow.schedule_origins import Origins
from kfgcp.backends.kubeflow.schedule_runs import RecurringRunIds
from kfgcp.backends.kubeflow.server_errors import says_workflow_is_gone
from kfgcp.backends.kubeflow.server_store import SCHEME, ServerStore
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.kubeflow.versions import KubeflowVersions
from kfgcp.backends.run_values import has_log_end
from kfgcp.backends.schedule_labels import project_label
from kfgcp.backends.service import FetchedRun, ServiceFacts, ServiceRecords
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.deadlines import Deadline
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, Run, RunState, timestamp
from kfgcp.query import RunFilter, matches
from kfgcp.spec.json_values import JsonObject

if TYPE_CHECKING:
    from kfgcp.backends.kubeflow.locks import KubeflowLocks
    from kfgcp.backends.kubeflow.schedules import KubeflowSchedules

RUNS: Final = f"{API}/runs"
PAGE_SIZE: Final = 100

# The server sends at most this many runs in one page.
LARGEST_PAGE: Final = 200

# Seconds that the clock of a server may be behind the clock of this machine. The time is long,
# because kfgcp creates a run twice when it does not find the first one.
CLOCK_TOLERANCE: Final = 86400.0

# How many lines of the log the error of a run gets.
TAIL_LINES: Final = 20

# A log that is missing may still appear for this many seconds after the end of a run, for example
# in Cloud Logging.
LATE_LOGS: Final = 600.0

# The reasons with which the server refuses to terminate a run that has ended.
_HAS_ENDED: Final = ("FAILED_PRECONDITION", "INVALID_ARGUMENT")


class KubeflowService:
    """The runs of one host and namespace.

    Args:
        project: the project. Its schedules may have started runs.
        env: the environment.
        records: keeps data from one command to the next.
    """

    # A list has all fields of its runs. But a whole run also needs four requests to ML Metadata.
    facts = ServiceFacts(fetch_is_cheap=False, can_reopen=True)

    def __init__(self, project: Project, env: Environment, records: ServiceRecords) -> None:
        self._env = env
        self._settings = KubeflowSettings.of(env.settings)
        self._records = records
        self._namespace = self._settings.namespace or ""
        self._clients = open_clients(env)
        self._http = self._clients.api
        self._metadata = Metadata(self._clients.metadata)
        self._server = Server(self._http, env.name, records, self.place)
        self._experiments = Experiments(self._http, records, self.place, self._namespace)
        scope = {"namespace": self._namespace} if self._namespace else {}
        origins = Origins(self._http, project_label(project.name), project.schedules)
        self._recurring_run_ids = RecurringRunIds(self._http, scope, records, self.place, origins)
        self._reader = RunReader(
            Where(self._clients.host, env.name),
            self.place,
            self._namespace,
            experiments=self._experiments,
            versions=Versions(self._http, records, self.place),
            metadata=self._metadata,
            server=self._server,
            records=records,
            recurring_run_ids=self._recurring_run_ids,
        )
        self._cancelling = CancellingRuns(records, self.place)
        # The `backend_ref` of the run that was read last, and its source. Often the same command
        # reads the logs or the cause of this run next.
        self._latest: tuple[str, RunSource | None] = ("", None)

    @property
    def place(self) -> str:
        """The beginning of the `backend_ref` of each run: the server and the namespace."""
        return self._settings.place

    def versions(self) -> KubeflowVersions:
        """Return the registry of the environment, see `HasRegistry`."""
        return KubeflowVersions(self._http, self._server, self._clients.host, self._namespace)

    def schedules(self) -> KubeflowSchedules:
        """Return the schedules of the environment, see `HasSchedules`."""
        # Most commands change no schedules, and the module takes time to import.
        from kfgcp.backends.kubeflow.schedules import KubeflowSchedules

        return KubeflowSchedules(
            self._http,
            self._server,
            self._settings,
            self._experiments,
            self._recurring_run_ids,
            self.create,
        )

    def locks(self) -> KubeflowLocks:
        """Return the locks of the environment, see `HasLocks`."""
        # See `schedules`.
        from kfgcp.backends.kubeflow.locks import KubeflowLocks

        return KubeflowLocks(self._http, self._namespace)

    # -- starting and ending runs

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return a line for each part of a request that the server ignores or does differently."""
        return list(run_request.notes(request)) + list(self._server.notes(request))

    def request_body(self, request: SubmitRequest) -> JsonObject:
        """Return the run that `create` would send, see `SupportsPreview`.

        Only the server knows the id of the experiment, and it is not asked. So the body has the
        name instead.
        """
        experiment = f"the id of the experiment {request.options.experiment!r}"
        return run_request.run_body(request, self._settings, experiment, UNKNOWN_SUBMISSION)

    def create(self, request: SubmitRequest) -> Run:
        """Create a run.

        The run has the id of this submission as a label. With this label, kfgcp finds the run when
        the answer of the server is lost.
        """
        submission = secrets.token_hex(6)
        self._server.refuse(request)
        # All checks of the request come before the experiment is created. So the body has no id of
        # the experiment at first.
        run_body = run_request.run_body(request, self._settings, "", submission)
        check_experiment_name(request.options.experiment, self._server)
        check_parameters(run_body["runtime_config"]["parameters"], self._server)
        experiment_id = self._ensure_experiment(request.options.experiment)
        run_body["experiment_id"] = experiment_id
        since = timestamp(time.time() - CLOCK_TOLERANCE)
        name = str(run_body["display_name"])

        def find_submitted() -> list[RunAnswer]:
            return self._runs_of_submission(experiment_id, name, submission, since)

        try:
            answer = create(self._http, RUNS, run_body, find_submitted)
        except Refused as refused:
            raise self._server.explain(refused, request.spec) from None
        run = self._reader.read_created(answer, request.options.experiment)
        return replace(
            run,
            pipeline=request.spec.name,
            version=request.spec.version,
            labels=run_request.labels(request, submission),
            params=request.params,
        )

    def _ensure_experiment(self, name: str) -> str:
        """Return the id of an experiment. Create the experiment when there is none."""
        try:
            return self._experiments.ensure(name)
        except NotFound:
            # A server that is too old has no experiments in this API. Then reading the version
            # raises an error that says so.
            _ = self._server.version
            raise

    def _runs_of_submission(
        self, experiment_id: str, name: str, submission: str, since: str
    ) -> list[RunAnswer]:
        """Return the runs of a submission that were created after `since`, the oldest first."""
        predicates = [
            filters.created_since(since),
            filters.predicate("display_name", "EQUALS", name),
        ]
        items = self._list(predicates, PAGE_SIZE, experiment_id, sort_by="created_at asc")
        runs: list[RunAnswer] = []
        for run in _readable(items):
            labels = run_request.parse_description(run.get("description"))
            if labels.get(SUBMISSION) == submission:
                runs.append(run)
        return runs

    def cancel(self, backend_ref: str) -> bool:
        """Ask a run to end, and return whether the server accepted it."""
        run_id = self._run_id(backend_ref)
        try:
            self._http.post(f"{_run_path(run_id)}:terminate", body={}, repeatable=True)
        except Refused as refused:
            if says_workflow_is_gone(refused.explanation):
                self._cancelling.record_missing_workflow(run_id)
            elif refused.reason not in _HAS_ENDED:
                raise
            return False
        return True

    def delete(self, backend_ref: str) -> None:
        """Delete a run. Do nothing when the run does not exist."""
        run_id = self._run_id(backend_ref)
        with suppress(NotFound):
            self._http.delete(_run_path(run_id))
        self._cancelling.forget(run_id)

    def retry(self, backend_ref: str) -> RunState:
        """Continue a run that failed or was cancelled, and return its state before this call.

        `POST runs/ID:retry` starts the failed pods again and keeps the other pods. When the server
        refuses the request, its answer may look like an outage. So the state of the run shows
        whether the run continues.
        """
        before = self._state_and_end(backend_ref)
        state, _ = before
        if state is RunState.SUCCEEDED or not state.final:
            return state
        try:
            self._http.post(f"{_run_path(self._run_id(backend_ref))}:retry", body={})
        except BackendError as error:
            if not error.unknown or self._state_and_end(backend_ref) == before:
                raise
        return state

    def _state_and_end(self, backend_ref: str) -> tuple[RunState, str | None]:
        """Return the state and the end time of a run, as the server has them now."""
        answer = self._get(backend_ref)
        return run_state(answer), answer.get("finished_at")

    def observe(self, run: Run) -> str:
        """Remember since when a run is CANCELLING. Return a note when it will never end."""
        run_id = self._run_id(run.backend_ref or "")
        self._cancelling.observe(run_id, run.state)
        return self._cancelling.note(run.run_id, run_id)

    def is_stuck(self, run: Run) -> bool:
        """Return whether a run is CANCELLING and will probably never end."""
        return self._cancelling.never_ends(self._run_id(run.backend_ref or ""))

    # -- reading one run

    def fetch(self, backend_ref: str) -> FetchedRun:
        """Return a run with its tasks."""
        fetched, _ = self._fetch(backend_ref)
        return fetched

    def fetch_listed(self, listed: FetchedRun) -> FetchedRun:
        """Return a run of a list with its tasks.

        An item of a list has the same fields as the run itself, so the run is not requested again.
        """
        backend_ref = listed.run.backend_ref or ""
        if listed.answer is None:
            return self.fetch(backend_ref)
        # `RunReader.read_listed` has checked this answer.
        answer = cast("RunAnswer", listed.answer)
        # From 3.0 on, lists do not contain tasks.
        if "run_details" not in answer or has_late_tasks(answer, time.time()):
            return self.fetch(backend_ref)
        fetched, source = self._reader.read_with_tasks(answer)
        self._latest = (backend_ref, source)
        return fetched

    def _fetch(self, backend_ref: str) -> tuple[FetchedRun, RunSource]:
        answer = read_with_late_tasks(lambda: self._get(backend_ref))
        fetched, source = self._reader.read_with_tasks(answer)
        self._latest = (backend_ref, source)
        return fetched, source

    def _get(self, backend_ref: str) -> RunAnswer:
        # From 3.0 on, the answer contains tasks[] only with this view. Older servers ignore the
        # view (tests/recorded: run-get-view-full).
        path = _run_path(self._run_id(backend_ref))
        return check_run(self._http.get(path, params={"view": "FULL"}))

    def _run_id(self, backend_ref: str) -> str:
        return backend_ref.removeprefix(self.place)

    # -- reading lists

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have ended at this time or later, and all unfinished runs.

        An ended run may continue, and the server does not record the time when it continues. So all
        unfinished runs are returned.
        """
        yield from self._listed_runs(filters.unfinished(), read_specs=True)
        yield from self._listed_runs([filters.ended_since(since)], read_specs=True)

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, newest first."""
        predicates = [filters.created_since(since)]
        if until:
            predicates.append(filters.created_before(until))
        return self._listed_runs(predicates, read_specs=True)

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, page by page.

        When the server can evaluate the whole filter, one page has all these runs. When it cannot,
        and all runs since the time of the filter are recorded, return None, because then it costs
        less to read only the changes.
        """
        complete_since = self._records.complete_since(self.place)
        is_recorded = complete_since is not None and (run_filter.since or "") >= complete_since
        if is_recorded and not filters.is_exact(run_filter):
            return None
        return self._newest_matching(run_filter, limit)

    def _newest_matching(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun]:
        """Yield the newest runs that match, at most `limit` runs."""
        # The server compares the id of the experiment. `matches` would compare the name, but
        # databases of servers ignore the case of names.
        filter_without_experiment = replace(run_filter, experiment=None)
        size = PAGE_SIZE
        if filters.is_exact(run_filter):
            size = min(limit, LARGEST_PAGE)
        for fetched in self._listed_in_experiment(run_filter, size):
            if matches(filter_without_experiment, fetched.run):
                yield fetched
                limit -= 1
            if not limit:
                return

    def _listed_in_experiment(self, run_filter: RunFilter, size: int) -> Iterator[FetchedRun]:
        """Yield the runs that the server finds for a filter, page by page.

        An experiment that was deleted and created again has a new id. So after NotFound, the
        remembered id is looked up again.
        """
        predicates = filters.predicates(run_filter)
        if run_filter.experiment is None:
            yield from self._listed_runs(predicates, size)
            return
        for is_last_try in (False, True):
            experiment_id = self._experiments.find_id(run_filter.experiment)
            if experiment_id is None:
                return
            try:
                yield from self._listed_runs(predicates, size, experiment_id)
                return
            except NotFound:
                self._experiments.forget(run_filter.experiment)
                if is_last_try:
                    raise

    def reread(self, backend_refs: Sequence[str]) -> Iterator[FetchedRun]:
        """Return runs without their tasks. Runs that were deleted are left out."""
        run_ids = [self._run_id(backend_ref) for backend_ref in backend_refs]
        for start in range(0, len(run_ids), PAGE_SIZE):
            page_ids = run_ids[start : start + PAGE_SIZE]
            yield from self._listed_runs([filters.one_of("run_id", page_ids)])

    def _listed_runs(
        self,
        predicates: list[Predicate],
        size: int = PAGE_SIZE,
        experiment_id: str = "",
        *,
        read_specs: bool = False,
    ) -> Iterator[FetchedRun]:
        """Yield the runs of a list without their tasks, newest first.

        Args:
            predicates: the conditions that each run meets.
            size: how many runs a page has.
            experiment_id: the experiment of the runs, "" for all experiments.
            read_specs: read the specs of pipeline versions that are not recorded.
        """
        yield from readable_runs(
            self._list(predicates, size, experiment_id, sort_by="created_at desc"),
            lambda item: self._reader.read_listed(item, read_specs=read_specs),
            id_field="run_id",
            env_name=self._env.name,
        )

    def _list(
        self, predicates: list[Predicate], size: int, experiment_id: str, *, sort_by: str
    ) -> Iterator[object]:
        """Yield the items of a list of runs, as the server answered.

        Args:
            predicates: the conditions that each run meets.
            size: how many runs a page has.
            experiment_id: the experiment of the runs, "" for all experiments.
            sort_by: a field and a direction, such as "created_at desc".
        """
        params: dict[str, str] = {}
        if self._namespace:
            params["namespace"] = self._namespace
        params["sort_by"] = sort_by
        if experiment_id:
            params["experiment_id"] = experiment_id
        if predicates:
            params["filter"] = filters.format_filter(predicates)
        return self._http.pages(RUNS, params, "runs", size=size)

    # -- why a run failed

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the causes from its logs, and with the end of one log.

        The run stays unchanged when no task or driver is known to have failed.
        """
        error = run.error
        if error is None or (error.task is None and not self._start_failed(backend_ref)):
            return run
        if error.log_tail and not causes.unread_tasks(run):
            return run
        deadline = Deadline(causes.SECONDS)
        oldest_end = timestamp(time.time() - LATE_LOGS)
        logs_are_final = run.ended_at is not None and run.ended_at < oldest_end
        # Soon after the end of the run, a missing log may still appear.
        message_without_log = causes.LOST if logs_are_final else ""
        cause_by_task: dict[str, ErrorInfo] = {}
        try:
            logs = self._logs(backend_ref)
            if not error.log_tail:
                run = causes.add_log_end(run, error, logs, TAIL_LINES)
            paths = [path for path in causes.unread_tasks(run) if path != error.task]
            cause_by_task = causes.read_causes(
                logs, paths, deadline, message_without_log=message_without_log
            )
        except BackendError:
            # The next reading of the run tries again.
            pass
        return causes.add_causes(run, cause_by_task)

    def is_explained(self, run: Run) -> bool:
        """Return whether `explain` would read nothing more about a failed run."""
        return has_log_end(run) and not causes.unread_tasks(run)

    def _start_failed(self, backend_ref: str) -> bool:
        """Return whether the driver of the whole run failed, so that no task started."""
        latest_ref, source = self._latest
        if source is None or latest_ref != backend_ref:
            return False
        pods = read_workflow_pods(source.answer)
        return pods is not None and bool(pods.failed_driver(""))

    # -- logs, artifacts and the official client

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that were written until now."""
        return self._logs(backend_ref).read(log_filter)

    def tail(self, backend_ref: str, log_filter: LogFilter) -> RunTail:
        """Return a reader of the lines of a run that has not ended."""
        return RunTail(lambda: self._logs(backend_ref, live=True), log_filter)

    def keeps(self, uri: str) -> bool:
        """Return whether an artifact is in the server's own store.

        This machine cannot reach that store itself, unless the settings name an endpoint.
        """
        has_endpoint = BucketSettings.of_environment(self._env).endpoint is not None
        return uri.startswith(f"{SCHEME}://") and not has_endpoint

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an artifact in the server's own store."""
        store = ServerStore(self._clients.ui, self._namespace, self._env.request_seconds)
        return store.beginning(uri, size)

    def native(self, backend_ref: str) -> Any:
        """Return a run as `kfp.Client` returns it."""
        from kfgcp.backends.kubeflow.native import pipeline_run

        return pipeline_run(
            self._clients.host,
            self._clients.tokens,
            self._namespace,
            self._clients.certificates,
            self._run_id(backend_ref),
            self._env.request_seconds,
        )

    def _logs(self, backend_ref: str, *, live: bool = False) -> RunLogs:
        """Return the logs of a run.

        Args:
            backend_ref: identifies the run.
            live: whether the caller follows the logs of an unfinished run, and so reads again after
                an outage of ML Metadata.
        """
        latest_ref, source = self._latest
        is_latest = source is not None and latest_ref == backend_ref
        if source is None or not is_latest or not (live or run_state(source.answer).final):
            _, source = self._fetch(backend_ref)
        failure: BackendError | None = None
        executions = source.executions
        if not executions and "tasks" not in source.answer:
            run_id = source.answer["run_id"]
            try:
                executions = self._metadata.read_executions(run_id, with_artifacts=not live)
            except BackendError as error:
                failure = error
        services = LogServices(
            self._clients.ui, self._clients.logging, self._namespace, self._env.name
        )
        logs = RunLogs(services, source.answer, executions)
        if failure is not None and not live and not logs.attempts:
            raise failure
        return logs


def _run_path(run_id: str) -> str:
    return f"{RUNS}/{quote(run_id)}"


def _readable(items: Iterable[object]) -> Iterator[RunAnswer]:
    """Yield the runs of a list. Leave out items that cannot be read."""
    for item in items:
        with suppress(BadAnswer):
            yield check_run(item)
