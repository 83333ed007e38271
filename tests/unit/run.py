#!/usr/bin/python3
"""Runs Check programs, as many at once as there are processors, shows what failed, and ends with one line of totals that
machines can read."""
import concurrent.futures
import os
import re
import subprocess
import sys


def run(program):
    """(checks passed, checks failed, what to show)"""
    done = subprocess.run([program], capture_output=True, text=True, errors="replace")
    counts = re.search(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", done.stdout)
    bad = int(counts[2]) + int(counts[3]) if counts else 1
    if done.returncode != 0 and bad == 0:
        bad = 1  # a sanitizer ended it behind the summary
    shown = f"FAILED {program} (exit status {done.returncode})\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}" if bad else ""
    return (int(counts[1]) - bad if counts else 0), bad, shown


def main(programs):
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for good, bad, shown in pool.map(run, programs):
            passed += good
            failed += bad
            if shown:
                print(shown)
    print(f"unit: {len(programs)} programs")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


sys.exit(main(sys.argv[1:]))
