"""How long a killed dockerd with live-restore and a killed druped take until they answer again, with the same number of containers
that run on."""

import os
import subprocess
import sys

from killable import Killable
from support import Docker
from unix_http import call

START_LIMIT_S = 600


def dockerd(folder):
    os.makedirs(folder)
    socket = folder + "/docker.sock"
    argv = ["dockerd", "--live-restore", "--data-root", folder + "/data", "--exec-root", folder + "/exec", "-p", folder + "/pid",
            "-H", "unix://" + socket, "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]
    return Killable(argv, socket, folder + "/log")


def begin_containers(daemon, count):
    """Their ids; they sleep."""
    begun = []
    for _ in range(count):
        body = {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}
        status, made = call(daemon.socket, "POST", "/containers/create", body, START_LIMIT_S)
        if status != 201:
            sys.exit(f"{daemon.argv[0]}: create: {status} {made}")
        status, said = call(daemon.socket, "POST", f"/containers/{made['Id']}/start", None, START_LIMIT_S)
        if status != 204:
            sys.exit(f"{daemon.argv[0]}: start: {status} {said}")
        begun.append(made["Id"])
    return begun


def kill_and_wait(daemon, begun, kills):
    """Seconds of each kill's start until the first answer; the containers have to run on."""
    lost = []
    for _ in range(kills):
        daemon.kill()
        daemon.start()
        status, found = daemon.ask("GET", "/containers/json", timeout=START_LIMIT_S)
        missing = set(begun) - {container["Id"] for container in found} if status == 200 else set(begun)
        lost += [f"{daemon.argv[0]}: {len(missing)} of {len(begun)} containers don't run after a kill"] if missing else []
    return daemon.back_s[-kills:], lost


def remove_containers(daemon, begun):
    for identity in begun:
        daemon.ask("DELETE", f"/containers/{identity}?force=1", timeout=START_LIMIT_S)


def compare(druped, folder, containers, kills):
    """({name: [seconds]}, [what went wrong]). druped runs and has an image busybox."""
    times, errors = {}, []
    theirs = dockerd(folder)
    theirs.start()
    Docker(theirs.socket).import_busybox()
    for name, daemon in (("dockerd", theirs), ("druped", druped)):
        begun = begin_containers(daemon, containers)
        times[name], lost = kill_and_wait(daemon, begun, kills)
        errors += lost
        remove_containers(daemon, begun)
    theirs.end()
    # vfs and a network namespace for each container: what a killed dockerd has mounted stays mounted.
    with open("/proc/self/mounts") as file:
        mounted = [line.split()[1] for line in file if line.split()[1].startswith(folder + "/")]
    for path in reversed(mounted):
        subprocess.run(["umount", "-l", path], check=False)
    return times, errors
