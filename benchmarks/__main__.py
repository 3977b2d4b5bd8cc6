"""`python -m benchmarks [NAME ...] [--output json]`: run benchmarks, print their tables."""

import sys

from benchmarks.runner import main

if __name__ == "__main__":
    sys.exit(main())
