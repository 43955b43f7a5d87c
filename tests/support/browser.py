"""A headless Chromium that a test drives: addresses, scripts, clicks and screenshots over its debugging pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.shared import require_tool

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    # WebGL without a graphics card.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-pipe",
)


class Page:
    """One tab. ``log`` collects what the page wrote on its console and what it failed with.

    Attributes:
        log: lines of the console, of uncaught exceptions and of requests that failed, in order.
    """

    def __init__(self, write: int, read: int) -> None:
        self.log: list[str] = []
        self._write, self._read = write, read
        self._number, self._waiting, self._session = 0, b"", None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and waits for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str, width: int, height: int) -> None:
        """Goes to an address in a window of so many pixels; the page may still be loading afterwards."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, script: str, within: float) -> Any:
        """Repeats an expression until it is true."""
        end = time.monotonic() + within
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, "\n".join([f"not within {within} s: {script}", *self.log])
            time.sleep(0.05)
        return value

    def click(self, x: float, y: float, *, times: int = 1) -> None:
        """Clicks with the left button."""
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._waiting += part
        message, self._waiting = self._waiting.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        detail = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if detail["type"] in ("error", "warning"):
                words = (str(part.get("value", part.get("description", ""))) for part in detail["args"])
                self.log.append(f"{detail['type']}: {' '.join(words)}")
            case "Runtime.exceptionThrown":
                thrown = detail["exceptionDetails"]
                self.log.append("exception: " + str(thrown.get("exception", {}).get("description", thrown["text"])))
            case "Log.entryAdded" if detail["entry"]["level"] == "error":
                self.log.append(f"error: {detail['entry']['text']} {detail['entry'].get('url', '')}")


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """Runs a browser whose profile is in a folder; skips the test where Chromium is not installed."""
    program = require_tool("chromium")
    ours, its = os.pipe(), os.pipe()
    # It reads commands from descriptor 3 and answers on 4.
    command = f"exec {program} {' '.join(_SWITCHES)} --user-data-dir={folder / 'profile'} 3<&{ours[0]} 4>&{its[1]}"
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [shutil.which("bash") or "bash", "-c", command],
            pass_fds=(ours[0], its[1]),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        os.close(ours[0]), os.close(its[1])
        try:
            yield Page(ours[1], its[0])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(ours[1]), os.close(its[0])
