"""Record what people write about runs: tags and notes."""

from __future__ import annotations

from collections.abc import Iterable

from kfgcp.errors import UsageError
from kfgcp.store.rows import TAG, fetch_value, is_tag, sql_values
from kfgcp.store.writer import Writer


class TagsNotes(Writer):
    """The part of the index that has the tags and notes of runs. No backend knows them."""

    def tag(
        self, run_id: str, tags: Iterable[str] = (), *, remove: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Add tags to a run and remove others.

        Args:
            run_id: the run.
            tags: tags to add.
            remove: tags to remove.

        Returns:
            All tags that the run has now, sorted.

        Raises:
            UsageError: there is no such run, or a text cannot be a tag.
        """
        new_tags = list(tags)
        for tag in new_tags:
            if not is_tag(tag):
                raise UsageError(f"{tag!r} cannot be a tag.", hint=f"A tag is {TAG}.")
        with self._transaction():
            self._check_recorded(run_id)
            self._db.executemany(
                "DELETE FROM tags WHERE run_id = ? AND tag = ?",
                [sql_values(run_id, tag) for tag in remove],
            )
            self._add_tags(run_id, new_tags)
            rows = self._db.execute(
                "SELECT tag FROM tags WHERE run_id = ? ORDER BY tag", sql_values(run_id)
            ).fetchall()
        return tuple(row["tag"] for row in rows)

    def note(self, run_id: str, note: str) -> None:
        """Replace the note of a run. An empty text removes it.

        Raises:
            UsageError: there is no such run.
        """
        with self._transaction():
            self._check_recorded(run_id)
            self._db.execute("DELETE FROM notes WHERE run_id = ?", sql_values(run_id))
            self._add_note(run_id, note)

    def _check_recorded(self, run_id: str) -> None:
        """Raise RunNotFound when there is no record of the run."""
        cursor = self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", sql_values(run_id))
        fetch_value(cursor, run_id)

    def _add_tags(self, run_id: str, tags: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO tags VALUES (?, ?)", [sql_values(run_id, tag) for tag in tags]
        )

    def _add_note(self, run_id: str, note: str) -> None:
        if note:
            self._db.execute("INSERT INTO notes VALUES (?, ?)", sql_values(run_id, note))
