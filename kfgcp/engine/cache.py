"""The cache of task outputs: a task whose key is the key of an earlier success does not run.

`kfgcp.engine.cache_key` computes the keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.engine.cache_key import digest, has_unseen_inputs, key_parts, source_parts
from kfgcp.engine.cache_reasons import (
    MAX_SUCCESSES,
    SAME_CODE_AND_INPUTS,
    EarlierSuccesses,
    explain_deleted,
)
from kfgcp.engine.stored_outputs import format_outputs, has_files, parse_outputs, why_unusable
from kfgcp.engine.task_run import TaskRun
from kfgcp.model import Cache
from kfgcp.semantics.values import Values
from kfgcp.store.rows import CacheEntry, Origin
from kfgcp.store.store import Store

# How many successes with one key are checked, the newest first, until one is found whose files
# still exist.
_MAX_CHECKED: Final = 100

# The number of an iteration in a task path: `loop[3]/train`.
_ITERATION: Final = re.compile(r"\[\d+\]")


class TaskCache:
    """The cache, for the tasks of one run.

    Args:
        store: the store that has the entries of the cache.
        pipeline: the name of the pipeline. Runs of pipelines with the same name share entries.
        run_id: the run.
        override: True or False switches caching on or off for every task; None follows the spec.
        buckets: the addresses of object stores, and their time limits.
    """

    def __init__(
        self,
        store: Store,
        pipeline: str,
        run_id: str,
        override: bool | None,
        buckets: BucketSettings = DEFAULTS,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._run_id = run_id
        self._override = override
        self._buckets = buckets
        # By the name of the task.
        self._earlier_successes: dict[str, EarlierSuccesses] = {}
        # The keys of this run's successes. Some may not be in the store yet, because the engine
        # records all results of one turn of its loop together.
        self._own_keys: set[str] = set()

    def look_up(self, node: TaskRun, reuse_problem: str | None = None) -> Values | None:
        """Return the outputs of an earlier success, None when the task must run.

        Also set `node.cache`, which tells the user the reason for the result.

        The caller holds the `FileUse` lock until it has recorded that this run uses the outputs.

        Args:
            node: the task.
            reuse_problem: the reason when this run repeats another run, but cannot use the outputs
                that the task has there. Otherwise None.
        """
        reason = self._why_not_cacheable(node)
        if reason is not None:
            node.cache = Cache(False, reason)
            return None
        key = digest(key_parts(node))
        entry, problem = self._find_usable(key)
        if entry is not None:
            node.cache = Cache(True, f"{_describe_match(node)} as in {_describe_run(entry)}")
            node.origin = entry.origin
            return parse_outputs(entry.outputs)
        node.cache = Cache(False, problem or self._why_missed(node, key, reuse_problem))
        return None

    def build_entry(self, node: TaskRun, stored_at: str) -> CacheEntry | None:
        """Return the cache entry of a success, None when no later task can use its outputs.

        Args:
            node: the task that has succeeded.
            stored_at: the time of the success, as a timestamp.
        """
        if not self._is_enabled(node) or has_unseen_inputs(node):
            return None
        parts = key_parts(node)
        key = digest(parts)
        self._own_keys.add(key)
        outputs = format_outputs(node.outputs)
        return CacheEntry(
            pipeline=self._pipeline,
            key=key,
            task=_task_name(node),
            origin=Origin(self._run_id, node.path, node.attempts),
            stored_at=stored_at,
            parts=parts | source_parts(node),
            outputs=outputs,
            has_files=has_files(outputs),
        )

    def _is_enabled(self, node: TaskRun) -> bool:
        assert node.task is not None
        return node.task.cache if self._override is None else self._override

    def _why_not_cacheable(self, node: TaskRun) -> str | None:
        """Return why the task does not use the cache, None when it uses the cache."""
        if not self._is_enabled(node):
            scope = "for this task" if self._override is None else "for this run"
            return f"caching is off {scope}"
        if node.must_run:
            return "the user asked to run this task again, or a task that it depends on"
        return node.unseen_changes_reason if has_unseen_inputs(node) else None

    def _find_usable(self, key: str) -> tuple[CacheEntry | None, str | None]:
        """Return the newest success with a key whose files still exist, and a problem.

        The problem is the reason why the newest success of all cannot be used. It is None when that
        success can be used, and when no run has succeeded with this key.
        """
        problem: str | None = None
        for entry in self._successes(key):
            run_id = entry.known_run or entry.origin.run_id
            unusable = why_unusable(entry.outputs, run_id, self._buckets)
            if unusable is None:
                return entry, problem
            problem = problem or unusable.reason
            if unusable.is_unreachable:
                # A request to an unreachable object store is slow. The next request would be, too.
                break
        return None, problem

    def _successes(self, key: str) -> Iterator[CacheEntry]:
        """Yield the successes with a key in other runs, the newest first."""
        entry: CacheEntry | None = None
        for _ in range(_MAX_CHECKED):
            entry = self._store.find_cached(
                self._pipeline, key, other_than=self._run_id, older_than=entry
            )
            if entry is None:
                return
            yield entry

    def _why_missed(self, node: TaskRun, key: str, reuse_problem: str | None) -> str:
        """Return why there is no success that the task can use."""
        if self._has_own_success(key):
            # Identical tasks of one run never use each other's outputs. So the states of the tasks
            # do not depend on which of them ends first.
            task = "an identical task"
            if node.task and node.task.cache_key:
                task = f"a task with the {_describe_match(node)}"
            return (
                f"{task} succeeded in this run, but in no earlier run, and tasks of the same run do"
                " not share outputs"
            )
        if reuse_problem:
            return reuse_problem
        deleted = self._store.find_deleted(self._pipeline, key)
        if deleted is not None:
            return explain_deleted(deleted, _describe_match(node))
        return self._read_earlier_successes(node).explain(key_parts(node), source_parts(node))

    def _has_own_success(self, key: str) -> bool:
        """Return whether a task of this run, also before an interruption, succeeded with a key."""
        if key in self._own_keys:
            return True
        newest = self._store.find_cached(self._pipeline, key)
        return newest is not None and newest.origin.run_id == self._run_id

    def _read_earlier_successes(self, node: TaskRun) -> EarlierSuccesses:
        """Return the successes of a task in other runs. They are read from the store once."""
        task = _task_name(node)
        successes = self._earlier_successes.get(task)
        if successes is None:
            parts = self._store.earlier_parts(self._pipeline, task, self._run_id, MAX_SUCCESSES)
            successes = EarlierSuccesses(parts)
            self._earlier_successes[task] = successes
        return successes


def _describe_match(node: TaskRun) -> str:
    """Return what a task has in common with a success that has the same key, for messages."""
    assert node.task is not None
    return "same cache key" if node.task.cache_key else SAME_CODE_AND_INPUTS


def _describe_run(entry: CacheEntry) -> str:
    """Return a run that has the outputs of a success, for messages."""
    # `known_run` still exists. It is the run that produced the outputs, or a run that took them
    # from the cache.
    if entry.known_run:
        return f"run {entry.known_run}"
    return f"run {entry.origin.run_id}, which was deleted"


def _task_name(node: TaskRun) -> str:
    """Return the path of a task without the numbers of iterations: `loop/train`."""
    return _ITERATION.sub("", node.path)
