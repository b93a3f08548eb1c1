#!/usr/bin/python3
"""The daemon as Debian's python3-docker sees it: each call of its API with what is expected of the answer.

    docker_py.py SOCKET      -v: each that passed, too
"""
import io
import sys
import tarfile
import threading
import time

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import Healthcheck, LogConfig, Ulimit

from support import Checks, Docker, wait_until

LIMIT_S = 180
checks = Checks("-v" in sys.argv)
calls = set()


def call(target, method, /, *arguments, **options):
    """A call that is counted: `target.method(...)`."""
    calls.add(f"{type(target).__name__}.{method}")
    return getattr(target, method)(*arguments, **options)


def refused(name, status, function):
    try:
        function()
    except APIError as error:
        checks.check(name, error.status_code == status and error.explanation,
                     f"{error.status_code}, not {status}: {error.explanation}")
    else:
        checks.check(name, False, "was not refused")


def part(function):
    """What one part throws is a failure of its own, and the next one runs."""
    def run(*arguments):
        try:
            function(*arguments)
        except Exception as error:  # noqa: B902: whatever the library makes of a wrong answer
            checks.check(function.__name__, False, f"{type(error).__name__}: {error}")
    return run


def tar_of(name, content):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(content), 1_600_000_000
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@part
def system(client, api):
    checks.check("ping", call(client, "ping"))
    version = call(client, "version")
    checks.equal("version: system", ("linux", "amd64"), (version["Os"], version["Arch"]))
    checks.check("version: API", tuple(map(int, version["ApiVersion"].split("."))) >= (1, 41), version["ApiVersion"])
    info = call(client, "info")
    checks.equal("info: system", ("linux", "x86_64"), (info["OSType"], info["Architecture"]))
    checks.check("info: an id and a name", info["ID"] and info["Name"])
    usage = call(client, "df")
    checks.check("df: busybox is there", any("busybox:latest" in (image["RepoTags"] or []) for image in usage["Images"]))


@part
def run_and_logs(client, api):
    output = call(client.containers, "run", "busybox", ["echo", "hello"], remove=True)
    checks.equal("run: the output", b"hello\n", output)
    try:
        client.containers.run("busybox", "sh -c 'echo bad >&2; exit 3'", remove=True)
        checks.check("run: a failure is an exception", False)
    except docker.errors.ContainerError as error:
        checks.equal("run: a failure's status and stderr", (3, b"bad\n"), (error.exit_status, error.stderr))
    try:
        client.containers.run("nosuch:image-name", "true")
        checks.check("run: without the image", False)
    except (ImageNotFound, APIError) as error:
        checks.check("run: without the image", error.status_code in (404, 500), error)

    container = client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; echo e$i >&2; done"], detach=True)
    checks.equal("wait: the status", 0, call(container, "wait", timeout=LIMIT_S)["StatusCode"])
    checks.equal("logs: stdout", b"1\n2\n3\n", call(container, "logs", stdout=True, stderr=False))
    checks.equal("logs: stderr", b"e1\ne2\ne3\n", container.logs(stdout=False, stderr=True))
    checks.check("logs: tail", container.logs(tail=1) in (b"3\n", b"e3\n"))
    stamped = container.logs(stderr=False, timestamps=True).split()[0]
    checks.check("logs: times", stamped.startswith(b"20") and stamped.endswith(b"Z"), stamped)
    checks.equal("logs: stream", b"1\n2\n3\n", b"".join(container.logs(stream=True, follow=True, stderr=False)))
    call(container, "remove")


