"""What bad_input sends: requests made from the API's description, each with one thing wrong."""
import io
import json
import tarfile
from urllib.parse import quote

LONG = "x" * 5000
# Of a value in a path or a query, sent as they are here.
TEXTS = ["", ".", "..", "../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2f..%2fetc", "%00", "a%00b", "%ff%fe%80",
         "%C3%28", "%0d%0aX-Injected:%201", "%20", "-1", "*", "%7B%7D", "sha256:", "sha256:" + "0" * 63, "0" * 64, "%25s%25n",
         "%zz", quote("\u202e\U0001f4a9"), "a" * 256, LONG, "~", "..%5c..%5c"]
NUMBERS = ["", "x", "-1", "99999999999999999999", "-99999999999999999999", "9223372036854775807", "1e9", "1.5", "0x10", "%00", "NaN",
           LONG, "%ff"]
FLAGS = ["", "x", "2", "-1", "%00", "%ff", LONG]
FILTERS = ["{", "[]", "null", "%22x%22", "1", "%7B%22nosuch%22:%5B%221%22%5D%7D", "%7B%22label%22:%22x%22%7D", "%7B%22label%22:%5B1%5D%7D",
           "%7B%22label%22:%7B%22a%22:1%7D%7D", "%7B%22status%22:%5B%22nosuch%22%5D%7D", "%7B%22until%22:%5B%22x%22%5D%7D",
           "%7B%22dangling%22:%5B%22x%22%5D%7D", quote("[" * 3000), quote('{"a":' * 3000), "%ff", "%00", quote('{"label":["' + LONG + '"]}')]
# Of a member of a body.
VALUES = [None, "", "x", LONG, "\u0000", 0, -1, 1.5, 1e308, 2 ** 63 - 1, 2 ** 64, -2 ** 63, True, [], [None], ["x"], [[]], [{}], {}, {"x": None},
          {"x": {"x": {}}}, "../../../etc"]


class Request:
    """`wire`: it breaks HTTP itself, so that a server may hang up or answer in plain text."""

    def __init__(self, name, method, target, body=b"", headers=None, wire=False, raw=None):
        self.name, self.method, self.target, self.wire = name, method, target, wire
        headers = {"Host": "d", "Connection": "close"} | (headers or {})
        if body or method in ("POST", "PUT"):
            headers.setdefault("Content-Length", str(len(body)))
            headers.setdefault("Content-Type", "application/json")
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        self.bytes = raw if raw is not None else head.encode("latin-1") + b"\r\n" + body


