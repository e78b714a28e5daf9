"""Fills a store with many runs, quicker than they could be recorded one by one."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kfgcp.model import timestamp
from kfgcp.store.store import Store

NEWEST = 1_767_323_045.0
BACKENDS = (("local", "local"), ("dev", "vertex"), ("gke", "kubeflow"))


def fill(home: Path, count: int) -> None:
    """Records so many runs, a minute apart, each with 10 parameters and 5 metrics; every tenth has
    failed."""
    chance = random.Random(1)  # noqa: S311
    with Store(home) as store, store._transaction():
        ids = [f"{number:04x}{chance.getrandbits(32):08x}" for number in range(count)]
        runs = (_run(run_id, number, count, chance) for number, run_id in enumerate(ids))
        store._db.executemany(
            "INSERT INTO runs (run_id, env, backend, pipeline, version, experiment, name, state,"
            " created_at, started_at, ended_at, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            runs,
        )
        store._db.executemany("INSERT INTO params VALUES (?, ?, ?, ?)", _params(ids, chance))
        store._db.executemany(
            "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", _metrics(ids, chance)
        )


def _run(run_id: str, number: int, count: int, chance: random.Random) -> tuple[Any, ...]:
    at = NEWEST - (count - number) * 60
    failed = number % 10 == 0
    pipeline, (env, backend) = f"pipeline-{number % 8}", BACKENDS[number % 3]
    error = (
        json.dumps({"task": "train", "message": "ValueError: no luck", "log_tail": []})
        if failed
        else None
    )
    return (
        *(
            run_id,
            env,
            backend,
            pipeline,
            f"sha256:{number // 1000 % 40:064x}",
            f"exp-{number % 50}",
        ),
        *(f"{pipeline}-{number}", "FAILED" if failed else "SUCCEEDED"),
        *(timestamp(at), timestamp(at + 1), timestamp(at + 1 + 100 * chance.random()), error),
    )


def _params(ids: list[str], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    for run_id in ids:
        for position in range(10):
            value = round(chance.random(), 6) if position < 7 else chance.choice("abc")
            yield run_id, position, f"param_{position}", json.dumps(value)


def _metrics(ids: list[str], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    for run_id in ids:
        for position in range(5):
            yield (
                run_id,
                position,
                "evaluate",
                "metrics",
                f"metric_{position}",
                json.dumps(chance.random()),
            )
