"""Captures as a physician gets them, of the films that are shipped: found, not found, missed, abstaining, alarmed.

usage: python -m benchmarks.gallery [--samples M]

Two minutes on one core. It writes docs/results/gallery.md and its pictures, reduced, into docs/images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from benchmarks.films import SAMPLES
from benchmarks.places import PICTURES, RESULTS
from monai_robustinterp import SaliencyBundle, certify_image, load_bundle
from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.files import atomic_write
from monai_robustinterp.io.write.overlay import overlay_pixels
from monai_robustinterp.study.report import write_page
from monai_robustinterp.visualize.physician import captions

EVIDENCE, DEFAULT = "chest_xray_evidence", "chest_xray_certified_saliency"
_WIDTH = 1000


@dataclass(frozen=True)
class Exhibit:
    """One picture of the page.

    Attributes:
        name: of the picture.
        title: of its section.
        film: file of ``sample_data``.
        remark: what a reader should know beside the captions.
        bundle: name of the classifier.
        samples: noisy copies; None takes those of the whole page.
        beside: whether the network is exchanged for one that looks beside the lungs.
    """

    name: str
    title: str
    film: str
    remark: str
    bundle: str = EVIDENCE
    samples: int | None = None
    beside: bool = False


EXHIBITS = (
    Exhibit(
        "positive",
        "Found",
        "kermany_person1949_bacteria_4880.jpeg",
        "A child's film, labeled bacterial pneumonia.",
    ),
    Exhibit(
        "negative",
        "Not found",
        "kermany_NORMAL2-IM-1442-0001.jpeg",
        "A child's film, labeled normal. Where the votes of such a film lie means little, and the captions say that "
        "the outlines do not mark disease.",
    ),
    Exhibit(
        "missed",
        "Not found, and wrong",
        "kermany_person1952_bacteria_4883.jpeg",
        "A child's film, labeled bacterial pneumonia: the network misses it, and is stable in that. This is why every "
        'such picture says that "not found" does not mean normal.',
    ),
    Exhibit(
        "abstaining",
        "Abstaining",
        "kermany_person1947_bacteria_4876.jpeg",
        "The default bundle with 24 noisy copies, which are too few. Gray dashes, no color.",
        bundle=DEFAULT,
        samples=24,
    ),
    Exhibit(
        "alarm",
        "Alarm",
        "kermany_NORMAL2-IM-1430-0001.jpeg",
        "A network that was made for this page: its score is the brightness of three places beside the lungs. Its "
        "answer is as stable as that of a good one.",
        bundle=DEFAULT,
        beside=True,
    ),
)


class BesideLungs(nn.Module):
    """Two logits whose difference is the brightness of three places beside the lungs, on an input of 128 x 128."""

    def __init__(self) -> None:
        super().__init__()
        cells = torch.zeros(16, 16)
        cells[1:4, 1:7] = torch.linspace(1, 2, 18).reshape(3, 6)
        cells[3:6, 12:15] = 1.4
        cells[13, 2:9], cells[14, 4:8] = 1.5, 1.3
        self.weights = nn.Parameter(cells.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 2] of images [B, 1, 128, 128]."""
        score = (self.weights * image).mean(dim=(1, 2, 3))
        return torch.stack([-score, score], dim=1)


def certified(exhibit: Exhibit, *, samples: int) -> CertifiedResult:
    """The result of an exhibit.

    Args:
        exhibit: the exhibit.
        samples: noisy copies, where the exhibit has no number of its own.
    """
    # The statistics are of the films that the exchanged network was never trained on.
    overrides = {
        "n_samples": exhibit.samples or samples,
        "lungs": "chest_xray_lung_fields",
        "device": "$torch.device('cpu')",
        "input_statistics": "" if exhibit.beside else None,
    }
    bundle: SaliencyBundle = load_bundle(exhibit.bundle, overrides)
    if exhibit.beside:
        bundle.network = BesideLungs().eval()
    return certify_image(SAMPLES / exhibit.film, bundle)


def section(exhibit: Exhibit, result: CertifiedResult) -> list[str]:
    """Lines of the page about one exhibit: the picture, and its words as text."""
    said = captions(result.record)
    words = [f"> {' / '.join(caption)}  " for caption in (*said.paragraphs, *((remark,) for remark in said.remarks))]
    return [
        f"## {exhibit.title}",
        "",
        f"`{exhibit.film}`, record {said.code}. {exhibit.remark}",
        "",
        f"![{exhibit.title}](../images/gallery_{exhibit.name}.jpg)",
        "",
        *words,
    ]


def head(samples: int) -> list[str]:
    """First lines of the page."""
    return [
        "# Gallery: captures as a physician gets them",
        "",
        "Written by `python -m benchmarks.gallery` with films of `sample_data` (children's; Kermany et al. 2018, CC BY",
        "4.0, see [sample_data](../../sample_data/README.md); changed: outlined and reduced). Classifier",
        f"`chest_xray_evidence` with {samples} copies, unless a section says otherwise. The pictures are reduced to",
        f"{_WIDTH:,} pixels here; the captures have two to three times as many. They were chosen to show every kind of",
        "caption, so nothing follows about how often each occurs. No radiologist has seen them.",
        "",
        "Left the plain film, right the same with lines, and nothing else over it. The line around the squares has the",
        "color of the share of noisy copies that vote for the squares beside it; it runs on their edges, round at the",
        "corners. All words follow from `certificate.json`, whose `content_sha256` begins with the picture's code.",
        "*Tested changes* are those of the [ledger](../how-to/read-the-ledger.md), counted where they lie within the",
        "radii of map and decision; *chance* is what two random sets of squares share. The confidence is that of all",
        "claims of the record at once, rounded down.",
    ]


def _write_jpeg(pixels: npt.NDArray[np.uint8], file: BinaryIO) -> None:
    image = Image.fromarray(pixels)
    image.resize((_WIDTH, round(image.height * _WIDTH / image.width)), Image.Resampling.LANCZOS).save(
        file, "JPEG", quality=85
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes pictures and page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery")
    parser.add_argument("--samples", type=int, default=512, help="noisy copies of each film")
    samples = parser.parse_args(arguments).samples
    sections = [head(samples)]
    for exhibit in EXHIBITS:
        result = certified(exhibit, samples=samples)
        if result.picture is None:
            raise RuntimeError("a result of a file has a picture.")
        pixels = overlay_pixels(result.picture, result.record)
        atomic_write(PICTURES / f"gallery_{exhibit.name}.jpg", partial(_write_jpeg, pixels), overwrite=True)
        sections.append(section(exhibit, result))
    write_page(RESULTS / "gallery.md", sections)


if __name__ == "__main__":
    main()
