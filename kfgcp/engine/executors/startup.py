"""Variables that an interpreter or a library reads when it starts.

A forked process has them too late. A task with such variables needs a fork server that starts with
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

# fmt: off
_PREFIXES: Final = (
    # The interpreter, the dynamic linker, the allocator and the locale.
    "PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG",
    # Numeric libraries: they size their pools of threads when they are loaded.
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_",
    # Libraries that read variables when they are imported.
    "NPY_", "ARROW_", "SCIPY_", "SKLEARN_", "JOBLIB_", "OPENSSL_",
)
# fmt: on


def read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read at start and that this process does not have.

    A variable that this process has with another value counts too.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_PREFIXES) and os.environ.get(name) != value
    }
