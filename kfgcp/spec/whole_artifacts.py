"""Find commands that take a whole artifact instead of its URI, path or metadata.

`dsl.Input[list[Dataset]]` as an argument of a container component compiles to
`{{$.inputs.artifacts['data']}}`. KFP does not document what the command then gets, and backends
differ.
"""

from __future__ import annotations

import re
from typing import Final

WHOLE_ARTIFACT: Final = re.compile(
    r"\{\{\$\.(inputs|outputs)\.artifacts\[(['\"])([^'\"{}]*)\2\]\}\}"
)
