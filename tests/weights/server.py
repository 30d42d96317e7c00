"""A server on this machine with the faults of real ones, for tests of downloads."""

import hashlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What a server sends, and what it was asked for.

    Attributes:
        files: {path without its slash: content}.
        redirects: {path: where to, a whole address or a path with its slash}.
        ranges: whether it understands Range.
        tag: whether it tells an ETag.
        cuts: for each answer, in turn, after how many bytes of it the connection ends; None for never.
        stalls: for each answer, in turn, after how many bytes nothing more comes, for a while.
        status: {path: code} of answers without a file.
        kind: the Content-Type.
        length: whether it tells a Content-Length.
        asked: (path, Range or None) of every request.
    """

    address: str = ""
    files: dict = field(default_factory=dict)
    redirects: dict = field(default_factory=dict)
    ranges: bool = True
    tag: bool = True
    cuts: list = field(default_factory=list)
    stalls: list = field(default_factory=list)
    status: dict = field(default_factory=dict)
    kind: str = "application/octet-stream"
    length: bool = True
    slow: float = 0.0
    asked: list = field(default_factory=list)

    def url(self, name):
        return f"{self.address}/{name}"


@contextmanager
def serving():
    server = Server()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name, wanted = self.path.lstrip("/"), self.headers.get("Range")
            server.asked.append((name, wanted))
            if name in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[name])
                self.end_headers()
                return
            if name in server.status or name not in server.files:
                self.send_error(server.status.get(name, 404))
                return
            content = server.files[name]
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            begin, last = 0, len(content)
            if server.ranges and wanted and self.headers.get("If-Range", tag) == tag:
                first, _, end = wanted.removeprefix("bytes=").partition("-")
                begin, last = int(first), min(int(end) + 1, last) if end else last
                if begin >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{last - 1}/{len(content)}")
            else:
                self.send_response(200)
            if server.tag:
                self.send_header("ETag", tag)
            if server.length:
                self.send_header("Content-Length", str(last - begin))
            self.send_header("Content-Type", server.kind)
            self.end_headers()
            body = content[begin:last]
            cut = server.cuts.pop(0) if server.cuts else None
            stall = server.stalls.pop(0) if server.stalls else None
            try:
                if server.slow:
                    for start in range(0, len(body), 1 << 16):
                        self.wfile.write(body[start : start + (1 << 16)])
                        self.wfile.flush()
                        time.sleep(server.slow)
                else:
                    self.wfile.write(body[: stall if stall is not None else cut])
                    self.wfile.flush()
                if stall is not None:
                    stop.wait(10)
            except OSError:
                pass  # the other side gave up
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.block_on_close = False
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{httpd.server_port}"
    try:
        yield server
    finally:
        stop.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()
