"""An object store in memory, which TensorFlow's own `gs://` client talks to.

The client has no setting for another address of the store, but it honors
`https_proxy` and `CURL_CA_BUNDLE`: so this is a proxy that keeps what it is
asked to pass on, under a certificate of its own. It answers the part of the
JSON API that the client uses
(https://cloud.google.com/storage/docs/json_api), and can fail in the ways that
stores do.
"""

import http
import http.server
import itertools
import json
import re
import ssl
import subprocess
import threading
import time
import urllib.parse

#: What may happen to a request: it is refused for now, it is done but its
#: answer is lost with the connection, or it takes its time.
UNAVAILABLE, LOST, SLOW = "unavailable", "lost", "slow"

#: The environment variable of the token that a process shows the store, which
#: takes it for the name of the process.
CLIENT = "GOOGLE_AUTH_TOKEN_FOR_TESTING"

#: How long a slow request takes.
SLOW_SECONDS = 0.2

_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)")
_REWRITE = re.compile(_OBJECT.pattern + r"/rewriteTo/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_SESSION = re.compile(r"/session/(\d+)")
_CONTENT = re.compile(r"/([^/]+)/([^/]+)")


class ObjectStore:
    """A store whose buckets exist as soon as somebody names them.

    Args:
        directory: where its certificate goes.

    Attributes:
        objects: the content of each object, by `bucket/name`.
        environ: environment variables of a process that is to use it. Name
            the process by the variable `CLIENT` if there are several.
        fault: says what a request meets, from its method and its path: one of
            the faults above, or `None`.
        num_faults: how many requests met one.
        requests: the name of the process, the method and the path of each
            request so far.
    """

    def __init__(self, directory):
        self.objects = {}
        self.generations = {}
        self.sessions = {}
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)
        self.fault = lambda method, path: None
        self.num_faults = 0
        self.requests = []
        key, certificate = directory / "key.pem", directory / "cert.pem"
        _make_certificate(key, certificate)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self._server = _Server(("localhost", 0), _Handler)
        self._server.store = self
        port = self._server.server_address[1]
        self.environ = {
            "https_proxy": f"http://localhost:{port}",
            "CURL_CA_BUNDLE": str(certificate),
            CLIENT: "client",
            # Workers of a job talk to each other without the proxy.
            "no_proxy": "localhost",
        }

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def names(self, prefix):
        """Returns the names of the objects under `bucket/prefix`."""
        with self.lock:
            return {
                name.removeprefix(prefix)
                for name in self.objects
                # A name that ends with a slash marks a directory.
                if name.startswith(prefix) and not name.endswith("/")
            }

    def put(self, name, content):
        with self.lock:
            self.objects[name] = content
            self.generations[name] = (next(self.numbers), time.time())

    def download(self, prefix, directory):
        """Copies the objects under `bucket/prefix` to a local directory."""
        for name in self.names(prefix):
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.objects[prefix + name])

    def upload(self, directory, prefix):
        """Stores the files of a local directory under `bucket/prefix`."""
        for path in directory.rglob("*"):
            if path.is_file():
                name = f"{prefix}{path.relative_to(directory)}"
                self.put(name, path.read_bytes())


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing of clients that are killed in a request."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Logs nothing."""

    def do_CONNECT(self):
        """Takes the place of the host that the client wants to talk to."""
        self.send_response(http.HTTPStatus.OK)
        self.end_headers()
        self.connection = self.server.store.tls.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")

    def finish(self):
        super().finish()
        self.connection.close()

    def handle_expect_100(self):
        proceeds = super().handle_expect_100()
        self.wfile.flush()
        return proceeds

    def answer(self):
        store = self.server.store
        body = self._read_body()
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        client = self.headers["Authorization"].removeprefix("Bearer ")
        store.requests.append((client, self.command, path))
        fault = store.fault(self.command, path)
        if fault:
            store.num_faults += 1
        if fault == UNAVAILABLE:
            self._send(http.HTTPStatus.SERVICE_UNAVAILABLE, b"Backend Error")
            return
        if fault == SLOW:
            time.sleep(SLOW_SECONDS)
        query = {
            name: values[0]
            for name, values in urllib.parse.parse_qs(url.query).items()
        }
        with store.lock:
            answer = self._find_answer(url.path, query, body)
        if fault == LOST:
            self.close_connection = True
            self.connection.close()
            return
        self._send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _find_answer(self, path, query, body):
        store = self.server.store
        if match := _SESSION.fullmatch(path):
            return self._continue_upload(int(match[1]), body)
        if match := _UPLOAD.fullmatch(path):
            name = f"{match[1]}/{query['name']}"
            if query["uploadType"] == "resumable":
                session = next(store.numbers)
                store.sessions[session] = (name, bytearray())
                location = f"https://www.googleapis.com/session/{session}"
                return http.HTTPStatus.OK, b"", {"Location": location}
            if query.get("ifGenerationMatch") == "0" and name in store.objects:
                return http.HTTPStatus.PRECONDITION_FAILED, b""
            store.put(name, body)
            return http.HTTPStatus.OK, b"{}"
        if match := _REWRITE.fullmatch(path):
            source = _join(*match.group(1, 2))
            target = _join(*match.group(3, 4))
            if source not in store.objects:
                return http.HTTPStatus.NOT_FOUND, b""
            store.put(target, store.objects[source])
            return _json({"done": True})
        if match := _OBJECT.fullmatch(path):
            name = _join(*match.groups())
            if name not in store.objects:
                return http.HTTPStatus.NOT_FOUND, b""
            if self.command == "DELETE":
                del store.objects[name]
                return http.HTTPStatus.NO_CONTENT, b""
            generation, seconds = store.generations[name]
            updated = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            return _json(
                {
                    "size": str(len(store.objects[name])),
                    "generation": str(generation),
                    "updated": f"{updated}.{int(seconds % 1 * 1000):03d}Z",
                }
            )
        if match := _LIST.fullmatch(path):
            return _json(self._list(match[1], query))
        if _BUCKET.fullmatch(path):
            return _json({})
        match = _CONTENT.fullmatch(path)
        return self._read(_join(*match.groups()))

    def _continue_upload(self, session, body):
        store = self.server.store
        name, received = store.sessions[session]
        content_range = self.headers.get("Content-Range", "")
        total = int(content_range.rpartition("/")[2] or 0)
        if content_range.startswith("bytes */"):
            if len(received) == total:
                return http.HTTPStatus.OK, b"{}"
            headers = (
                {"Range": f"bytes=0-{len(received) - 1}"} if received else {}
            )
            return http.HTTPStatus.PERMANENT_REDIRECT, b"", headers
        received += body
        # An object is there once it is complete.
        store.put(name, bytes(received))
        return http.HTTPStatus.OK, b"{}"

    def _list(self, bucket, query):
        prefix = query.get("prefix", "")
        names, prefixes = [], set()
        for path in sorted(self.server.store.objects):
            home, _, name = path.partition("/")
            if home != bucket or not name.startswith(prefix):
                continue
            head, slash, _ = name[len(prefix) :].partition("/")
            if slash and "delimiter" in query:
                prefixes.add(prefix + head + slash)
            else:
                names.append({"name": name})
        limit = int(query.get("maxResults", 1 << 30))
        return {"items": names[:limit], "prefixes": sorted(prefixes)}

    def _read(self, name):
        store = self.server.store
        if name not in store.objects:
            return http.HTTPStatus.NOT_FOUND, b""
        content = store.objects[name]
        first, last = re.findall(r"\d+", self.headers["Range"])
        if int(first) >= len(content):
            return http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b""
        return (
            http.HTTPStatus.PARTIAL_CONTENT,
            content[int(first) : int(last) + 1],
        )

    def _send(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _join(bucket, name):
    return f"{bucket}/{urllib.parse.unquote(name)}"


def _json(value):
    return http.HTTPStatus.OK, json.dumps(value).encode()


def _make_certificate(key, certificate):
    """Makes a certificate of the hosts that the client asks for."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", key, "-out", certificate, "-days", "2"),
            *("-subj", "/CN=localhost", "-addext"),
            "subjectAltName=DNS:www.googleapis.com,DNS:storage.googleapis.com",
        ],
        check=True,
        capture_output=True,
    )
