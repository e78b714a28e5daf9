"""Notes and tags of a run, kept in the store."""

from __future__ import annotations

import re
from typing import Final

import streamlit as st

from kfgcp.model import Run
from kfgcp_dashboard import actions, data, elements, text

LONGEST: Final = 10_000
"""Characters of a note."""
TAG: Final = 60
MOST: Final = 20


def show(run: Run) -> None:
    """The note and the tags of a run, to read and to edit."""
    may_act = actions.who().may_act
    st.subheader("Notes and tags", anchor=False)
    left, right = st.columns([3, 2])
    with left:
        note = st.text_area(
            "Note",
            run.note,
            key=f"note-{run.run_id}-{hash(run.note)}",
            max_chars=LONGEST,
            height=90,
            placeholder="What was it about?",
            disabled=not may_act,
        )
    with right:
        known = sorted({*data.values(data.workspace().store, "tags"), *run.tags})
        tags = st.multiselect(
            "Tags",
            known,
            list(run.tags),
            key=f"tags-{run.run_id}-{hash(run.tags)}",
            accept_new_options=True,
            max_selections=MOST,
            placeholder="Pick or type",
            disabled=not may_act,
        )
    if (note or "") != run.note or sorted(tags) != sorted(run.tags):
        _keep(run, note or "", tags)


@elements.guarded
def _keep(run: Run, note: str, tags: list[str]) -> None:
    actions.must_be_allowed()
    store = data.workspace().store
    words = (
        word for tag in tags for word in re.split(r"[\s,]+", text.visible(tag))
    )  # tags hold no blanks and commas
    wanted = {word[:TAG] for word in words} - {""}
    store.note(run.run_id, note[:LONGEST])
    store.tag(run.run_id, wanted, remove=set(run.tags) - wanted)
    st.rerun()
