"""`python -m dreamprm`: the command line without the console script."""

import sys

from dreamprm.cli import main

if __name__ == "__main__":
    sys.exit(main())