@part
def life(client, api):
    container = call(client.containers, "create", "busybox", ["sleep", "1000"], name="py-life", labels={"a": "1"},
                     environment={"X": "y"}, hostname="box", mem_limit="64m", nano_cpus=500_000_000,
                     ulimits=[Ulimit(name="nofile", soft=100, hard=200)], restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
                     log_config=LogConfig(type="json-file", config={"max-size": "1m"}))
    checks.equal("create: the state", "created", container.status)
    attributes = container.attrs
    checks.equal("create: the environment", True, "X=y" in attributes["Config"]["Env"])
    checks.equal("create: limits", (64 << 20, 500_000_000),
                 (attributes["HostConfig"]["Memory"], attributes["HostConfig"]["NanoCpus"]))
    checks.equal("create: ulimits", [{"Name": "nofile", "Soft": 100, "Hard": 200}], attributes["HostConfig"]["Ulimits"])
    checks.equal("create: the restart policy", {"Name": "on-failure", "MaximumRetryCount": 2}, attributes["HostConfig"]["RestartPolicy"])
    checks.equal("create: the log's options", {"max-size": "1m"}, attributes["HostConfig"]["LogConfig"]["Config"])
    refused("create: the name is taken", 409, lambda: client.containers.create("busybox", "true", name="py-life"))

    call(container, "start")
    call(container, "reload")
    checks.equal("start", "running", container.status)
    container.start()
    checks.check("start twice is fine", True)
    checks.equal("get by id", container.id, call(client.containers, "get", container.id[:12]).id)
    checks.equal("list", ["py-life"], [c.name for c in call(client.containers, "list", filters={"label": "a=1"})])
    checks.equal("list: all, by status", [], client.containers.list(all=True, filters={"status": "exited", "name": "py-life"}))
    top = call(container, "top")
    checks.check("top", "PID" in top["Titles"] and any("sleep 1000" in " ".join(row) for row in top["Processes"]), top)
    stats = call(container, "stats", stream=False)
    checks.check("stats", stats["memory_stats"]["usage"] > 0 and stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
                 and stats["pids_stats"]["current"] >= 1, stats)
    call(container, "pause")
    container.reload()
    checks.equal("pause", "paused", container.status)
    refused("pause twice", 409, container.pause)
    call(container, "unpause")
    container.reload()
    checks.equal("unpause", "running", container.status)
    call(container, "rename", "py-renamed")
    container.reload()
    checks.equal("rename", "py-renamed", container.name)
    # Less than 64m: a microVM grows no further than the machine that it runs in (docs/compatibility.md).
    call(container, "update", mem_limit="48m", memswap_limit="96m")
    container.reload()
    checks.equal("update", 48 << 20, container.attrs["HostConfig"]["Memory"])
    call(container, "restart", timeout=1)
    container.reload()
    checks.equal("restart", "running", container.status)
    refused("remove a running one", 409, container.remove)
    call(container, "stop", timeout=1)
    container.reload()
    checks.equal("stop", ("exited", 137), (container.status, container.attrs["State"]["ExitCode"]))
    container.start()
    call(container, "kill", signal="KILL")
    checks.equal("kill, wait", 137, container.wait(timeout=LIMIT_S)["StatusCode"])
    refused("kill a stopped one", 409, container.kill)
    container.remove()
    try:
        client.containers.get("py-renamed")
        checks.check("removed", False)
    except NotFound as error:
        checks.check("removed", "No such container" in error.explanation, error)


@part
def execs(client, api):
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, name="py-exec")
    try:
        code, output = call(container, "exec_run", ["sh", "-c", "echo out; echo err >&2; exit 4"])
        checks.equal("exec_run: the status", 4, code)
        checks.equal("exec_run: the output", [b"err", b"out"], sorted(output.split()))
        code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
        checks.equal("exec_run: streams apart", (b"out\n", b"err\n"), (out, err))
        code, output = container.exec_run("sh -c 'echo $A; pwd; id -u'", environment=["A=b"], workdir="/tmp", user="1000")
        checks.equal("exec_run: options", b"b\n/tmp\n1000\n", output)
        code, stream = container.exec_run(["sh", "-c", "echo 1; sleep 1; echo 2"], stream=True)
        checks.equal("exec_run: a stream", b"1\n2\n", b"".join(stream))

        made = call(api, "exec_create", container.id, ["cat"], stdin=True)
        socket = call(api, "exec_start", made["Id"], socket=True)
        socket._sock.sendall(b"ping\n")
        checks.check("exec_start: a socket", b"ping\n" in socket._sock.recv(100))
        checks.equal("exec_inspect: running", True, call(api, "exec_inspect", made["Id"])["Running"])
        socket._sock.shutdown(1)
        checks.check("exec_inspect: ended", wait_until(lambda: not api.exec_inspect(made["Id"])["Running"], 60))
        checks.equal("exec_inspect: the status", 0, api.exec_inspect(made["Id"])["ExitCode"])
        terminal = api.exec_create(container.id, ["sh", "-c", "sleep 2; stty size"], tty=True)
        output = []
        reader = threading.Thread(target=lambda: output.append(api.exec_start(terminal["Id"], tty=True)))
        reader.start()
        wait_until(lambda: api.exec_inspect(terminal["Id"])["Running"], 60)
        call(api, "exec_resize", terminal["Id"], height=31, width=77)
        reader.join(LIMIT_S)
        checks.equal("exec_resize", [b"31 77\r\n"], output)
        refused("exec_create: no command", 400, lambda: api.exec_create(container.id, []))
        refused("exec_inspect: no such", 404, lambda: api.exec_inspect("0" * 64))
    finally:
        container.remove(force=True)
    refused("exec in none", 404, lambda: api.exec_create("nosuch", ["true"]))


