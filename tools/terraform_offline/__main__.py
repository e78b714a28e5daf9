"""`python tools/terraform_offline DIR VERB`: this folder as a command."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from terraform_offline.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
