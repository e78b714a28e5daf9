"""Show and edit the note and the tags of a run, which are kept in the store."""

from __future__ import annotations

import re
from typing import Final

import streamlit as st

from kfgcp import Run
from kfgcp_dashboard import actions, data, elements, text

MAX_NOTE_LENGTH: Final = 10_000
MAX_TAG_LENGTH: Final = 60
MAX_TAGS: Final = 20

# A tag has no blanks and commas, so a text with them becomes several tags.
_TAG_SEPARATORS: Final = re.compile(r"[\s,]+")


def show(run: Run) -> None:
    """Show the note and the tags of a run, to read and to edit."""
    may_act = actions.current_visitor().may_act
    st.subheader("Notes and tags", anchor=False)
    note_place, tags_place = st.columns([3, 2])
    # The keys change with the stored values. Streamlit ignores a new value for a key that it
    # knows (streamlit issue 12880), so a note that somebody else wrote would not appear, and the
    # old one would be written over it.
    note = note_place.text_area(
        "Note",
        run.note,
        key=f"note-{run.run_id}-{hash(run.note)}",
        max_chars=MAX_NOTE_LENGTH,
        height=90,
        placeholder="What is this run about?",
        disabled=not may_act,
    )
    all_tags = set(data.column_values(data.workspace().store, "tags"))
    all_tags.update(run.tags)
    tags = tags_place.multiselect(
        "Tags",
        sorted(all_tags),
        list(run.tags),
        key=f"tags-{run.run_id}-{hash(run.tags)}",
        accept_new_options=True,
        max_selections=MAX_TAGS,
        placeholder="Select or type",
        disabled=not may_act,
    )
    new_note = note or ""
    if new_note != run.note or sorted(tags) != sorted(run.tags):
        _save(run, new_note, tags)


@elements.catch_errors
def _save(run: Run, note: str, typed_tags: list[str]) -> None:
    """Store the note and the tags, and run the page again."""
    actions.require_permission()
    new_tags = set[str]()
    for typed_tag in typed_tags:
        for word in _TAG_SEPARATORS.split(text.visible(typed_tag)):
            if word:
                new_tags.add(word[:MAX_TAG_LENGTH])
    store = data.workspace().store
    store.note(run.run_id, note[:MAX_NOTE_LENGTH])
    store.tag(run.run_id, new_tags, remove=set(run.tags) - new_tags)
    st.rerun()
