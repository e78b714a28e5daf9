"""The backend `kubeflow`: self-hosted Kubeflow Pipelines over its REST API, v2beta1, and ML Metadata beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.base import LogFilter, LogLine, RunRef, SubmitRequest
from kfgcp.backends.kubeflow import body, causes, filters
from kfgcp.backends.kubeflow.addresses import of_metadata, of_ui
from kfgcp.backends.kubeflow.cancelling import CancellingRuns
from kfgcp.backends.kubeflow.creating import create
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.late_tasks import has_late_tasks, read_with_late_tasks
from kfgcp.backends.kubeflow.limits import check_experiment_name, check_parameters
from kfgcp.backends.kubeflow.logs import Place, RunLogs, RunTail
from kfgcp.backends.kubeflow.messages import read_run
from kfgcp.backends.kubeflow.metadata import Execution, Metadata
from kfgcp.backends.kubeflow.names import API, Experiments, Versions, is_same_name
from kfgcp.backends.kubeflow.pod_names import pods_of_run
from kfgcp.backends.kubeflow.progress import progress_of
from kfgcp.backends.kubeflow.runs import RUN_STATES, Where, graph_of, run_of
from kfgcp.backends.kubeflow.server import NO_TASKS, Server
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors, is_without_workflow
from kfgcp.backends.kubeflow.server_store import SCHEME, ServerStore
from kfgcp.backends.kubeflow.server_tasks import executions_of, read_tasks
from kfgcp.backends.kubeflow.sign_in import address_and_tokens, in_cluster
from kfgcp.backends.reading import with_failure
from kfgcp.backends.remote import Fetched, RemoteBackend, tell
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.deadlines import Deadline
from kfgcp.errors import BackendError, BadAnswer, NotFound, Refused, UsageError
from kfgcp.hosts import is_loopback
from kfgcp.labels import EXPERIMENT, SUBMISSION
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, timestamp
from kfgcp.query import RunFilter, matches
from kfgcp.services.auth.google import google_tokens
from kfgcp.services.auth.tokens import ca_file
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING_ADDRESS
from kfgcp.services.cloud_logging import CloudLogging
from kfgcp.store.rows import Observed
from kfgcp.store.store import Store

PAGE: Final = 100
MOST: Final = 200
"""Runs that the server gives at once at most."""
SKEW: Final = 86400.0
"""Seconds that the clock of a server may be behind ours, before a run is not found again: many, as it would be made
twice."""
TAIL_LINES: Final = 20
_UNEXPLAINED: Final = (ErrorKind.LOG_UNREAD, ErrorKind.LOG_SILENT)
LATE_LOGS: Final = 600.0
"""Seconds after the end of a run in which a log that is not there may still come, such as one in Cloud Logging."""


class KubeflowBackend(RemoteBackend):
    """Runs of one host and namespace.

    A list has the runs whole but for what ML Metadata knows, which is four requests a run.
    """

    reads_listed = False
    reopens = True

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        super().__init__(project, env, store)
        host, tokens = address_and_tokens(env)
        host, certificates = host.rstrip("/"), ca_file(env)
        self._where, self._tokens = Where(host, env.name), tokens
        self._namespace: str = env.get("namespace") or ""
        how: dict[str, Any] = {
            "ca_file": certificates,
            "in_cluster": in_cluster(env),
            "seconds": env.request_seconds,
            "errors": KubeflowErrors(),
        }
        self._http = ServiceClient(host, tokens, service="Kubeflow Pipelines", paging=PAGE_KEYS, **how)
        self._metadata = Metadata(
            of_metadata(host, lambda base: ServiceClient(base, tokens, service="ML Metadata", **how))
        )
        self._ui = of_ui(host, lambda base: ServiceClient(base, tokens, service="Kubeflow Pipelines", **how))
        self._server = Server(self._http)
        self._logging: CloudLogging | None = None
        if gcp := env.get("project"):
            address = env.get("logging_endpoint") or LOGGING_ADDRESS
            google = tokens if is_loopback(address) else google_tokens(env.get("impersonate_service_account"))
            logging = ServiceClient(address, google, service="Cloud Logging", seconds=env.request_seconds)
            self._logging = CloudLogging(logging, gcp)
        self._experiments = Experiments(self._http, self._store, self.place, self._namespace)
        self._versions = Versions(self._http, self._store, self.place)
        self._cancelling = CancellingRuns(self._store, self.place)
        self._latest: tuple[str, Mapping[str, Any], list[Execution]] = ("", {}, [])

    # -- what RemoteBackend asks for

    @property
    def place(self) -> str:
        """By the settings, not by the address: that of a forwarded port is another one each time."""
        cluster = [self._env.get(key) or "" for key in ("kube_context", "kube_namespace", "kube_service")]
        named = self._env.get("api_endpoint") or self._env.get("host") or f"cluster:{'/'.join(cluster)}"
        return f"{named.rstrip('/')}/{self._namespace}/"

    def notes(self, request: SubmitRequest) -> list[str]:
        return [*body.notes(request), *self._server.notes(request.spec)]

    def _create(self, request: SubmitRequest) -> Run:
        """A run that carries our submission, by which it is found again when an answer is lost."""
        submission = secrets.token_hex(6)
        self._server.refuse(request.spec)
        sent = body.run(request, self._env, "", submission)  # what is wrong with it is found before anything is made
        check_experiment_name(request.options.experiment, self._server)
        check_parameters(sent["runtime_config"]["parameters"], self._server)
        experiment = self._experiment(request.options.experiment)
        sent["experiment_id"] = experiment
        since = timestamp(time.time() - SKEW)
        name = str(sent["display_name"])
        try:
            made = create(self._http, f"{API}/runs", sent, lambda: self._submitted(experiment, name, submission, since))
        except Refused as refused:
            raise self._server.explain(refused) from None
        run, _ = self._run(made, request.options.experiment)
        return replace(
            run,
            pipeline=request.spec.name,
            version=request.spec.version,
            labels=body.labels(request, submission),
            params=request.params,
        )

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is made when there is none."""
        try:
            return self._experiments.ensure(name)
        except NotFound:
            _ = self._server.version  # says so when the server is too old
            raise

    def _submitted(self, experiment: str, name: str, submission: str, since: str) -> list[dict[str, Any]]:
        """The runs of a submission, the oldest first; `since` is a time before it."""
        predicates = [filters.predicate("created_at", "GREATER_THAN_EQUALS", since, "timestamp_value")]
        predicates.append(filters.predicate("display_name", "EQUALS", name))
        params = {"experiment_id": experiment, "filter": filters.text(predicates), "sort_by": "created_at asc"}
        pages = self._http.pages(f"{API}/runs", {**self._scope(), **params}, "runs", size=PAGE)
        return [run for run in _readable(pages) if body.labels_of(run.get("description")).get(SUBMISSION) == submission]

    def _scope(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    def _fetch(self, backend_ref: str) -> Fetched:
        return self._whole(backend_ref, read_with_late_tasks(lambda: self._get(backend_ref)))

    def _get(self, backend_ref: str) -> dict[str, Any]:
        # Servers from 3.0 on answer with tasks[] then; older ones ignore it (tests/recorded: run-get-view-full).
        return read_run(self._http.get(f"{API}/runs/{quote(self._id(backend_ref))}", params={"view": "FULL"}))

    def _fetch_listed(self, listed: Fetched) -> Fetched:
        """What a list says of a run is what the run itself says, its tasks included."""
        backend_ref = listed.run.backend_ref or ""
        if listed.source is None or "run_details" not in listed.source or has_late_tasks(listed.source, time.time()):
            return self._fetch(backend_ref)
        return self._whole(backend_ref, listed.source)

    def _whole(self, backend_ref: str, answer: Mapping[str, Any]) -> Fetched:
        """A run with what ML Metadata knows of it when it has ended."""
        answer = self._with_spec(answer, ask=True)
        executions: list[Execution] = []
        missing = note = ""
        state = RUN_STATES.get(str(answer.get("state")), RunState.PENDING)
        if "tasks" in answer:
            executions, note = self._server_executions(answer)
        elif state is not RunState.PENDING:
            try:
                executions = self._metadata.executions(str(answer.get("run_id")), artifacts=state.final)
                if not executions and state.final:
                    note = f"Run {answer['run_id']} is shown without values and metrics: ML Metadata does not know it."
            except BackendError as error:
                missing, note = self._without_metadata(answer, error)
        self._latest = (backend_ref, answer, executions)
        run, spec = self._run(answer, self._experiment_of(answer), executions)
        if not state.final:
            missing = note = ""
        return Fetched(run, run.ended_at or run.created_at or "", spec, missing=missing, note=note)

    def _server_executions(self, answer: Mapping[str, Any]) -> tuple[list[Execution], str]:
        """Return the executions that the API server has of a run, and a note when it has some that cannot be read."""
        graph = graph_of(answer)
        tasks, problem = read_tasks(answer["tasks"])
        which = f"Run {answer['run_id']} of {self._env.name}"
        note = f"{which} is shown without some of its tasks: {problem}" if problem else ""
        return (executions_of(tasks, graph) if graph is not None else []), note

    def _without_metadata(self, answer: Mapping[str, Any], error: BackendError) -> tuple[str, str]:
        """Return what is missing of a run while ML Metadata does not answer, and the note when nobody has it any more.

        One of the two is empty.
        """
        if self._server.keeps_tasks(self._namespace):
            which = f"Run {answer['run_id']} of {self._env.name}"
            return "", f"{which} is shown without tasks: {NO_TASKS}"
        return f"Runs of {self._env.name} are shown without values, metrics and artifacts: {error.message}", ""

    def _experiment_of(self, answer: Mapping[str, Any]) -> str:
        """Return the name of a run's experiment as the run was given it, which is also what lists show.

        MySQL compares names without regard to case and trailing spaces, so a run of "default" may be in "Default".
        """
        name = self._experiments.name(str(answer.get("experiment_id") or ""))
        given = body.labels_of(answer.get("description")).get(EXPERIMENT, "")
        return given if is_same_name(given, name) else name

    def _with_spec(self, answer: Mapping[str, Any], *, ask: bool) -> Mapping[str, Any]:
        """The run with its spec; one that names a version of a pipeline does not hold it."""
        if answer.get("pipeline_spec"):
            return answer
        spec = self._versions.spec(answer, ask=ask)
        return answer if spec is None else {**answer, "pipeline_spec": spec}

    def _run(
        self, answer: Mapping[str, Any], experiment: str, executions: list[Execution] | None = None
    ) -> tuple[Run, Mapping[str, Any] | None]:
        run, spec = run_of(
            answer,
            self._where,
            experiment=experiment,
            executions=executions or (),
            cancelled=self._is_recorded_as_cancelled(answer),
        )
        return replace(run, backend_ref=self._ref_of(run.run_id)), spec

    def _is_recorded_as_cancelled(self, answer: Mapping[str, Any]) -> bool:
        """Return whether the store has that a run which the server calls FAILED was cancelled.

        The server does not always tell it (recorded: run-get-canceled.json of api-2.17.0).
        """
        progress = progress_of(answer)
        if progress.state is not RunState.FAILED:
            return False
        cancellation = self._store.cancellation(self._ref_of(str(answer["run_id"])))
        return cancellation is not None and cancellation.holds_for(progress.ended_at, progress.retried_at)

    def _id(self, backend_ref: str) -> str:
        return backend_ref.removeprefix(self.place)

    def _changes(self, observed: Observed | None, window: tuple[str, str | None]) -> Iterator[Fetched]:
        """Runs created in the window; of those known before, the ones that have ended, and all that go on: one that had
        ended may go on again, which no time of the server tells."""
        since, before = window
        if observed is None:
            predicates = [filters.predicate("created_at", "GREATER_THAN_EQUALS", since, "timestamp_value")]
            if before:
                predicates.append(filters.predicate("created_at", "LESS_THAN", before, "timestamp_value"))
            yield from self._listed(predicates, ask=True)
            return
        until = observed.changed_until
        yield from self._listed(filters.unfinished(), ask=True)
        yield from self._listed(
            [filters.predicate("finished_at", "GREATER_THAN_EQUALS", until, "timestamp_value")], ask=True
        )

    def _newest(self, run_filter: RunFilter, limit: int) -> Iterator[Fetched] | None:
        """Page by page, of a size that one holds all where the server can choose. None where it cannot and all runs of
        that time were read before: then it is less to read what has changed."""
        observed = self._store.observed(self.place)
        if filters.chosen_here(run_filter) and observed and (run_filter.since or "") >= observed.created_since:
            return None
        return self._until_enough(run_filter, limit)

    def _until_enough(self, run_filter: RunFilter, limit: int) -> Iterator[Fetched]:
        chosen = replace(run_filter, experiment=None)  # by its id, and servers find names whatever their case
        for fetched in self._of_experiment(run_filter, PAGE if filters.chosen_here(run_filter) else min(limit, MOST)):
            if matches(chosen, fetched.run):
                yield fetched
                limit -= 1
            if not limit:
                return

    def _of_experiment(self, run_filter: RunFilter, size: int) -> Iterator[Fetched]:
        """What the server chooses, of the experiment that is asked for; one that was deleted and made anew has another
        id than it had."""
        predicates = filters.predicates(run_filter)
        if run_filter.experiment is None:
            yield from self._listed(predicates, size)
            return
        for last in (False, True):
            experiment = self._experiments.id_of(run_filter.experiment)
            if experiment is None:
                return
            try:
                yield from self._listed(predicates, size, experiment)
                return
            except NotFound:
                self._experiments.forget(run_filter.experiment)
                if last:
                    raise

    def _again(self, backend_refs: Sequence[str]) -> Iterator[Fetched]:
        for first in range(0, len(backend_refs), PAGE):
            ids = [self._id(ref) for ref in backend_refs[first : first + PAGE]]
            yield from self._listed([filters.one_of("run_id", ids)])

    def _listed(
        self, predicates: list[dict[str, Any]], size: int = PAGE, experiment: str = "", *, ask: bool = False
    ) -> Iterator[Fetched]:
        """Runs of a list without their tasks, newest first. ask: read the specs of versions that are not known."""
        params = {**self._scope(), "sort_by": "created_at desc"}
        if experiment:
            params["experiment_id"] = experiment
        if predicates:
            params["filter"] = filters.text(predicates)
        pages = self._http.pages(f"{API}/runs", params, "runs", size=size)
        yield from self._read_items(pages, lambda answer: self._fetched_run(answer, ask=ask), identity="run_id")

    def _fetched_run(self, answer: Any, *, ask: bool) -> Fetched:
        run_answer = read_run(answer)
        light = {key: value for key, value in self._with_spec(run_answer, ask=ask).items() if key != "run_details"}
        named = body.labels_of(run_answer.get("description")).get(EXPERIMENT)
        run, spec = self._run(light, named or self._experiments.name_in_list(run_answer.get("experiment_id") or ""))
        changed = run.ended_at or run.created_at or ""
        return Fetched(replace(run, tasks=()), max(changed, run.created_at or ""), spec, run_answer)

    def _complete(self, run: Run, backend_ref: str) -> Run:
        """Return a failed run with the causes from the logs, and with the end of the log of its error.

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
                run = self._with_log_end(run, error, logs)
            paths = [path for path in causes.unread_tasks(run) if path != error.task]
            cause_by_task = causes.read_causes(logs, paths, deadline, lost=lost)
        except BackendError:
            # The next look tries again.
            pass
        return causes.with_causes(run, cause_by_task)

    def _with_log_end(self, run: Run, error: ErrorInfo, logs: RunLogs) -> Run:
        """Return a failed run whose error has the end of its log, and the cause."""
        try:
            end = logs.end_of(error.task, TAIL_LINES)
        except NotFound:
            return run
        message, kind = error.message, error.kind
        if causes.is_unread(error) or (end.cause and kind in _UNEXPLAINED):
            read_error = causes.error_of(end.cause, error.task)
            message, kind = read_error.message, read_error.kind
        return with_failure(run, replace(error, log_tail=end.lines, message=message, kind=kind, hint=""))

    def _is_explained(self, run: Run) -> bool:
        return super()._is_explained(run) and not causes.unread_tasks(run)

    def _start_failed(self, backend_ref: str) -> bool:
        """Return whether the driver of the whole run failed, so that no task is to blame."""
        latest, answer, _ = self._latest
        pods = pods_of_run(answer) if latest == backend_ref else None
        return pods is not None and bool(pods.failed_driver(""))

    def _stop(self, backend_ref: str) -> bool:
        try:
            self._http.post(f"{API}/runs/{quote(self._id(backend_ref))}:terminate", body={}, repeatable=True)
        except Refused as refused:
            if is_without_workflow(refused.message):
                self._cancelling.workflow_is_gone(self._id(backend_ref))
            elif refused.reason not in ("FAILED_PRECONDITION", "INVALID_ARGUMENT"):  # it has ended meanwhile
                raise
            return False
        return True

    def _remove(self, backend_ref: str) -> None:
        with suppress(NotFound):
            self._http.delete(f"{API}/runs/{quote(self._id(backend_ref))}")
        self._cancelling.forget(self._id(backend_ref))

    # -- Backend

    def _read(self, ref: RunRef, *, with_reasons: bool) -> Run:
        run = super()._read(ref, with_reasons=with_reasons)
        server_id = self._id(run.backend_ref or self._named(ref))
        self._cancelling.see(server_id, run.state)
        tell(self._cancelling.note(run.run_id, server_id))
        return run

    def is_deletable(self, run: Run) -> bool:
        return run.state.final or self._cancelling.never_ends(self._id(run.backend_ref or ""))

    # -- capabilities

    def native(self, ref: RunRef) -> Any:
        from kfgcp.backends.kubeflow.native import pipeline_run

        run_id = self._id(self._named(ref))
        seconds = self._env.request_seconds
        return pipeline_run(self._where.host, self._tokens, self._namespace, ca_file(self._env), run_id, seconds)

    def retry(self, ref: RunRef) -> RunState:
        """By `POST runs/ID:retry`, which starts the pods that failed anew and keeps the others.

        A server that will not do it answers with what may be an outage too, so its word is the state of the run.
        """
        backend_ref = self._named(ref)
        state, _ = before = self._end(backend_ref)
        if state is RunState.SUCCEEDED:
            raise UsageError(f"Run {ref.run_id} has succeeded.", hint=f"Run it again: kfgcp rerun {ref.run_id}")
        if not state.final:
            if self._store.get(ref.run_id, whole=False).state.final:  # somebody else let it go on
                self._reopen(ref.run_id)
            raise UsageError(f"Run {ref.run_id} is {state}.", hint=f"Follow the run: kfgcp watch {ref.run_id}")
        try:
            self._http.post(f"{API}/runs/{quote(self._id(backend_ref))}:retry", body={})
        except BackendError as error:
            if not error.unknown or self._end(backend_ref) == before:
                raise
        self._reopen(ref.run_id)
        return self.get(ref).state

    def _end(self, backend_ref: str) -> tuple[RunState, str]:
        """The state of a run, and when it ended, as the server has them, whatever is recorded."""
        answer = self._get(backend_ref)
        return RUN_STATES.get(str(answer.get("state")), RunState.PENDING), str(answer.get("finished_at"))

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        return self._logs(self._named(ref)).read(log_filter)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> RunTail:
        backend_ref = self._named(ref)
        return RunTail(lambda: self._logs(backend_ref, live=True), log_filter)

    def keeps(self, uri: str) -> bool:
        """Return whether an artifact is in the server's own store, which has no address that this machine knows."""
        return uri.startswith(f"{SCHEME}://") and BucketSettings.of_environment(self._env).endpoint is None

    def beginning(self, uri: str, size: int) -> bytes:
        return ServerStore(self._ui, self._namespace, self._env.request_seconds).beginning(uri, size)

    def _logs(self, backend_ref: str, *, live: bool = False) -> RunLogs:
        """Return the logs of a run.

        Args:
            backend_ref: the run.
            live: they are followed. Then the run was looked at just now, and the next look may find what is missing.
        """
        latest, answer, executions = self._latest
        over = RUN_STATES.get(str(answer.get("state")), RunState.PENDING).final
        if latest != backend_ref or not (live or over):
            self._fetch(backend_ref)
            _, answer, executions = self._latest
        failure: BackendError | None = None
        if not executions and "tasks" not in answer:
            try:
                executions = self._metadata.executions(str(answer.get("run_id")), artifacts=not live)
            except BackendError as error:
                failure = error
        logs = RunLogs(Place(self._ui, self._logging, self._namespace, self._env.name), answer, executions)
        if failure is not None and not live and not logs.attempts:
            raise failure
        return logs

    def _named(self, ref: RunRef) -> str:
        known = self._store.refs(ref.run_id)
        return known[1] if known else self._ref_of(ref.run_id)


def _readable(runs: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the runs of a list that can be read."""
    for run in runs:
        with suppress(BadAnswer):
            yield read_run(run)
