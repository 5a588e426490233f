#!/usr/bin/env python3
"""Checks the source tree against rules.py. Prints each finding; exit 1 when there is one."""

import sys
from pathlib import Path

import checks


def main():
    root = Path(__file__).resolve().parents[2]
    tree = checks.Tree.read(root)
    if not tree.product():
        sys.exit(f"no C++ sources under {root}")
    found = checks.findings(tree)
    for finding in found:
        print(finding)
    print(f"{len(tree.product())} files, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
