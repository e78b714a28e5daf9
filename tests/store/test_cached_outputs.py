"""What the store knows of the outputs and files that later runs may use."""

from collections.abc import Callable

from kfgcp.model import Run
from kfgcp.store.rows import CacheEntry, Changes, DeletedSuccess, Origin, Use
from kfgcp.store.store import Store

MakeRun = Callable[..., Run]


def test_cached_outputs_come_back_by_key(store: Store, make_run: MakeRun) -> None:
    def entry(key: str, day: int, pipeline: str = "train", task: str = "fit") -> CacheEntry:
        origin, at = Origin("aaaa00000001", task, 1), f"2026-01-0{day}T00:00:00.000Z"
        return CacheEntry(pipeline, key, task, origin, at, {"lr": 1}, {"o": [key]})

    old, new = entry("k1", 1), entry("k2", 2)
    store.add_run(make_run())
    store.apply(
        "aaaa00000001",
        Changes(cached=[new, old, entry("k3", 3, task="other"), entry("k1", 4, "another")]),
    )

    assert store.find_cached("train", "k1") == old
    assert store.find_cached("train", "k4") is None
    newest_entry = entry("k1", 5)
    store.apply("aaaa00000001", Changes(cached=[newest_entry]))
    assert store.find_cached("train", "k1") == newest_entry


def test_what_a_task_was_made_of_in_other_runs_comes_newest_first(
    store: Store, make_run: MakeRun
) -> None:
    for number in (1, 2, 3):
        run_id, day = f"aaaa0000000{number}", f"2026-01-0{number}T00:00:00.000Z"
        store.add_run(make_run(run_id))
        entry = CacheEntry(
            "train", f"k{number}", "fit", Origin(run_id, "fit", 1), day, {"n": number}, {}
        )
        store.apply(run_id, Changes(cached=[entry]))

    assert store.earlier_parts("train", "fit", "aaaa00000003", 100) == [{"n": 2}, {"n": 1}]
    assert store.earlier_parts("train", "fit", "none", 1) == [{"n": 3}]
    assert store.earlier_parts("train", "nothing", "none", 100) == []


def test_of_a_deleted_run_the_cache_only_knows_that_it_was_there(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run())
    day = "2026-01-01T00:00:00.000Z"
    origin = Origin("aaaa00000001", "fit", 1)
    entry = CacheEntry(
        "train", "k1", "fit", origin, day, {"n": 1}, {"params": {"Output": "secret"}}
    )
    store.apply("aaaa00000001", Changes(cached=[entry]))
    assert store.find_deleted("train", "k1") is None

    store.forget("aaaa00000001")

    assert store.find_cached("train", "k1") is None
    assert store.find_deleted("train", "k1") == DeletedSuccess("aaaa00000001", had_files=False)
    assert store.earlier_parts("train", "fit", "another", 100) == [{"n": 1}]


def test_an_older_success_remains_when_the_newest_is_deleted(
    store: Store, make_run: MakeRun
) -> None:
    ids = [f"aaaa0000000{number}" for number in range(4)]
    entries = {}
    for number, run_id in enumerate(ids):
        store.add_run(make_run(run_id))
        day, origin = f"2026-01-0{number + 1}T00:00:00.000Z", Origin(run_id, "fit", 1)
        entries[run_id] = CacheEntry(
            "train", "k1", "fit", origin, day, {}, {"o": number}, has_files=number == 1
        )
        store.apply(run_id, Changes(cached=[entries[run_id]]))
    newest = entries[ids[3]]
    assert store.find_cached("train", "k1") == newest
    assert store.find_cached("train", "k1", older_than=newest) == entries[ids[2]]
    assert (
        store.find_cached("train", "k1", other_than=ids[3], older_than=entries[ids[2]])
        == entries[ids[1]]
    )
    assert store.find_cached("train", "k1", older_than=entries[ids[0]]) is None

    for deleted, remaining in ((3, 2), (0, 2), (2, 1)):
        store.forget(ids[deleted])
        assert store.find_cached("train", "k1") == entries[ids[remaining]]
        assert store.find_deleted("train", "k1") is None, "another success exists"
    store.forget(ids[1])
    assert store.find_cached("train", "k1") is None
    assert store.find_deleted("train", "k1") == DeletedSuccess(ids[1], had_files=True)
    assert len(store.earlier_parts("train", "fit", "another", 100)) == 1


