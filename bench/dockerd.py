"""A dockerd of its own for a benchmark: overlay2 in a folder, no network."""

import os
import subprocess
import sys
import time

START_LIMIT_S = 180


class Dockerd:
    """Sets DOCKER_HOST while it lives."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = "unix:///run/drupe-bench-docker.sock"

    def __enter__(self):
        os.makedirs(self.folder)
        self.log = open(self.folder + "/log", "w")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", self.folder + "/data", "--exec-root", "/run/drupe-bench-docker",
             "-p", "/run/drupe-bench-docker.pid", "-H", self.socket, "--bridge=none", "--iptables=false",
             "--ip6tables=false", "--storage-driver", "overlay2"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.environ["DOCKER_HOST"] = self.socket
        end = time.monotonic() + START_LIMIT_S
        while subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
            if time.monotonic() > end or self.daemon.poll() is not None:
                self.daemon.kill()
                with open(self.folder + "/log") as log:
                    sys.exit(f"bench: no dockerd here: {log.read()[-2000:]}")
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        subprocess.run("docker rm -f $(docker ps -aq)", shell=True, capture_output=True)
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()