@part
def attach(client, api):
    container = client.containers.create("busybox", ["cat"], stdin_open=True)
    api_container = api.inspect_container(container.id)
    checks.equal("inspect: OpenStdin", True, api_container["Config"]["OpenStdin"])
    socket = call(container, "attach_socket", params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    socket._sock.sendall(b"through cat\n")
    got, deadline = b"", time.monotonic() + 60
    while b"through cat\n" not in got and time.monotonic() < deadline:
        got += socket._sock.recv(100)
    checks.equal("attach: a frame of stdout", b"\x01\0\0\0\0\0\0\x0cthrough cat\n", got)
    socket.close()
    container.kill()
    container.wait(timeout=LIMIT_S)
    checks.equal("attach: logs", b"through cat\n", container.logs())
    container.remove()
    container = client.containers.run("busybox", ["sh", "-c", "sleep 1; stty size; sleep 1; stty size"], tty=True, detach=True)
    call(container, "resize", height=29, width=91)
    container.wait(timeout=LIMIT_S)
    checks.check("resize", b"29 91" in container.logs(), container.logs())
    container.remove()


@part
def archives(client, api):
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    created = client.containers.create("busybox", "true")
    for name, target in (("running", container), ("created", created)):
        checks.check(f"put_archive: {name}", call(target, "put_archive", "/tmp", tar_of("file", b"content")))
        stream, stat = call(target, "get_archive", "/tmp/file")
        checks.equal(f"get_archive: {name}: stat", ("file", 7), (stat["name"], stat["size"]))
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            checks.equal(f"get_archive: {name}", b"content", tar.extractfile("file").read())
        checks.check(f"diff: {name}", {"Path": "/tmp/file", "Kind": 1} in call(target, "diff"))
    refused("get_archive: no such file", 404, lambda: container.get_archive("/nosuch"))
    refused("put_archive: no such folder", 404, lambda: container.put_archive("/nosuch", tar_of("f", b"")))
    exported = b"".join(call(container, "export"))
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        checks.equal("export", b"content", tar.extractfile("tmp/file").read())
    image = call(container, "commit", repository="py-made", tag="1", message="m", author="a", changes='CMD ["cat", "/tmp/file"]')
    checks.equal("commit", ["py-made:1"], image.tags)
    container.remove(force=True)
    created.remove()
    checks.equal("commit: run", b"content", client.containers.run("py-made:1", remove=True))


@part
def images(client, api):
    image = call(client.images, "get", "busybox")
    checks.check("images.get", image.id.startswith("sha256:") and "busybox:latest" in image.tags, image.tags)
    checks.check("images.list", image.id in [other.id for other in call(client.images, "list")])
    checks.equal("images.list: by name", [image.id], [other.id for other in client.images.list(name="busybox")])
    history = call(image, "history")
    checks.check("history", history[0]["Id"] == image.id and history[0]["Size"] > 0, history)
    checks.check("tag", call(image, "tag", "py-tagged", "2"))
    call(image, "reload")
    saved = b"".join(call(image, "save", named="py-tagged:2"))
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        checks.check("save", "manifest.json" in tar.getnames(), tar.getnames())
    call(client.images, "remove", "py-tagged:2")
    loaded = call(client.images, "load", saved)
    checks.equal("load", [image.id], [other.id for other in loaded])
    client.images.remove("py-tagged:2")
    answer = call(api, "import_image_from_data", tar_of("only", b"x"), repository="py-imported", tag="1")
    checks.check("import_image_from_data", "sha256:" in answer, answer)
    imported = client.images.get("py-imported:1")
    call(imported, "tag", "py-imported", "2")
    imported.reload()
    checks.equal("image.reload", ["py-imported:1", "py-imported:2"], sorted(imported.tags))
    client.images.remove("py-imported:1")
    client.images.remove("py-imported:2")
    refused("images.remove: no such", 404, lambda: client.images.remove("py-imported:1"))
    client.images.remove("py-made:1")
    pruned = call(client.images, "prune")
    checks.check("images.prune", "SpaceReclaimed" in pruned, pruned)


@part
def happenings(client, api):
    began = int(time.time())
    live = call(client, "events", decode=True, filters={"type": "container", "event": ["create", "die", "destroy"]})
    seen = []
    reader = threading.Thread(target=lambda: [seen.append(event) for event in live], daemon=True)
    reader.start()
    client.containers.run("busybox", "true", name="py-event", remove=True)
    wait_until(lambda: any(event["Action"] == "destroy" for event in seen), 60)
    live.close()
    mine = [event["Action"] for event in seen if event["Actor"]["Attributes"]["name"] == "py-event"]
    checks.equal("events: live", ["create", "die", "destroy"], mine)
    time.sleep(1)
    past = list(client.events(decode=True, since=began, until=int(time.time()), filters={"container": "py-event"}))
    checks.check("events: of the past", [e["Action"] for e in past if e["Type"] == "container"][:2] == ["create", "attach"]
                 or "create" in [e["Action"] for e in past], past)
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, healthcheck=Healthcheck(
        test=["CMD", "true"], interval=1_000_000_000))
    checks.check("healthcheck", wait_until(lambda: (api.inspect_container(container.id)["State"].get("Health") or {}).get("Status")
                                           == "healthy", 60))
    container.remove(force=True)
    client.containers.create("busybox", "true", name="py-prune")
    pruned = call(client.containers, "prune")
    checks.equal("containers.prune", 1, len(pruned["ContainersDeleted"]))


