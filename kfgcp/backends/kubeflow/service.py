"""The runs of a Kubeflow Pipelines: its REST API v2beta1, and ML Metadata beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import quote

from kfgcp.backends.base import LogFilter, LogLine, SubmitRequest
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
from kfgcp.backends.kubeflow.pod_names import pods_of_run
from kfgcp.backends.kubeflow.read_run import RunReader, RunSource, Where
from kfgcp.backends.kubeflow.server_errors import is_without_workflow
from kfgcp.backends.kubeflow.server_store import SCHEME, ServerStore
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.states import run_state
from kfgcp.backends.run_values import has_log_end
from kfgcp.backends.service import FetchedRun, ServiceFacts, ServiceRecords
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.deadlines import Deadline
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, Run, RunState, timestamp
from kfgcp.query import RunFilter, matches

RUNS: Final = f"{API}/runs"
PAGE_SIZE: Final = 100

# How many runs the server sends at most in one page.
LARGEST_PAGE: Final = 200

# Seconds that the clock of a server may be behind ours. It is a long time, because a run that is
# not found again is created twice.
CLOCK_TOLERANCE: Final = 86400.0

# Lines of the log that the error of a run gets.
TAIL_LINES: Final = 20

# Seconds after the end of a run in which a missing log may still come, as in Cloud Logging.
LATE_LOGS: Final = 600.0

# With these reasons the server refuses to terminate a run that has ended meanwhile.
_HAS_ENDED: Final = ("FAILED_PRECONDITION", "INVALID_ARGUMENT")


class KubeflowService:
    """The runs of one host and namespace.

    Args:
        project: not used. No other environment changes what the server answers.
        env: the environment.
        records: what is remembered between commands.
    """

    # A list has everything about its runs except what ML Metadata has, which is four requests for
    # each run.
    facts = ServiceFacts(fetch_is_cheap=False, can_reopen=True)

    def __init__(self, project: Project, env: Environment, records: ServiceRecords) -> None:
        self._env = env
        self._settings = KubeflowSettings.of(env.settings)
        self._records = records
        self._namespace = self._settings.namespace or ""
        self._clients = open_clients(env)
        self._http = self._clients.api
        self._metadata = Metadata(self._clients.metadata)
        self._server = Server(self._http)
        self._experiments = Experiments(self._http, records, self.place, self._namespace)
        self._reader = RunReader(
            Where(self._clients.host, env.name),
            self.place,
            self._namespace,
            experiments=self._experiments,
            versions=Versions(self._http, records, self.place),
            metadata=self._metadata,
            server=self._server,
            records=records,
        )
        self._cancelling = CancellingRuns(records, self.place)
        # The run that was read last, by its `backend_ref`: its logs and the cause of its failure
        # are read next.
        self._latest: tuple[str, RunSource | None] = ("", None)

    @property
    def place(self) -> str:
        """The settings that name the server and the namespace.

        It is not the address: a forwarded port has another address each time.
        """
        settings = self._settings
        cluster = [
            settings.kube_context or "",
            settings.kube_namespace or "",
            settings.kube_service or "",
        ]
        server = settings.api_endpoint or settings.host or f"cluster:{'/'.join(cluster)}"
        return f"{server.rstrip('/')}/{self._namespace}/"

    # -- starting and ending runs

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return what the server leaves out of a request or does in another way."""
        return list(run_request.notes(request)) + list(self._server.notes(request.spec))

    def create(self, request: SubmitRequest) -> Run:
        """Create a run.

        It carries an id of this submission, so that it is found again when an answer is lost.
        """
        submission = secrets.token_hex(6)
        self._server.refuse(request.spec)
        # Everything that is wrong with the request is found before anything is created, so the id
        # of the experiment comes later.
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
            raise self._server.explain(refused) from None
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
            # Reading the version raises an error that says so when the server is too old.
            _ = self._server.version
            raise

    def _runs_of_submission(
        self, experiment_id: str, name: str, submission: str, since: str
    ) -> list[RunAnswer]:
        """Return the runs of a submission, the oldest first.

        Args:
            experiment_id: of the submission.
            name: of the run.
            submission: the id of the submission.
            since: a time before the submission.
        """
        predicates = [
            filters.created_since(since),
            filters.predicate("display_name", "EQUALS", name),
        ]
        params = {
            **self._scope(),
            "experiment_id": experiment_id,
            "filter": filters.format_filter(predicates),
            "sort_by": "created_at asc",
        }
        pages = self._http.pages(RUNS, params, "runs", size=PAGE_SIZE)
        runs: list[RunAnswer] = []
        for run in _readable(pages):
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
            if is_without_workflow(refused.explanation):
                self._cancelling.workflow_is_gone(run_id)
            elif refused.reason not in _HAS_ENDED:
                raise
            return False
        return True

    def delete(self, backend_ref: str) -> None:
        """Delete a run. It is not an error when there is no such run."""
        run_id = self._run_id(backend_ref)
        with suppress(NotFound):
            self._http.delete(_run_path(run_id))
        self._cancelling.forget(run_id)

    def retry(self, backend_ref: str) -> RunState:
        """Continue a run that failed or was cancelled, and return the state that it had before.

        `POST runs/ID:retry` starts the failed pods again and keeps the others. A server that
        refuses it may answer as in an outage, so the state of the run decides whether it continues.
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
        """Return the state of a run and when it ended, as the server has them now."""
        answer = self._get(backend_ref)
        return run_state(answer), answer.get("finished_at")

    def observe(self, run: Run) -> str:
        """Remember since when a run is CANCELLING. Return a note when it is not expected to end."""
        run_id = self._run_id(run.backend_ref or "")
        self._cancelling.see(run_id, run.state)
        return self._cancelling.note(run.run_id, run_id)

    def is_stuck(self, run: Run) -> bool:
        """Return whether a run that is CANCELLING is not expected to end."""
        return self._cancelling.never_ends(self._run_id(run.backend_ref or ""))

    # -- reading one run

    def fetch(self, backend_ref: str) -> FetchedRun:
        """Return a run with its tasks."""
        fetched, _ = self._fetch(backend_ref)
        return fetched

    def fetch_listed(self, listed: FetchedRun) -> FetchedRun:
        """Return a run of a list with its tasks.

        A list says about a run what the run itself says, so the run is not requested again.
        """
        backend_ref = listed.run.backend_ref or ""
        if listed.answer is None:
            return self.fetch(backend_ref)
        # It is the answer that `RunReader.read_listed` checked.
        answer = cast("RunAnswer", listed.answer)
        # Lists of servers from 3.0 on have no tasks.
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
        # Servers from 3.0 on answer with tasks[] to this view. Older ones ignore it
        # (tests/recorded: run-get-view-full).
        path = _run_path(self._run_id(backend_ref))
        return check_run(self._http.get(path, params={"view": "FULL"}))

    def _run_id(self, backend_ref: str) -> str:
        return backend_ref.removeprefix(self.place)

    # -- reading lists

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have ended at this time or later, and all that have not ended.

        A run that had ended may continue, and no time of the server says so.
        """
        yield from self._listed_runs(filters.unfinished(), ask=True)
        yield from self._listed_runs([filters.ended_since(since)], ask=True)

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, newest first."""
        predicates = [filters.created_since(since)]
        if until:
            predicates.append(filters.created_before(until))
        return self._listed_runs(predicates, ask=True)

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, page by page.

        When the server can choose the runs, one page has all of them. When it cannot, and all runs
        of that time are recorded, return None: it is less to read what has changed.
        """
        complete_since = self._records.complete_since(self.place)
        is_recorded = complete_since is not None and (run_filter.since or "") >= complete_since
        if is_recorded and not filters.server_can_choose(run_filter):
            return None
        return self._newest_matching(run_filter, limit)

    def _newest_matching(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun]:
        # The experiment is chosen by its id, because servers ignore the case of names.
        in_any_experiment = replace(run_filter, experiment=None)
        size = PAGE_SIZE
        if filters.server_can_choose(run_filter):
            size = min(limit, LARGEST_PAGE)
        for fetched in self._listed_in_experiment(run_filter, size):
            if matches(in_any_experiment, fetched.run):
                yield fetched
                limit -= 1
            if not limit:
                return

    def _listed_in_experiment(self, run_filter: RunFilter, size: int) -> Iterator[FetchedRun]:
        """Yield what the server chooses, from the experiment of the filter.

        An experiment that was deleted and created again has another id than before.
        """
        predicates = filters.predicates(run_filter)
        if run_filter.experiment is None:
            yield from self._listed_runs(predicates, size)
            return
        for is_last_try in (False, True):
            experiment_id = self._experiments.id_of(run_filter.experiment)
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
        """Return runs without their tasks. Those that were deleted are left out."""
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
        ask: bool = False,
    ) -> Iterator[FetchedRun]:
        """Yield the runs of a list without their tasks, newest first.

        Args:
            predicates: what must be true of the runs.
            size: how many runs a page has.
            experiment_id: only runs of this experiment.
            ask: read the specs of versions that are not recorded.
        """
        params = {**self._scope(), "sort_by": "created_at desc"}
        if experiment_id:
            params["experiment_id"] = experiment_id
        if predicates:
            params["filter"] = filters.format_filter(predicates)
        pages = self._http.pages(RUNS, params, "runs", size=size)
        yield from readable_runs(
            pages,
            lambda item: self._reader.read_listed(item, ask=ask),
            id_field="run_id",
            env_name=self._env.name,
        )

    def _scope(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    # -- why a run failed

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the causes from its logs, and with the end of one log.

        Without a log it stays as it is.
        """
        error = run.error
        if error is None or (error.task is None and not self._start_failed(backend_ref)):
            return run
        if error.log_tail and not causes.unread_tasks(run):
            return run
        deadline = Deadline(causes.SECONDS)
        is_old = run.ended_at is not None and run.ended_at < timestamp(time.time() - LATE_LOGS)
        # A log that is missing now may still come while the run is young.
        lost = causes.LOST if is_old else ""
        cause_by_task: dict[str, ErrorInfo] = {}
        try:
            logs = self._logs(backend_ref)
            if not error.log_tail:
                run = causes.with_log_end(run, error, logs, TAIL_LINES)
            paths = [path for path in causes.unread_tasks(run) if path != error.task]
            cause_by_task = causes.read_causes(logs, paths, deadline, lost=lost)
        except BackendError:
            # The next look tries again.
            pass
        return causes.with_causes(run, cause_by_task)

    def is_explained(self, run: Run) -> bool:
        """Return whether the logs have nothing more to say about a failed run."""
        return has_log_end(run) and not causes.unread_tasks(run)

    def _start_failed(self, backend_ref: str) -> bool:
        """Return whether the driver of the whole run failed, so that no task is to blame."""
        latest_ref, source = self._latest
        if source is None or latest_ref != backend_ref:
            return False
        pods = pods_of_run(source.answer)
        return pods is not None and bool(pods.failed_driver(""))

    # -- logs, artifacts and the official client

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that there are now."""
        return self._logs(backend_ref).read(log_filter)

    def tail(self, backend_ref: str, log_filter: LogFilter) -> RunTail:
        """Return a reader of the lines of a run that has not ended."""
        return RunTail(lambda: self._logs(backend_ref, live=True), log_filter)

    def keeps(self, uri: str) -> bool:
        """Return whether an artifact is in the server's own store.

        This machine has no address of that store, unless the settings name an endpoint.
        """
        has_endpoint = BucketSettings.of_environment(self._env).endpoint is not None
        return uri.startswith(f"{SCHEME}://") and not has_endpoint

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an artifact in the server's own store."""
        store = ServerStore(self._clients.ui, self._namespace, self._env.request_seconds)
        return store.beginning(uri, size)

    def native(self, backend_ref: str) -> Any:
        """Return a run as the run of `kfp.Client`."""
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
            backend_ref: the run.
            live: somebody follows them. Then the run was read just now, and the next reading may
                find what is missing.
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
    """Yield the runs of a list that can be read."""
    for item in items:
        with suppress(BadAnswer):
            yield check_run(item)
