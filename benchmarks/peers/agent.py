"""Stands in for ddtrace's agent: counts the traces sent to it, until its input ends.

`python agent.py FOLDER` prints its port. The process that started it holds the input's
other end, so that it ends with it, after what is still on its way.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open(Path(sys.argv[1], "traces"), "a") as file:
            file.write(self.headers.get("X-Datadog-Trace-Count", "0") + "\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_PUT

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
time.sleep(0.5)