class Operation:
    """One of the description, with what makes a good request of it: `path` values, `query`, `body`."""

    def __init__(self, description, method, path, operation, good):
        self.method, self.template = method.upper(), path
        self.parameters = [self._resolved(description, p) for p in operation.get("parameters", [])]
        self.good = good
        self.schema = {}
        for parameter in self.parameters:
            if parameter.get("in") == "body":
                self.schema = members(description, parameter.get("schema", {}))

    @staticmethod
    def _resolved(description, parameter):
        return description["parameters"][parameter["$ref"].split("/")[-1]] if "$ref" in parameter else parameter

    def named(self, place):
        return [p["name"] for p in self.parameters if p.get("in") == place]

    def target(self, path=None, query=None):
        text = self.template
        for name in self.named("path"):
            text = text.replace("{" + name + "}", (path or {}).get(name, self.good["path"].get(name, "x")))
        values = self.good["query"] | (query or {})
        return "/v1.41" + text + ("?" + "&".join(f"{k}={v}" for k, v in values.items()) if values else "")

    def request(self, what, path=None, query=None, body=None, headers=None, **rest):
        data = self.good["body"] if body is None else body
        if isinstance(data, (dict, list)):
            data = json.dumps(data).encode()
        target = self.target(path, query)
        # A wrong escape is refused by whoever reads the target, before there is an operation.
        return Request(f"{self.method} {self.template}: {what}", self.method, target, data, headers, wire="%zz" in target, **rest)

    def bad(self):
        yield from self._bad_paths()
        yield from self._bad_queries()
        if self.schema or isinstance(self.good["body"], dict) and self.good["body"]:
            yield from self._bad_members()
            yield from self._bad_bodies()
        if self.template == "/containers/{id}/archive":
            yield from self._bad_archives()

    def _bad_paths(self):
        for name in self.named("path"):
            for text in TEXTS:
                yield self.request(f"path {name}={text[:60]}", path={name: text})

    def _bad_queries(self):
        for parameter in self.parameters:
            if parameter.get("in") != "query":
                continue
            name, kind = parameter["name"], parameter.get("type")
            values = FILTERS if name == "filters" else {"integer": NUMBERS, "boolean": FLAGS}.get(kind, TEXTS)
            for value in values:
                yield self.request(f"query {name}={value[:60]}", query={name: value})
            yield self.request(f"query {name} twice", query={name: f"1&{name}=2"})
        yield self.request("an unknown parameter", query={"nosuch": "1"})

    def _bad_members(self):
        good = self.good["body"] if isinstance(self.good["body"], dict) else {}
        for name, schema in self.schema.items():
            for value in VALUES:
                yield self.request(f"body {name}={str(value)[:40]}", body=good | {name: value})
            for inner in schema:
                for value in VALUES:
                    outer = good.get(name) or {}
                    yield self.request(f"body {name}.{inner}={str(value)[:40]}", body=good | {name: outer | {inner: value}})

    def _bad_bodies(self):
        good = self.good["body"] if isinstance(self.good["body"], dict) else {}
        whole = json.dumps(good).encode() or b"{}"
        for what, body in {"empty": b"", "null": b"null", "a list": b"[]", "a string": b'"x"', "a number": b"1", "truncated": whole[:-1],
                           "only {": b"{", "not UTF-8": b'{"Image": "\xff\xfe"}', "NUL": b"\0" * 100, "two": whole + whole,
                           "a broken escape": b'{"a": "\\ud800"}', "twice the same": b'{"Image": 1, "Image": "busybox"}',
                           "deep lists": b'{"a": ' + b"[" * 50000, "deep objects": b'{"a":' * 50000,
                           "deep and closed": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
                           "a long number": b'{"a": ' + b"9" * 5000 + b"}", "a large string": b'{"a": "' + b"x" * 3_000_000 + b'"}',
                           }.items():
            yield self.request(f"body: {what}", body=body)
        yield self.request("body: an unknown member", body=good | {"NoSuchMember": {"a": [1]}})
        for kind in ("text/plain", "application/xml", "", "x" * 2000, "application/json; charset=utf-16"):
            yield self.request(f"content type {kind[:40]}", headers={"Content-Type": kind})

    def _bad_archives(self):
        if self.method != "PUT":
            return
        for what, content in bad_tars():
            yield self.request(f"archive: {what}", body=content, headers={"Content-Type": "application/x-tar"})


def members(description, schema, depth=0):
    """{member: its own members} of a schema with all its references and parts."""
    if "$ref" in schema:
        schema = description["definitions"][schema["$ref"].split("/")[-1]]
    found = {}
    for part in schema.get("allOf", []):
        found |= members(description, part, depth)
    for name, inner in schema.get("properties", {}).items():
        found[name] = members(description, inner, depth + 1) if depth == 0 else {}
    return found


