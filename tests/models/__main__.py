"""Prints what the models find, as the second half of README.md: `python -m tests.models` at the root of the repository."""

import sys

from tests.models.report import report

if __name__ == "__main__":
    for line in report():
        sys.stdout.write(f"{line}\n")
