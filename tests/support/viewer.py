"""OHIF, a radiology viewer for browsers, before an archive on this machine, with what a reader does in it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.support.browser import Page
from tests.support.orthanc import Archive
from tests.support.shared import require_folder

# `make viewer_files` fetches @ohif/app from the npm registry; nothing of it is committed.
FILES = Path(__file__).resolve().parents[2] / "viewer_files/package/dist"
_WINDOW = (1600, 1000)
_WITHIN_S = 120
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".wasm": "application/wasm"}
_ARCHIVE = {
    "friendlyName": "archive",
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
}
_CONFIGURATION = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    # No guided tour in front of the film.
    "customizationService": [{"ohif.tours": {"$set": []}}],
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
            "configuration": _ARCHIVE,
        }
    ],
}
# A series of the list on the left, by words of its description.
_SERIES = """[...document.querySelectorAll('[data-cy^="study-browser-thumbnail"]')]
    .find(one => one.innerText.includes(%s))"""
_CENTER = "(({x, y, width, height}) => [x + width / 2, y + height / 2])(%s.getBoundingClientRect())"
_BUTTON = "[...document.querySelectorAll('button')].find(one => one.innerText === %s)"
# Where the centers of the film's first and last pixel lie in the window, as the viewport says.
_CORNERS = """(() => {
    const viewport = cornerstone.getEnabledElements()[0]?.viewport
    const imageData = viewport?.getImageData?.()?.imageData
    if (!imageData) return null
    const {x, y} = viewport.element.getBoundingClientRect()
    const [columns, rows] = imageData.getDimensions()
    return [[0, 0, 0], [columns - 1, rows - 1, 0]].map(at => {
        const [left, top] = viewport.worldToCanvas(imageData.indexToWorld(at))
        return [x + left, y + top]
    })
})()"""


@dataclass(frozen=True)
class Viewer:
    """The viewer in a tab.

    Attributes:
        page: the tab.
        address: of the viewer.
    """

    page: Page
    address: str

    def open(self, study: str, *, series: int) -> None:
        """Shows a study, and waits until so many series are listed."""
        self.page.open(f"{self.address}/viewer?StudyInstanceUIDs={study}", *_WINDOW)
        self.page.wait(f"window.services?.displaySetService.getActiveDisplaySets().length === {series}", _WITHIN_S)

    def listed(self) -> dict[str, tuple[str, bool]]:
        """Modality of each series by its description, and whether the viewer warns that it cannot show it."""
        found = self.page.evaluate(
            "services.displaySetService.getActiveDisplaySets()"
            ".map(one => [one.SeriesDescription ?? '', [one.Modality, !!one.unsupported]])"
        )
        return {description: tuple(what) for description, what in found}

    def show(self, words: str) -> None:
        """Double-clicks a series."""
        self._click(_SERIES % json.dumps(words), times=2)

    def press(self, label: str) -> None:
        """Presses the button of that label."""
        self._click(_BUTTON % json.dumps(label))

    def until(self, found: Callable[[npt.NDArray[np.uint8]], bool]) -> npt.NDArray[np.uint8]:
        """Waits until the window [H, W, 3] is as expected, and returns it."""
        end = time.monotonic() + _WITHIN_S
        while not found(window := self.window()):
            assert time.monotonic() < end, "\n".join(["never seen", *self.page.log])
            time.sleep(0.5)
        return window

    def _click(self, element: str, *, times: int = 1) -> None:
        self.page.wait(f"{element} !== undefined", _WITHIN_S)
        self.page.click(*self.page.evaluate(_CENTER % element), times=times)

    def window(self) -> npt.NDArray[np.uint8]:
        """What it shows now [H, W, 3]."""
        with Image.open(io.BytesIO(self.page.screenshot())) as image:
            return np.asarray(image.convert("RGB"))

    def on_film(self, window: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The window at the centers of the film's pixels [rows, columns, 3]; black while no film is there."""
        (left, top), (right, bottom) = self.page.evaluate(_CORNERS) or ((0, 0), (0, 0))
        y = np.clip(np.floor(np.linspace(top, bottom, shape[0])), 0, window.shape[0] - 1).astype(int)
        x = np.clip(np.floor(np.linspace(left, right, shape[1])), 0, window.shape[1] - 1).astype(int)
        return window[y[:, None], x[None, :]]


@contextlib.contextmanager
def ohif(page: Page, archive: Archive) -> Iterator[Viewer]:
    """Serves the viewer and the archive behind one address; skips the test where its files are missing."""
    files = require_folder(FILES, "make viewer_files")

    class Handler(_Handler):
        folder, behind = files, urlsplit(archive.web)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Viewer(page, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    behind: Any

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(self.behind.path):
            self._pass_on()
        elif path == "/app-config.js":
            self._send(200, "text/javascript", f"window.config = {json.dumps(_CONFIGURATION)};".encode())
        else:
            file = self.folder / path.lstrip("/")
            # Any other address is a page that the viewer itself makes.
            file = file if file.is_file() else self.folder / "index.html"
            self._send(200, _KINDS.get(file.suffix, "application/octet-stream"), file.read_bytes())

    def _pass_on(self) -> None:
        # With this host the archive's links lead back here.
        heads = {name: self.headers[name] for name in ("Accept", "Host") if name in self.headers}
        with contextlib.closing(http.client.HTTPConnection(self.behind.netloc)) as connection:
            connection.request("GET", self.path, headers=heads)
            answer = connection.getresponse()
            self._send(answer.status, answer.headers.get("Content-Type", "application/octet-stream"), answer.read())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        # A page that is left does not wait for its answers.
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""