def bad_tars():
    def tar(*entries):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, kind, link in entries:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(b"evil"))
        return stream.getvalue()

    plain = tarfile.REGTYPE
    yield "..", tar(("../../../../tmp/drupe-escaped", plain, ""))
    yield "absolute", tar(("/tmp/drupe-escaped", plain, ""))
    yield "through a link", tar(("out", tarfile.SYMTYPE, "/../../../tmp"), ("out/drupe-escaped", plain, ""))
    yield "a hard link out", tar(("link", tarfile.LNKTYPE, "../../../../etc/shadow"))
    yield "a device", tar(("device", tarfile.CHRTYPE, ""))
    yield "an empty name", tar(("", plain, ""))
    yield "a long name", tar(("n" * 3000, plain, ""))
    yield "a deep name", tar(("d/" * 1500 + "f", plain, ""))
    yield "garbage", b"garbage" * 1000
    yield "truncated", tar(("a", plain, ""))[:600]
    yield "no archive", b""
    yield "a lie about the size", tar(("a", plain, "")).replace(b"00000000004\x00", b"77777777777\x00")
    yield "gzip that isn't", b"\x1f\x8b" + b"\0" * 500


def wire_requests():
    """Bytes that aren't (quite) HTTP."""
    def raw(name, data):
        return Request("wire: " + name, "", "", wire=True, raw=data)

    create = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    get = b"GET /v1.41/containers/json HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
    yield raw("no Host", b"GET /_ping HTTP/1.1\r\n\r\n")
    yield raw("two Hosts", b"GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n")
    yield raw("HTTP/9.9", b"GET /_ping HTTP/9.9\r\nHost: d\r\n\r\n")
    yield raw("HTTP/0.9", b"GET /_ping\r\n\r\n")
    yield raw("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n")
    yield raw("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield raw("an unknown method", get.replace(b"GET", b"NOSUCH") + b"\r\n")
    yield raw("a long method", b"X" * 5000 + b" / HTTP/1.1\r\nHost: d\r\n\r\n")
    yield raw("an absolute target", b"GET http://evil/v1.41/info HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
    yield raw("a target of 1 MB", b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: d\r\n\r\n")
    yield raw("a NUL in the target", b"GET /v1.41/\0info HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
    yield raw("a header of 2 MB", get + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n")
    yield raw("50,000 headers", get + b"".join(b"X-%d: 1\r\n" % i for i in range(50000)) + b"\r\n")
    yield raw("a header without a colon", get + b"nonsense\r\n\r\n")
    yield raw("a folded header", get + b"X: a\r\n b\r\n\r\n")
    yield raw("a NUL in a header", get + b"X: a\0b\r\n\r\n")
    yield raw("lines end with LF", get.replace(b"\r\n", b"\n") + b"\n")
    yield raw("two lengths", create + b"Content-Length: 2\r\nContent-Length: 300\r\nConnection: close\r\n\r\n{}")
    yield raw("the same length twice", create + b"Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    yield raw("a negative length", create + b"Content-Length: -5\r\n\r\n{}")
    yield raw("a length of 2^64", create + b"Content-Length: 18446744073709551616\r\n\r\n{}")
    yield raw("a length that isn't one", create + b"Content-Length: x\r\n\r\n{}")
    yield raw("a length that is too small", create + b"Content-Length: 1\r\nConnection: close\r\n\r\n{}")
    yield raw("a length and chunks", create + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n")
    yield raw("an unknown encoding", create + b"Transfer-Encoding: gzip\r\nConnection: close\r\n\r\n{}")
    yield raw("a chunk that isn't one", create + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n")
    yield raw("a huge chunk size", create + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n")
    yield raw("Expect", create + b"Expect: nonsense\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    yield raw("upgrade to nonsense", get + b"Connection: Upgrade\r\nUpgrade: nonsense\r\n\r\n")
    yield raw("upgrade to h2c", get + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
    for version in ("v", "v1", "v1.", "v0.0", "v1.99", "v999999999999.1", "v-1.1", "v1.41.1", "%76", "v1.41/v1.41"):
        yield raw(f"version {version}", f"GET /{version}/info HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
    for target in ("//info", "/./info", "/v1.41//info", "/v1.41/../info", "/", "*", "/v1.41/", "/v1.41/containers/", "/%2fv1.41/info", "/_ping/x"):
        yield raw(f"target {target}", f"GET {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
