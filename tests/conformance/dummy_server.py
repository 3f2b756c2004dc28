#!/usr/bin/env python3
"""Trivial loopback server for smoke-testing the harness: answers 501 to everything, so every server test fails.

    python dummy_server.py [--port 0] [--log requests.log] [--status 501]

Port 0 takes a free one; the address is printed on the first line.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    parser.add_argument("--status", type=int, default=501)
    args = parser.parse_args()
    log = open(args.log, "a", buffering=1) if args.log else None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            length = int(self.headers.get("content-length") or 0)
            while length > 0:
                length -= len(self.rfile.read(min(length, 1 << 16)) or b" " * length)
            if log:
                log.write(f"{self.command} {self.path}\n")
            body = json.dumps({"error": "dummy server: not implemented"}).encode()
            self.send_response(args.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("x-request-id", "dummy")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

        def log_message(self, *a):
            pass

    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
