"""House rules that a machine can check; run by .ci/run from the root of the repository."""

import re
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT = 400
BANNED = {"utils", "misc", "common", "helpers"}
PRIVATE = re.compile(r"/(?:work|root|home)/\w|pypi\.org|pythonhosted|npmjs\.|debian\.org")

files = [Path(f) for f in subprocess.check_output(["git", "ls-files"], text=True).split()]
code = [f for f in files if f.suffix in (".py", ".cpp", ".hpp") and f.exists()]
problems = []
lengths = []
for path in code:
    count = len(path.read_text().splitlines())
    if path.parts[0] in ("torchtangents", "csrc"):
        lengths.append(count)
    if count > LIMIT:
        problems.append(f"{path}: {count} lines, expected at most {LIMIT}")
    if path.stem in BANNED:
        problems.append(f"{path}: a name that says nothing")
for path in files:
    if path.suffix in (".png", ".npz", ".gif") or path == Path(".ci/rules.py") or not path.exists():
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if PRIVATE.search(line):
            problems.append(f"{path}:{number}: names a package registry or a path of one machine")
print(f"{len(lengths)} source files, median {statistics.median(lengths):.0f} lines, longest {max(lengths)}")
if problems:
    sys.exit("\n".join(problems))