@part
def volumes_and_networks(client, api):
    volume = call(client.volumes, "create", "py-volume", labels={"a": "b"})
    checks.equal("volumes.create", ("py-volume", {"a": "b"}), (volume.name, volume.attrs["Labels"]))
    checks.equal("volumes.get", "local", call(client.volumes, "get", "py-volume").attrs["Driver"])
    checks.check("volumes.list", "py-volume" in [other.name for other in call(client.volumes, "list")])
    call(volume, "remove")
    refused("volumes.get: no such", 404, lambda: client.volumes.get("py-volume"))
    checks.check("volumes.prune", "SpaceReclaimed" in call(client.volumes, "prune"))
    checks.check("networks.list", {"none", "host"} <= {network.name for network in call(client.networks, "list")})
    network = call(client.networks, "create", "py-network", labels={"c": "d"})
    checks.equal("networks.get", {"c": "d"}, call(client.networks, "get", network.id).attrs["Labels"])
    call(network, "remove")
    refused("networks.get: no such", 404, lambda: client.networks.get("py-network"))


def main():
    path = [argument for argument in sys.argv[1:] if not argument.startswith("-")][0]
    Docker(path).import_busybox()
    client = docker.DockerClient(base_url=f"unix://{path}", version="auto", timeout=LIMIT_S)
    for each in (system, run_and_logs, life, execs, attach, archives, images, happenings, volumes_and_networks):
        each(client, client.api)
    checks.check(f"{len(calls)} different calls", len(calls) >= 40, sorted(calls))
    print(f"{len(calls)} different calls of the library")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
