#!/usr/bin/env python3
"""Compiles each header of the product alone. Usage: headers.py COMPILER"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import checks


def error_of(compiler, root, header):
    """What the compiler says of a file that includes only this header; empty when it is fine."""
    result = subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", "-I", root, "-x", "c++", "-"],
        input=f'#include "{header}"\n', capture_output=True, text=True, check=False)
    return result.stderr or "failed" if result.returncode != 0 else ""


def main():
    compiler = sys.argv[1] if len(sys.argv) > 1 else "c++"
    root = Path(__file__).resolve().parents[2]
    headers = [path for path in checks.Tree.read(root).product() if path.endswith(".h")]
    if not headers:
        sys.exit(f"no headers under {root}")
    with ThreadPoolExecutor(min(2, os.cpu_count())) as pool:
        errors = list(pool.map(lambda header: error_of(compiler, root, header), headers))
    bad = [(header, error) for header, error in zip(headers, errors) if error]
    for header, error in bad:
        print(f"{header} does not compile alone; include what it uses:\n{error}")
    print(f"{len(headers)} headers, {len(bad)} findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