def test_equal_successes_of_one_deleted_run_leave_one_behind(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run())
    day = "2026-01-01T00:00:00.000Z"
    paths = [f"loop[{number}]/fit" for number in range(3)]
    entries = [
        CacheEntry("train", "k1", "loop/fit", Origin("aaaa00000001", path, 1), day, {}, {})
        for path in paths
    ]
    store.apply("aaaa00000001", Changes(cached=entries))
    assert store.find_cached("train", "k1", older_than=entries[2]) == entries[1]

    store.forget("aaaa00000001")

    assert len(store.earlier_parts("train", "loop/fit", "another", 100)) == 1


def test_a_run_that_uses_one_file_of_a_success_does_not_have_that_success(
    store: Store, make_run: MakeRun
) -> None:
    origin, retried = Origin("aaaa00000001", "fit", 2), Origin("aaaa00000001", "fit", 1)
    for number in (1, 2, 3):
        store.add_run(make_run(f"aaaa0000000{number}"))
    entry = CacheEntry("train", "k1", "fit", origin, "2026-01-01T00:00:00.000Z", {}, {})
    store.apply(origin.run_id, Changes(cached=[entry]))
    store.apply(
        "aaaa00000002", Changes(uses=[Use("importer", origin), Use("other", retried, cached=True)])
    )

    store.forget(origin.run_id)

    imported = store.find_cached("train", "k1")
    assert imported is not None
    assert imported.known_run == ""
    store.apply("aaaa00000003", Changes(uses=[Use("fit", origin, cached=True)]))
    cached = store.find_cached("train", "k1")
    assert cached is not None
    assert cached.known_run == "aaaa00000003"


def test_what_a_run_uses_is_kept_until_the_last_user_is_forgotten(
    store: Store, make_run: MakeRun
) -> None:
    origin, other = Origin("aaaa00000001", "fit", 2), Origin("aaaa00000001", "other", 1)
    ids = [f"aaaa0000000{number}" for number in (1, 2, 3)]
    for number, run_id in enumerate(ids):
        store.add_run(make_run(run_id, created_at=f"2026-01-0{number + 1}T00:00:00.000Z"))
    entries = [
        CacheEntry(
            "train", key, entry_origin.path, entry_origin, "2026-01-01T00:00:00.000Z", {}, {}
        )
        for key, entry_origin in (("used", origin), ("unused", other))
    ]
    store.apply(ids[0], Changes(cached=entries))
    store.apply(ids[1], Changes(uses=[Use("fit", origin)]))
    store.apply(ids[1], Changes(uses=[Use("fit", origin, cached=True)]))
    store.apply(ids[2], Changes(uses=[Use("import", origin)]))

    assert store.users(ids[0]) == {origin: [ids[1], ids[2]]}
    assert store.origins(ids[1]) == {"fit": origin}
    assert store.origins(ids[2]) == {}, "the run shares only an artifact, not a task"
    store.forget(ids[0], has_files=True)
    assert [*store.removals().values()] == [ids[0]]
    assert store.find_cached("train", "unused") is None
    for last, cached_from_it in ((ids[1], ids[1]), (ids[2], "")):
        entry = store.find_cached("train", "used")
        assert entry is not None
        assert entry.known_run == cached_from_it
        store.forget(last, has_files=True)
        assert [*store.removals().values()][-2:] == sorted([ids[0], last])
    assert store.find_cached("train", "used") is None
    assert store.users(ids[0]) == {}
