"""A validating webhook on this machine, which the real API server calls."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from pathlib import Path
from typing import Final

from aiohttp import web

from tests.component.support.errors import Obj

NAME: Final = "pods.example.com"
CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_HOST: Final = "127.0.0.1"


class PodWebhook:
    """Refuses all pods with ``refusal``, or accepts them if it is empty.

    ``start`` begins to listen. ``stop`` closes the port, so that calls fail.
    """

    def __init__(self, folder: Path) -> None:
        self.refusal = ""
        self.calls = 0
        self._certificate, self._key = folder / "webhook.crt", folder / "webhook.key"
        self._runner: web.AppRunner | None = None
        self._port = 0
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", "/CN=webhook", "-addext", f"subjectAltName=IP:{_HOST}"),
                *("-keyout", str(self._key), "-out", str(self._certificate)),
            ],
            check=True,
            capture_output=True,
        )

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._certificate, self._key)
        app = web.Application()
        app.router.add_post("/", self._review)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self._port, ssl_context=tls).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and all connections.

        A connection that is only closed waits for the client's end of TLS. The event loop of a test
        ends before that, and the connection then counts as left open, in any later test.
        """
        if self._runner is None or self._runner.server is None:
            return
        transports = [each.transport for each in self._runner.server.connections]
        await self._runner.cleanup()
        self._runner = None
        for transport in filter(None, transports):
            transport.abort()
        await asyncio.sleep(0)  # so the event loop closes the sockets

    def configuration(self, namespaces: dict[str, str]) -> Obj:
        """Makes the API server call this webhook, in namespaces with these labels.

        A call that fails refuses the pod.
        """
        bundle = base64.b64encode(self._certificate.read_bytes()).decode()
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": NAME},
            "webhooks": [
                {
                    "name": NAME,
                    "clientConfig": {"url": f"https://{_HOST}:{self._port}/", "caBundle": bundle},
                    "rules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["pods"],
                        }
                    ],
                    "namespaceSelector": {"matchLabels": namespaces},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "timeoutSeconds": 2,
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }

    async def _review(self, request: web.Request) -> web.Response:
        self.calls += 1
        review = await request.json()
        answer = {
            "uid": review["request"]["uid"],
            "allowed": not self.refusal,
            "status": {"message": self.refusal, "code": 403},
        }
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        )
