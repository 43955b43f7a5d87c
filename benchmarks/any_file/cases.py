"""The cases of ``shared/cases``: its files through ``certify``, and the others through the reader or a call."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import dcmread, uid
from torch import nn

from benchmarks.films import ROOT, SAMPLES, shared_folder
from benchmarks.places import OPACITY
from monai_robustinterp import CertifiedSaliencyInferer, certify_cohort, load_bundle
from monai_robustinterp.errors import raised_in
from monai_robustinterp.io.read.reader import ChestXRayReader
from tests.support.dicom_factory import make_dx
from tests.support.networks import TinyClassifier

Row = dict[str, Any]


class _Autocast(nn.Module):
    """A network that leaves its precision by itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: torch.Tensor = self.network(image).float()
        return logits


def case_files(first: int | None) -> list[Path]:
    """Reports, then hostile files; MONAI_ROBUSTINTERP_SHARED_CASES, or shared/cases beside the repository."""
    folder = Path(os.environ.get("MONAI_ROBUSTINTERP_SHARED_CASES", ROOT.parent / "shared" / "cases"))
    return [path for kind in ("reports", "hostile") for path in sorted((folder / kind).glob("*"))][:first]


def certified_files(files: Sequence[Path], n_samples: int, *, strict: bool = False) -> list[Row]:
    """A row a file: ``case``, ``outcome`` (read, warned, refused), ``score`` and ``said``.

    Args:
        files: images, or folders of them.
        n_samples: noisy copies, of which neither depends.
        strict: refuse what seems to be no chest radiograph.
    """
    if not files:
        return []
    settings = {"n_samples": n_samples, "batch_size": n_samples, "strict": strict or None}
    bundle = load_bundle(OPACITY, overrides={**settings, "device": "$torch.device('cpu')"})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = certify_cohort(files, folder, bundle=bundle, show_progress=False)
        sources = json.loads((Path(folder) / "index.json").read_text())["last_run"]
    rows = []
    for result in summary.results:
        plain = result.status in ("refused", "same film")
        said = result.reason if plain else result.warnings
        outcome = result.status if plain else "warned" if said else "read"
        case = Path(sources[str(result.number)]).name
        rows.append({"case": case, "outcome": outcome, "score": result.score, "said": said})
    passed_over = "; ".join(f"{number} {kind}" for kind, number in summary.passed_over.items())
    if passed_over:
        rows.append({"case": "(the folder)", "outcome": "passed over", "score": None, "said": passed_over})
    return rows


def study_folder(folder: Path, n_samples: int) -> list[Row]:
    """A folder as on a CD: a DICOMDIR, a report, and the same film twice."""
    film = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    for name in ("IM0001", "IM0002"):
        (folder / name).write_bytes(film.read_bytes())
    kinds = {"DICOMDIR": uid.MediaStorageDirectoryStorage, "SR0001": uid.BasicTextSRStorage}
    for name, kind in kinds.items():
        dataset = dcmread(film)
        del dataset.PixelData
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.save_as(folder / name)
    return certified_files([folder], n_samples)


def headers(folder: Path) -> list[Row]:
    """What the reader says of DICOM headers, and of a film as 12-bit JPEG Extended."""
    path = folder / "film.dcm"

    def made(**elements: str | list[str]) -> Path:
        return make_dx(path, elements=elements)

    makers: dict[str, Callable[[], Path]] = {
        "12-bit JPEG Extended (an extremity)": lambda: shared_folder() / "dicom" / "RG3_JPLY_extremity.dcm",
        "PatientOrientation R\\F (mirrored)": lambda: made(PatientOrientation=["R", "F"]),
        "PatientOrientation F\\L (rotated)": lambda: made(PatientOrientation=["F", "L"]),
        "ViewPosition LL (lateral)": lambda: made(ViewPosition="LL"),
        **{f"BodyPartExamined {name}": lambda name=name: made(BodyPartExamined=name) for name in _BODY_PARTS},
    }
    return [_said(case, lambda make=make: ChestXRayReader().get_data(make())) for case, make in makers.items()]


_BODY_PARTS = ("THORAX", "PORT CHEST", "HAND")


def calls() -> list[Row]:
    """What Python calls say of a network or an image that is not what the certificate is about."""
    torch.manual_seed(0)
    network, image = TinyClassifier(2).eval(), torch.rand(1, 1, 64, 64)
    wide = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    given: dict[str, tuple[Any, nn.Module]] = {
        "a network that ends in a sigmoid": (image, nn.Sequential(network, nn.Sigmoid())),
        "an image in [0, 255]": (255 * image, network),
        "an image in [0, 4095]": (4095 * image, network),
        "autocast inside forward": (image, _Autocast(network)),
        "a network of three channels": (image, wide),
        "a numpy image": (np.asarray(image), network),
        "a constant image": (torch.ones_like(image), network),
    }
    inferer = CertifiedSaliencyInferer(n_samples=8, cell_size=4, top_k=6, target=0)
    return [_said(case, lambda given=given: inferer(*given)) for case, given in given.items()]


def _said(case: str, call: Callable[[], object]) -> Row:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except Exception as error:
            ours = raised_in(error).startswith("monai_robustinterp")
            refused = ours and isinstance(error, ValueError | TypeError)
            return {"case": case, "outcome": "refused" if refused else "FAULT", "score": None, "said": str(error)}
    said = "; ".join(str(warning.message) for warning in caught if warning.category is UserWarning)
    return {"case": case, "outcome": "warned" if said else "read", "score": None, "said": said}
