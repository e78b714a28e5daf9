"""Make this folder a command: `python tools/terraform_offline DIR VERB`."""

import sys
from pathlib import Path

# Python puts this folder on the path. The package is found in the folder above it.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from terraform_offline.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
