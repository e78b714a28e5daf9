"""Self-hosted Kubeflow Pipelines over its REST API, v2beta1, and ML Metadata beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.base import LogFilter, LogLine, SubmitRequest
from kfgcp.backends.incomplete import readable_runs
from kfgcp.backends.kubeflow import causes, filters
from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.addresses import of_metadata, of_ui
from kfgcp.backends.kubeflow.cancelling import CancellingRuns
from kfgcp.backends.kubeflow.create_run import create
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.late_tasks import has_late_tasks, read_with_late_tasks
from kfgcp.backends.kubeflow.limits import check_experiment_name, check_parameters
from kfgcp.backends.kubeflow.logs import Place, RunLogs, RunTail
from kfgcp.backends.kubeflow.messages import read_run
from kfgcp.backends.kubeflow.metadata import Execution, Metadata
from kfgcp.backends.kubeflow.names import API, Experiments, Versions
from kfgcp.backends.kubeflow.pod_names import pods_of_run
from kfgcp.backends.kubeflow.read_run import RunReader
from kfgcp.backends.kubeflow.runs import RUN_STATES, Where, graph_of
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors, is_without_workflow
from kfgcp.backends.kubeflow.server_store import SCHEME, ServerStore
from kfgcp.backends.kubeflow.server_tasks import executions_of, read_tasks
from kfgcp.backends.kubeflow.server_version import NO_TASKS, Server
from kfgcp.backends.kubeflow.sign_in import address_and_tokens, in_cluster
from kfgcp.backends.run_values import has_log_end
from kfgcp.backends.service import FetchedRun, ServiceFacts, ServiceRecords
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.deadlines import Deadline
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused
from kfgcp.hosts import is_loopback
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, Run, RunState, timestamp
from kfgcp.query import RunFilter, matches
from kfgcp.services.auth.google import google_tokens
from kfgcp.services.auth.sign_in import ca_file
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING_ADDRESS
from kfgcp.services.cloud_logging import CloudLogging

PAGE_SIZE: Final = 100
LARGEST_PAGE: Final = 200
"""How many runs the server sends at most in one page."""
CLOCK_TOLERANCE: Final = 86400.0
"""Seconds that the clock of a server may be behind ours. It is a long time, because a run that is
not found again is created twice."""
TAIL_LINES: Final = 20
LATE_LOGS: Final = 600.0
"""Seconds after the end of a run in which a missing log may still come, as in Cloud Logging."""


class KubeflowService:
    """The runs of one host and namespace.

    Args:
        project: not used. No other environment changes what the server says.
        env: the environment.
        records: what is remembered between commands.
    """

    # A list has everything about its runs but what ML Metadata knows, which is four requests for
    # each run.
    facts = ServiceFacts(fetch_is_cheap=False, can_reopen=True)

    def __init__(self, project: Project, env: Environment, records: ServiceRecords) -> None:
        self._env = env
        self._records = records
        host, tokens = address_and_tokens(env)
        host, certificates = host.rstrip("/"), ca_file(env)
        self._where, self._tokens = Where(host, env.name), tokens
        self._namespace: str = env.get("namespace") or ""
        settings: dict[str, Any] = {
            "ca_file": certificates,
            "in_cluster": in_cluster(env),
            "seconds": env.request_seconds,
            "errors": KubeflowErrors(),
        }
        self._http = ServiceClient(
            host, tokens, service="Kubeflow Pipelines", paging=PAGE_KEYS, **settings
        )
        self._metadata = Metadata(
            of_metadata(
                host, lambda base: ServiceClient(base, tokens, service="ML Metadata", **settings)
            )
        )
        self._ui = of_ui(
            host, lambda base: ServiceClient(base, tokens, service="Kubeflow Pipelines", **settings)
        )
        self._server = Server(self._http)
        self._logging: CloudLogging | None = None
        if gcp_project := env.get("project"):
            address = env.get("logging_endpoint") or LOGGING_ADDRESS
            google = (
                tokens
                if is_loopback(address)
                else google_tokens(env.get("impersonate_service_account"))
            )
            logging = ServiceClient(
                address, google, service="Cloud Logging", seconds=env.request_seconds
            )
            self._logging = CloudLogging(logging, gcp_project)
        self._experiments = Experiments(self._http, records, self.place, self._namespace)
        versions = Versions(self._http, records, self.place)
        self._reader = RunReader(self._where, self.place, self._experiments, versions, records)
        self._cancelling = CancellingRuns(records, self.place)
        self._latest: tuple[str, Mapping[str, Any], list[Execution]] = ("", {}, [])

    @property
    def place(self) -> str:
        """The settings that name the server and the namespace.

        It is not the address: a forwarded port has another address each time.
        """
        cluster = [
            self._env.get(key) or "" for key in ("kube_context", "kube_namespace", "kube_service")
        ]
        server = (
            self._env.get("api_endpoint") or self._env.get("host") or f"cluster:{'/'.join(cluster)}"
        )
        return f"{server.rstrip('/')}/{self._namespace}/"

    # -- starting and ending runs

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return what the server leaves out of a request or does in another way."""
        return [*run_request.notes(request), *self._server.notes(request.spec)]

    def create(self, request: SubmitRequest) -> Run:
        """Create a run.

        It carries an id of this submission, so that it is found again when an answer is lost.
        """
        submission = secrets.token_hex(6)
        self._server.refuse(request.spec)
        # Whatever is wrong with the request is found before anything is created.
        run_body = run_request.run(request, self._env, "", submission)
        check_experiment_name(request.options.experiment, self._server)
        check_parameters(run_body["runtime_config"]["parameters"], self._server)
        experiment_id = self._ensure_experiment(request.options.experiment)
        run_body["experiment_id"] = experiment_id
        since = timestamp(time.time() - CLOCK_TOLERANCE)
        name = str(run_body["display_name"])

        def find_submitted() -> list[dict[str, Any]]:
            return self._runs_of_submission(experiment_id, name, submission, since)

        try:
            answer = create(self._http, f"{API}/runs", run_body, find_submitted)
        except Refused as refused:
            raise self._server.explain(refused) from None
        run, _ = self._reader.run(answer, request.options.experiment)
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
    ) -> list[dict[str, Any]]:
        """Return the runs of a submission, the oldest first.

        `since` is a time before the submission.
        """
        predicates = [
            filters.predicate("created_at", "GREATER_THAN_EQUALS", since, "timestamp_value"),
            filters.predicate("display_name", "EQUALS", name),
        ]
        params = {
            **self._scope(),
            "experiment_id": experiment_id,
            "filter": filters.text(predicates),
            "sort_by": "created_at asc",
        }
        pages = self._http.pages(f"{API}/runs", params, "runs", size=PAGE_SIZE)
        return [
            run
            for run in _readable(pages)
            if run_request.labels_of(run.get("description")).get(SUBMISSION) == submission
        ]

    def cancel(self, backend_ref: str) -> bool:
        """Ask a run to end, and return whether the server accepted it."""
        run_id = self._run_id(backend_ref)
        try:
            self._http.post(f"{API}/runs/{quote(run_id)}:terminate", body={}, repeatable=True)
        except Refused as refused:
            if is_without_workflow(refused.explanation):
                self._cancelling.workflow_is_gone(run_id)
            # With these reasons the run has ended meanwhile.
            elif refused.reason not in ("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
                raise
            return False
        return True

    def delete(self, backend_ref: str) -> None:
        """Delete a run. It is not an error when there is no such run."""
        run_id = self._run_id(backend_ref)
        with suppress(NotFound):
            self._http.delete(f"{API}/runs/{quote(run_id)}")
        self._cancelling.forget(run_id)

    def retry(self, backend_ref: str) -> RunState:
        """Continue a run that failed or was cancelled, and return the state that it had before.

        `POST runs/ID:retry` starts the failed pods again and keeps the others. A server that
        refuses it may answer as in an outage, so the state of the run decides whether it continues.
        """
        before = self._state_and_end(backend_ref)
        state = before[0]
        if state is RunState.SUCCEEDED or not state.final:
            return state
        try:
            self._http.post(f"{API}/runs/{quote(self._run_id(backend_ref))}:retry", body={})
        except BackendError as error:
            if not error.unknown or self._state_and_end(backend_ref) == before:
                raise
        return state

    def _state_and_end(self, backend_ref: str) -> tuple[RunState, str]:
        """Return the state of a run and when it ended, as the server has them now."""
        answer = self._get(backend_ref)
        return _state_of(answer), str(answer.get("finished_at"))

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
        return self._with_tasks(backend_ref, read_with_late_tasks(lambda: self._get(backend_ref)))

    def fetch_listed(self, listed: FetchedRun) -> FetchedRun:
        """Return a run of a list with its tasks.

        The list said about it what the run itself says.
        """
        backend_ref = listed.run.backend_ref or ""
        answer = listed.answer
        if answer is None or "run_details" not in answer or has_late_tasks(answer, time.time()):
            return self.fetch(backend_ref)
        return self._with_tasks(backend_ref, answer)

    def _get(self, backend_ref: str) -> dict[str, Any]:
        # Servers from 3.0 on answer with tasks[] then. Older ones ignore it (tests/recorded:
        # run-get-view-full).
        path = f"{API}/runs/{quote(self._run_id(backend_ref))}"
        return read_run(self._http.get(path, params={"view": "FULL"}))

    def _with_tasks(self, backend_ref: str, answer: Mapping[str, Any]) -> FetchedRun:
        """Return a run with its tasks. When it has ended, they have the values of ML Metadata."""
        answer = self._reader.with_spec(answer)
        executions: list[Execution] = []
        missing = note = ""
        state = _state_of(answer)
        if "tasks" in answer:
            executions, note = self._server_executions(answer)
        elif state is not RunState.PENDING:
            try:
                executions = self._metadata.executions(
                    str(answer.get("run_id")), artifacts=state.final
                )
                if not executions and state.final:
                    note = (
                        f"Run {answer['run_id']} is shown without values and metrics: ML Metadata"
                        " does not know it."
                    )
            except BackendError as error:
                missing, note = self._without_metadata(answer, error)
        self._latest = (backend_ref, answer, executions)
        run, spec = self._reader.run(answer, self._reader.experiment_of(answer), executions)
        if not state.final:
            missing = note = ""
        return FetchedRun(
            run, run.ended_at or run.created_at or "", spec, missing=missing, note=note
        )

    def _server_executions(self, answer: Mapping[str, Any]) -> tuple[list[Execution], str]:
        """Return the executions that the API server has of a run.

        With a note when it has some that cannot be read.
        """
        graph = graph_of(answer)
        tasks, problem = read_tasks(answer["tasks"])
        title = f"Run {answer['run_id']} of {self._env.name}"
        note = f"{title} is shown without some of its tasks: {problem}" if problem else ""
        return (executions_of(tasks, graph) if graph is not None else []), note

    def _without_metadata(self, answer: Mapping[str, Any], error: BackendError) -> tuple[str, str]:
        """Return what is missing of a run while ML Metadata does not answer, and the note when
        nobody has it any more.

        One of the two is empty.
        """
        if self._server.keeps_tasks(self._namespace):
            title = f"Run {answer['run_id']} of {self._env.name}"
            return "", f"{title} is shown without tasks: {NO_TASKS}"
        return (
            (
                f"Runs of {self._env.name} are shown without values, metrics and artifacts:"
                f" {error.message}"
            ),
            "",
        )

    def _run_id(self, backend_ref: str) -> str:
        return backend_ref.removeprefix(self.place)

    # -- reading lists

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        """Return the runs that have ended at this time or later, and all that have not ended.

        A run that had ended may continue, and no time of the server says so.
        """
        yield from self._listed_runs(filters.unfinished(), ask=True)
        ended = filters.predicate("finished_at", "GREATER_THAN_EQUALS", since, "timestamp_value")
        yield from self._listed_runs([ended], ask=True)

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        """Return the runs that were created in a window of time, newest first."""
        predicates = [
            filters.predicate("created_at", "GREATER_THAN_EQUALS", since, "timestamp_value")
        ]
        if until:
            predicates.append(
                filters.predicate("created_at", "LESS_THAN", until, "timestamp_value")
            )
        return self._listed_runs(predicates, ask=True)

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        """Return the newest runs that match, page by page. One page has all of them where the
        server can choose.

        None where the server cannot choose and all runs of that time are recorded: then it is less
        to read what has changed.
        """
        complete_since = self._records.complete_since(self.place)
        is_recorded = complete_since is not None and (run_filter.since or "") >= complete_since
        if filters.chosen_here(run_filter) and is_recorded:
            return None
        return self._newest_matching(run_filter, limit)

    def _newest_matching(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun]:
        # The experiment is chosen by its id, because servers find its name whatever the case.
        in_any_experiment = replace(run_filter, experiment=None)
        size = PAGE_SIZE if filters.chosen_here(run_filter) else min(limit, LARGEST_PAGE)
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
        for start in range(0, len(backend_refs), PAGE_SIZE):
            run_ids = [
                self._run_id(backend_ref) for backend_ref in backend_refs[start : start + PAGE_SIZE]
            ]
            yield from self._listed_runs([filters.one_of("run_id", run_ids)])

    def _listed_runs(
        self,
        predicates: list[dict[str, Any]],
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
            params["filter"] = filters.text(predicates)
        pages = self._http.pages(f"{API}/runs", params, "runs", size=size)
        yield from readable_runs(
            pages,
            lambda answer: self._reader.listed_run(answer, ask=ask),
            identity="run_id",
            env_name=self._env.name,
        )

    def _scope(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    # -- why a run failed

    def explain(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the causes from the logs, and with the end of the log of its
        error.

        Without a log it stays as it is.
        """
        error = run.error
        if error is None or (error.task is None and not self._start_failed(backend_ref)):
            return run
        if error.log_tail and not causes.unread_tasks(run):
            return run
        deadline = Deadline(causes.SECONDS)
        is_old = run.ended_at is not None and run.ended_at < timestamp(time.time() - LATE_LOGS)
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
        latest_ref, answer, _ = self._latest
        pods = pods_of_run(answer) if latest_ref == backend_ref else None
        return pods is not None and bool(pods.failed_driver(""))

    # -- logs, artifacts and the official client

    def logs(self, backend_ref: str, log_filter: LogFilter) -> Iterator[LogLine]:
        """Return the lines that there are now."""
        return self._logs(backend_ref).read(log_filter)

    def tail(self, backend_ref: str, log_filter: LogFilter) -> RunTail:
        """Return what reads the lines of a run that has not ended."""
        return RunTail(lambda: self._logs(backend_ref, live=True), log_filter)

    def keeps(self, uri: str) -> bool:
        """Return whether an artifact is in the server's own store.

        This machine knows no address of that store.
        """
        return (
            uri.startswith(f"{SCHEME}://")
            and BucketSettings.of_environment(self._env).endpoint is None
        )

    def beginning(self, uri: str, size: int) -> bytes:
        """Return at most the first `size` bytes of an artifact in the server's own store."""
        return ServerStore(self._ui, self._namespace, self._env.request_seconds).beginning(
            uri, size
        )

    def native(self, backend_ref: str) -> Any:
        """Return a run as the run of `kfp.Client`."""
        from kfgcp.backends.kubeflow.native import pipeline_run

        run_id = self._run_id(backend_ref)
        seconds = self._env.request_seconds
        return pipeline_run(
            self._where.host, self._tokens, self._namespace, ca_file(self._env), run_id, seconds
        )

    def _logs(self, backend_ref: str, *, live: bool = False) -> RunLogs:
        """Return the logs of a run.

        Args:
            backend_ref: the run.
            live: somebody follows them. Then the run was read just now, and the next reading may
                find what is missing.
        """
        latest_ref, answer, executions = self._latest
        if latest_ref != backend_ref or not (live or _state_of(answer).final):
            self.fetch(backend_ref)
            _, answer, executions = self._latest
        failure: BackendError | None = None
        if not executions and "tasks" not in answer:
            try:
                executions = self._metadata.executions(
                    str(answer.get("run_id")), artifacts=not live
                )
            except BackendError as error:
                failure = error
        logs = RunLogs(
            Place(self._ui, self._logging, self._namespace, self._env.name), answer, executions
        )
        if failure is not None and not live and not logs.attempts:
            raise failure
        return logs


def _state_of(answer: Mapping[str, Any]) -> RunState:
    return RUN_STATES.get(str(answer.get("state")), RunState.PENDING)


def _readable(runs: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the runs of a list that can be read."""
    for run in runs:
        with suppress(BadAnswer):
            yield read_run(run)
