#!/usr/bin/python3
"""Runs Check programs, shows what failed, and ends with one line of totals that machines can read."""
import re
import subprocess
import sys


def main(programs):
    passed = failed = 0
    for program in programs:
        run = subprocess.run([program], capture_output=True, text=True, errors="replace")
        counts = re.search(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", run.stdout)
        bad = int(counts[2]) + int(counts[3]) if counts else 1
        if run.returncode != 0 and bad == 0:
            bad = 1  # a sanitizer ended it behind the summary
        passed += int(counts[1]) - bad if counts else 0
        failed += bad
        if bad:
            print(f"FAILED {program} (exit status {run.returncode})")
            print(run.stdout[-8000:])
            print(run.stderr[-8000:])
    print(f"unit: {len(programs)} programs")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


sys.exit(main(sys.argv[1:]))
