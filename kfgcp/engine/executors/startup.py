"""Recognise environment variables that Python or a library reads when it starts.

A forked process cannot set them, because Python and the libraries have started before the fork. A
task with these variables needs a fork server that starts with them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

# fmt: off
_PREFIXES: Final = (
    # The interpreter, the dynamic linker, the allocator and the locale.
    "PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG",
    # Numeric libraries. They choose the number of their threads when they are loaded.
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_",
    # Libraries that read variables when they are imported.
    "NPY_", "ARROW_", "SCIPY_", "SKLEARN_", "JOBLIB_", "OPENSSL_",
)
# fmt: on


def read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read at start and have another value in this process.

    Args:
        environ: the variables of a task. Those that this process does not have count too.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_PREFIXES) and os.environ.get(name) != value
    }
