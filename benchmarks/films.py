"""The eight films of the published tables: seven of them are not shipped and are read from the shared data.

docs/how-to/get-the-films.md says where they come from and how the folder is laid out.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

from monai_robustinterp.files import atomic_write

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_data"
# Name on the pages -> file in the folder, or member of kermany256.tar in it, and SHA-256.
FILMS = {
    "kermany_IM-0525-0001_normal.jpg": (
        "kermany256/IM-0525-0001.jpg",
        "145728c36e65d7189fa9dd7779c08cf6db0596f60456ac094f649a1be9f3265f",
    ),
    "kermany_person534_bacteria_2253_pneumonia.jpg": (
        "kermany256/person534_bacteria_2253.jpg",
        "93a3c2ddab3dbce20627e29d131af8866f3fb9cf55e870e62b58d400d24f09ba",
    ),
    "nih_00000282_000_effusion.png": (
        "nih1024/00000282_000.png",
        "eba9340d4334fe767d2ebecc83f810f68ac8856afe0ce2d5cb35d0a1c8930caf",
    ),
    "nih_00000766_010_pneumonia.png": (
        "nih1024/00000766_010.png",
        "dff16bbded1b67c76ba3d9e6274135f181a7ae4c36dbd54a5da0bb7c81358cf7",
    ),
    "nih_00001368_000_no_finding.png": (
        "nih1024/00001368_000.png",
        "0e2dc44fbe88cd3587c081d8eccd134a9bed722be586b985175abb2e5e308583",
    ),
    "nih_00002578_000_nodule.nii.gz": (
        "nifti/00002578_000.nii.gz",
        "20cc398e8a830d9cd78a3f01cd5baea6a1a76096950f9c657cbbec9b46790d85",
    ),
    "nih_dx_no_finding.dcm": (
        "dicom/NIH_google_DX.dcm",
        "cbf4d301b7e33923707b6cdeda3953e818ee8e6bc817f26fc127cd78eb6cff6d",
    ),
    "wg04_rg1_multiple_masses.dcm": (
        str(SAMPLES / "wg04_rg1_multiple_masses.dcm"),
        "04f3819549e596912457c5729933cd60d4a0346ff9d3cd6dc03427ef51688184",
    ),
}


def shared_folder() -> Path:
    """MONAI_ROBUSTINTERP_SHARED_DATA, or shared/data beside the repository."""
    return Path(os.environ.get("MONAI_ROBUSTINTERP_SHARED_DATA", ROOT.parent / "shared" / "data"))


def study_films(folder: Path) -> list[Path]:
    """Copies the films of the published tables into a folder, under the names of the tables.

    Args:
        folder: made if it is missing; films that it holds are replaced.

    Returns:
        The copies, in the order of their names.

    Raises:
        SystemExit: if a film is missing or another file than the published one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (source, digest) in FILMS.items():
        content = _content(shared_folder(), source)
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            found = "is missing" if content is None else "is another file than the published one"
            raise SystemExit(
                f"{source} {found} in {shared_folder()}: this study needs the films that docs/how-to/get-the-films.md"
                " names; --quick takes sample_data, where the study has it."
            )
        paths.append(folder / name)
        # Processes that share a study write the same films.
        atomic_write(paths[-1], lambda file, content=content: file.write(content), overwrite=True)
    return paths


def _content(shared: Path, source: str) -> bytes | None:
    path, archive = shared / source, shared / "kermany256.tar"
    if path.is_file():
        return path.read_bytes()
    if source.startswith("kermany256/") and archive.is_file():
        with tarfile.open(archive) as tar:
            member = tar.extractfile(source)
            return member.read() if member else None
    return None
