"""The demo agent's program: `python -I demo_agent.py --help` says what it does.

This file is compiled at each start, unlike what it imports, so it is kept to a few lines.
"""

import sys
from pathlib import Path

# `-I` leaves the folder of the script out of the path, and the interpreter need not have us
# installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bullpen.testing.demo.agent import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
