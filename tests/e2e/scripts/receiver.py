"""Receives callbacks on port 8080 and shows them. Runs in a pod until it is killed."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RECEIVED: list[dict[str, object]] = []


class Receiver(BaseHTTPRequestHandler):
    """POST receives a callback. GET shows all of them, oldest first."""

    def do_POST(self) -> None:
        """Keep the headers and the exact bytes."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        RECEIVED.append(
            {"headers": dict(self.headers.items()), "body": base64.b64encode(body).decode()}
        )
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        """Show all callbacks."""
        answer = json.dumps(RECEIVED).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


ThreadingHTTPServer(("", 8080), Receiver).serve_forever()
