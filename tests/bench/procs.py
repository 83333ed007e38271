"""Processes of the benchmark: starting them pinned, ending them for sure, and reading what they cost from /proc.

Used by bench.py and peers.py. Knows nothing of proxies. Only processes started here are ever signalled.
"""
import ctypes
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What makes one cell of the table worthless; the text is shown."""


def descriptor_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Process:
    """A program in a session of its own, pinned to one CPU (or to several), that dies with the benchmark. stderr goes to the file
    `log`."""

    running = []

    def __init__(self, argv, cpu, log, stdout=None):
        def before_exec():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            hard = descriptor_limit()
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            os.sched_setaffinity(0, {cpu} if isinstance(cpu, int) else cpu)

        self.log = log
        self.name = os.path.basename(argv[0])
        with open(log, "ab") as errors:
            self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=stdout or errors, stderr=errors,
                                          start_new_session=True, preexec_fn=before_exec)
        self.pid = self.popen.pid
        self.pending = b""
        Process.running.append(self)

    def alive(self):
        return self.popen.poll() is None

    def read_line(self, timeout):
        """The next line of its standard output, as bytes; BenchError when none comes in time."""
        deadline = time.monotonic() + timeout
        fd = self.popen.stdout.fileno()
        while b"\n" not in self.pending:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([fd], [], [], wait)[0]:
                raise BenchError(f"{self.name} said nothing for {timeout} s")
            data = os.read(fd, 4096)
            if not data:
                raise BenchError(f"{self.name} ended: {tail(self.log)}")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def go_on(self):
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def stop(self):
        """Ends the process and what it started, gently first. Harmless when it is gone already."""
        Process.running = [p for p in Process.running if p is not self]
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    pass
        self.popen.terminate()
        try:
            self.popen.wait(3)
        except subprocess.TimeoutExpired:
            pass
        for pid in session_members(self.pid):  # the session was made for this process alone
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()

    @classmethod
    def stop_all(cls):
        for process in reversed(cls.running[:]):
            process.stop()


def tail(path, size=600):
    """The end of a log, on one line, for error messages."""
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - size))
            return " | ".join(f.read().decode(errors="replace").split("\n")).strip(" |") or "(its log is empty)"
    except OSError as e:
        return str(e)


# ---- what a process tree costs ------------------------------------------------------------------------------


def ready(log, limit_s=10):
    """The ready line of stagate or mailsim, out of its JSON log."""
    end = time.monotonic() + limit_s
    while True:
        text = pathlib.Path(log).read_text()
        for line in text.splitlines(keepends=True):
            if '"event":"ready"' in line and line.endswith("\n"):
                return json.loads(line)
        if time.monotonic() > end:
            raise BenchError(f"no ready line in {log}: {tail(str(log))}")
        time.sleep(0.02)


def measured(bench, say, prefix, label, measure):
    """What measure(folder) returns, in a folder of its own that goes with all processes; None where it failed, which is told."""
    folder = tempfile.mkdtemp(prefix=f"{prefix}-", dir=bench.folder)
    os.chmod(folder, 0o755)
    try:
        return measure(folder)
    except (BenchError, OSError, AssertionError, json.JSONDecodeError, subprocess.SubprocessError) as e:
        bench.errors.append(f"{label}: {e}")
        say(f"{label}: FAILED: {e}")
        return None
    finally:
        Process.stop_all()
        if not bench.keep:
            shutil.rmtree(folder, ignore_errors=True)


def stat_fields(pid):
    """/proc/PID/stat behind the name, which may hold blanks: fields from `state` on."""
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()


def all_stats():
    """(pid, fields) of every process."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), stat_fields(name)
            except (OSError, IndexError):
                pass


def session_members(session):
    return [pid for pid, fields in all_stats() if int(fields[3]) == session and fields[0] != "Z"]


def tree(root):
    """root and its living descendants, parents first."""
    children = {}
    for pid, fields in all_stats():
        children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_ns(root):
    """CPU time, user and system, of a process tree with all its threads.

    schedstat counts nanoseconds, but only of threads that still live; stat counts clock ticks of 10 ms, and those of threads and
    children that ended too. The former is taken unless it misses more than the latter's coarseness explains.
    """
    fine = coarse = 0
    processes = tree(root)
    for pid in processes:
        try:
            fields = stat_fields(pid)
            coarse += sum(int(x) for x in fields[11:15]) * TICK_NS  # utime stime cutime cstime
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    fine += int(f.read().split()[0])
        except FileNotFoundError:
            continue
    return fine if fine >= coarse - 2 * TICK_NS * len(processes) else coarse


def cpu_ns_at_rest(root, quiet_ns=500_000, step_s=0.05, limit_s=3.0):
    """The same once the tree has come to rest: what it still does for finished tunnels belongs to them."""
    deadline = time.monotonic() + limit_s
    last = cpu_ns(root)
    while time.monotonic() < deadline:
        time.sleep(step_s)
        now = cpu_ns(root)
        if now - last < quiet_ns:
            return now
        last = now
    return last


def pss_bytes(root):
    """Proportional set size: memory of the tree, what is shared counted once."""
    total = 0
    for pid in tree(root):
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
    return total


def descriptor_count(root):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in tree(root))
