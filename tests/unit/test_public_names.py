"""What is public changes only on purpose: docs/compatibility.md."""

from __future__ import annotations

import json

import public_names


def test_the_public_names_are_those_of_the_list() -> None:
    listed = json.loads(public_names.FILE.read_text())
    current = public_names.list_public_names()
    assert current.keys() == listed.keys()
    for kind, names in listed.items():
        # A difference: add a line to CHANGELOG.md, then `python tools/public_names.py --update`.
        assert current[kind] == names, kind
