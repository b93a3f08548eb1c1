"""What the programs in tests/api share: the docker CLI against one daemon, requests as bytes, a count of checks."""
import atexit
import hashlib
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

BUSYBOX = "/usr/bin/busybox"  # Debian's busybox-static
# An emulated host is some twenty times slower than a machine: limits are for what hangs, not for what is slow.
PATIENCE_S = 180


class Checks:
    """Counts what passed and what failed; says each failure at once."""

    def __init__(self, verbose=False):
        self.passed = self.failed = 0
        self.verbose = verbose

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
            if self.verbose:
                print(f"passed {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED {name}", flush=True)
            if detail:
                print("  " + str(detail).rstrip().replace("\n", "\n  "), flush=True)
        return bool(good)

    def equal(self, name, expected, found):
        return self.check(name, expected == found, f"expected {expected!r}\nfound    {found!r}")

    def finish(self):
        """Prints `N passed, N failed`; the program's exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Ran:
    """How a command ended: its exit status (None: it hung and was killed) and what it wrote."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errors(self):
        return self.err.decode(errors="replace")


class Docker:
    """The docker CLI with a daemon's socket and no configuration of the caller's."""

    def __init__(self, socket_path, name="daemon"):
        self.socket_path, self.name = os.path.abspath(socket_path), name
        self.home = tempfile.mkdtemp(prefix="drupe-api-test-")
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
        self.environment |= {"DOCKER_HOST": f"unix://{self.socket_path}", "DOCKER_CONFIG": self.home + "/config",
                             "DOCKER_CLI_HINTS": "false", "HOME": self.home}
        os.mkdir(self.home + "/config")

    def __call__(self, *arguments, stdin=b"", timeout=PATIENCE_S):
        return self.run(["docker", *arguments], stdin=stdin, timeout=timeout)

    def shell(self, line, cwd=None, stdin=b"", timeout=PATIENCE_S):
        return self.run(["bash", "-c", line], stdin=stdin, timeout=timeout, cwd=cwd)

    def run(self, command, stdin=b"", timeout=PATIENCE_S, cwd=None):
        process = self.start(command, cwd=cwd)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
            return Ran(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            return Ran(None, out, err + f"\nhung: killed after {timeout} s".encode())

    def start(self, command, cwd=None, **streams):
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        return subprocess.Popen(command, env=self.environment, cwd=cwd, start_new_session=True, **streams)

    def must(self, *arguments, stdin=b""):
        ran = self(*arguments, stdin=stdin)
        if ran.code != 0:
            raise RuntimeError(f"{self.name}: docker {' '.join(arguments)}: {ran.code}: {ran.errors.strip()}")
        return ran.text.strip()

    def import_busybox(self, name="busybox:latest"):
        """The image that the tests run: Debian's busybox with a link for each of its programs, command `sh`. The same bytes
        and so the same id everywhere."""
        return self.must("load", "-i", image_archive(self.home, name))


def image_archive(folder, name):
    """A docker-archive of one layer, as an import makes it."""
    with open(busybox_archive(folder + "/layer.tar"), "rb") as file:
        layer = hashlib.sha256(file.read()).hexdigest()
    made = "2020-09-13T12:26:40Z"
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": made, "config": {"Cmd": ["sh"]},
                         "history": [{"created": made, "comment": "Imported from -"}],
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer]}}).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    path = folder + "/image.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder + "/layer.tar", "layer.tar")
        for member, content in ((config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def busybox_archive(path):
    """A root file system of busybox as a tar: the same bytes each time."""
    def entry(tar, name, kind, mode, **rest):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, mode, 1_600_000_000
        for key, value in rest.items():
            setattr(info, key, value)
        tar.addfile(info, open(BUSYBOX, "rb") if kind == tarfile.REGTYPE and name == "bin/busybox" else None)

    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "var"):
            entry(tar, folder, tarfile.DIRTYPE, 0o755)
        entry(tar, "tmp", tarfile.DIRTYPE, 0o1777)
        entry(tar, "bin/busybox", tarfile.REGTYPE, 0o755, size=os.path.getsize(BUSYBOX))
        for name in sorted(set(names) - {"busybox"}):
            entry(tar, "bin/" + name, tarfile.SYMTYPE, 0o777, linkname="busybox")
        for name, text in (("passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"),
                           ("group", b"root:x:0:\nuser:x:1000:\n")):
            info = tarfile.TarInfo("etc/" + name)
            info.size, info.mode, info.mtime = len(text), 0o644, 1_600_000_000
            tar.addfile(info, io.BytesIO(text))
    return path


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def connect(socket_path, timeout=10):
    connection = socket.socket(socket.AF_UNIX)
    # A full queue of connections is waited for; with Python's own time-out it would be an error at once.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
    connection.connect(socket_path)
    connection.settimeout(timeout)
    return connection


def exchange(socket_path, request, timeout=10, longest_body=1 << 20):
    """Sends bytes as they are and reads one answer, by its own framing. TimeoutError when it doesn't come, OSError or
    EOFError when the daemon hangs up before it."""
    with connect(socket_path, timeout) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it had read everything
        return read_answer(connection, time.monotonic() + timeout, longest_body)


def read_answer(connection, deadline, longest_body=1 << 20, head_is_enough=False):
    """`head_is_enough`: for a success without an end, its headers are the answer."""
    data = bytearray()

    def more():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer")
        connection.settimeout(left)
        chunk = connection.recv(65536)
        data.extend(chunk)
        return bool(chunk)

    while b"\r\n\r\n" not in data:
        if not more():
            raise EOFError(f"the daemon hung up after {bytes(data[:80])!r}")
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body_at = len(head) + 4
    if status in (204, 304) or status < 200 or head_is_enough and status < 400:
        return Answer(status, headers, b"")
    if "content-length" in headers:
        wanted = min(int(headers["content-length"]), longest_body)
        while len(data) - body_at < wanted and more():
            pass
        return Answer(status, headers, bytes(data[body_at:body_at + wanted]))
    chunked = headers.get("transfer-encoding") == "chunked"
    while len(data) - body_at < longest_body and not (chunked and data.endswith(b"0\r\n\r\n")) and more():
        pass
    body = bytes(data[body_at:])
    return Answer(status, headers, unchunk(body) if chunked else body)


def unchunk(data):
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if length == 0:
            break
        body, data = body + data[:length], data[length + 2:]
    return body


RULES = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"\b(sha256:)?[0-9a-f]{64}\b", r"\1ID"),
    (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12}\b", "ID"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d\d:?\d\d)?( UTC|Z)?", "TIME"),
    (r"(Less than a|About an?|\d+) (second|minute|hour|day|week|month|year)s? ago", "AGO"),
    (r"Up (Less than a|About an?|\d+) (second|minute|hour)s?", "Up AGO"),
    (r"\b(\d+(\.\d+)?) ?([kKMGT]i?)?B\b", "SIZE"),
    (r"\b(\d{1,3}\.){3}\d{1,3}(/\d+)?\b", "ADDRESS"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b\d+(\.\d+)?%", "N%"),
    (r" {2,}", "  "),
    (r" +(?=\n|$)", ""),
)]


def normalise(text):
    """Without what differs from run to run: ids, times, sizes, addresses, widths of columns."""
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text


def wait_until(condition, limit_s=PATIENCE_S, step_s=0.1):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(step_s)
    return False


def say(text):
    print(text, file=sys.stderr, flush=True)
