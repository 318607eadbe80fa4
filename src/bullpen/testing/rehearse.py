"""The rehearsal's launcher: `python -I rehearse.py PLAN -- AGENT ARGUMENT...`."""

import sys
from pathlib import Path

# `-I` leaves the folder of the script out of the path, and the interpreter need not have us
# installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bullpen.testing.rehearsal.launcher import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
