"""A real archive on this machine: Orthanc with its DICOMweb plugin, on loopback, for the time of a block."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.shared import require_tool

PLUGINS = Path("/usr/share/orthanc/plugins")
_STARTS_WITHIN_S = 60


@dataclass(frozen=True)
class Archive:
    """Where it listens.

    Attributes:
        dicom_port: for C-STORE.
        web: address of its DICOMweb service.
    """

    dicom_port: int
    web: str


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Archive]:
    """Runs an empty archive whose files are in a folder; skips the test where Orthanc is not installed."""
    program = require_tool("Orthanc")
    dicom, http = _free_port(), _free_port()
    configuration = {
        "Name": "TEST",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpBindAddresses": ["127.0.0.1"],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "UnknownSopClassAccepted": True,
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{http}/system", process)
        yield Archive(dicom, f"http://127.0.0.1:{http}/dicom-web")
    finally:
        # It takes seconds to end in order, for files that nobody will read.
        process.kill()
        process.wait()
        log.close()


def stored_by_web(archive: Archive, paths: list[Path]) -> None:
    """STOW-RS of several files in one request."""
    parts = b"".join(
        b"--part\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n" for path in paths
    )
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    request = urllib.request.Request(
        f"{archive.web}/studies",
        data=parts + b"--part--",
        headers={"Content-Type": kind, "Accept": "application/dicom+json"},
    )
    with urllib.request.urlopen(request) as answer:
        failed = json.load(answer).get("00081198", {})
    assert not failed.get("Value"), failed


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(address):
            return
        time.sleep(0.1)
    raise AssertionError("Orthanc did not start; see its log")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
