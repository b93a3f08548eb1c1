"""A daemon of Docker's API that is killed with SIGKILL and started again, and how long it then takes to answer."""

import http.client
import subprocess
import sys
import time

from unix_http import call

READY_LIMIT_S = 180
GONE = (OSError, http.client.HTTPException)


class Killable:
    def __init__(self, argv, socket, log):
        self.argv, self.socket = argv, socket
        self.log = open(log, "ab")
        self.process = None
        self.back_s = []  # of each start, from its exec to the first answer

    def start(self):
        begin = time.monotonic()
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while time.monotonic() - begin < READY_LIMIT_S:
            try:
                if call(self.socket, "GET", "/_ping")[0] == 200:
                    self.back_s.append(time.monotonic() - begin)
                    return
            except GONE:
                if self.process.poll() is not None:
                    sys.exit(f"{self.argv[0]} ended with {self.process.returncode}; see {self.log.name}")
                time.sleep(0.01)
        sys.exit(f"{self.argv[0]} doesn't answer; see {self.log.name}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        self.process.wait()

    def ask(self, method, target, body=None, timeout=60):
        return call(self.socket, method, target, body, timeout)
