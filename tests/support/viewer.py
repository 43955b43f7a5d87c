"""OHIF, a viewer of radiology in the browser, on loopback before an archive; from the npm registry, kept in a cache."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

CACHE = Path(__file__).resolve().parents[2] / "viewer_cache"
PACKAGE = "@ohif/app@3.13.2"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".wasm": "application/wasm", ".svg": "image/svg+xml"}
_CONFIGURATION = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 1,
    "showCPUFallbackMessage": False,
    "showWarningMessageForCrossOrigin": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "archive",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "archive",
            "configuration": {
                "friendlyName": "archive",
                "name": "archive",
                "wadoUriRoot": "/dicom-web",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
                "singlepart": "bulkdata,video",
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}
@contextlib.contextmanager
def served(files: Path, web: str) -> Iterator[str]:
    archive = urlsplit(web).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/dicom-web"):
                self._pass_on()
                return
            if path == "/app-config.js":
                self._send(200, "text/javascript", f"window.config = {json.dumps(_CONFIGURATION)};".encode())
                return
            file = files / path.lstrip("/")
            if not file.is_file():
                file = files / "index.html"
            self._send(200, _KINDS.get(file.suffix, "application/octet-stream"), file.read_bytes())

        def _pass_on(self) -> None:
            connection = http.client.HTTPConnection(archive)
            heads = {name: self.headers[name] for name in ("Accept",) if name in self.headers}
            heads["Host"] = self.headers["Host"]
            connection.request("GET", self.path, headers=heads)
            answer = connection.getresponse()
            body = answer.read()
            self._send(answer.status, answer.headers.get("Content-Type", "application/octet-stream"), body)

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
