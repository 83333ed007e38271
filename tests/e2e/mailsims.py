"""A running mailsim."""
import json
import signal
import subprocess
import threading

import lab
import wire
from activesync import Phone


class Mailsim:
    def __init__(self, *options, listen=("http://127.0.0.1:0",)):
        command = [lab.BIN / "mailsim", *(f"--listen={url}" for url in listen), "--control", "http://127.0.0.1:0",
                   "--log", "json", *options]
        self.process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.lines, self.events = [], []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        ready = wire.poll(lambda: self.events or self.process.poll() is not None, "mailsim") and self.events
        assert ready, "".join(self.lines)
        self.address, self.control = ready[0]["listeners"][0], ready[0]["control"]
        self.listeners = ready[0]["listeners"]

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def phone(self, **options):
        return Phone(self.address, **options)

    def ctl(self, *arguments, input=None):
        return subprocess.run([str(lab.BIN / "mailsim"), arguments[0], "--control", self.control, *arguments[1:]],
                              capture_output=True, text=True, timeout=60, input=input)

    def deliver(self, user="alice", **options):
        done = self.ctl("deliver", "--user", user, *(f"--{k}={v}" for k, v in options.items()))
        assert (done.returncode, done.stderr) == (0, ""), done

    def status(self):
        return json.loads(self.ctl("status").stdout)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.thread.join(30)
        strays = [line for line in self.lines if not line.startswith("{")]
        assert code == 0 and not strays, "".join(strays)
