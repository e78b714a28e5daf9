"""Variables that are read when an interpreter or a library starts, and so come too late in a
process that is forked."""

from __future__ import annotations

import os
from collections.abc import Mapping

_PREFIXES = (
    *("PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG"),
    *(
        "OMP_",
        "GOMP_",
        "KMP_",
        "MKL_",
        "OPENBLAS_",
        "GOTO_",
        "BLIS_",
        "VECLIB_",
        "NUMEXPR_",
    ),  # sizes of thread pools
    *(
        "NPY_",
        "ARROW_",
        "SCIPY_",
        "SKLEARN_",
        "JOBLIB_",
        "OPENSSL_",
    ),  # what libraries read when they are imported
)


def read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the variables that are read at start and that this process does not have with the
    same value."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_PREFIXES) and os.environ.get(name) != value
    }
