"""What certified ranges leave on the disk: attention.json and two pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monai_robustinterp.attention.range_image import Ranged, ranges_record, sentence
from monai_robustinterp.attention.ranges import CertifiedRange
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.visualize.changed_images import ChangedImage, changed_figure
from monai_robustinterp.visualize.range_curve import RangePanel, range_figure


def save_ranges(ranged: Ranged, folder: Path) -> None:
    """Writes the files into an existing folder without them."""
    figure = range_figure(
        [_panel(one, sentence(one, ranged.image.meta, ranged.scale)) for one in ranged.ranges],
        title="certified ranges, one kind of change at a time",
    )
    images = changed_figure(list(_images(ranged)), title="the network's input at both ends of each certified range")
    content = json_bytes(ranges_record(ranged))
    atomic_write(folder / "attention.png", lambda file: figure.savefig(file, format="png"))
    atomic_write(folder / "images.png", lambda file: images.savefig(file, format="png"))
    atomic_write(folder / "attention.json", lambda file: file.write(content))


def _images(ranged: Ranged) -> Iterator[ChangedImage]:
    yield ChangedImage("the image itself", ranged.image.as_tensor()[0].cpu().numpy())
    for one, ends in zip(ranged.ranges, ranged.ends):
        proven = one.noise.proven(one.radius)
        for strength, changed in zip((-proven, proven), ends):
            # Nothing is claimed where it is 0: the image is the one above.
            if proven > 0:
                title = f"{one.noise.name}, {one.noise.shown(strength):.4g}\n({one.noise.axis})"
                yield ChangedImage(title, changed[0].cpu().numpy())


def _panel(one: CertifiedRange, title: str) -> RangePanel:
    noise = one.noise
    proven = noise.proven(one.radius)
    joint = None
    if one.pixel_sigma:
        steps = np.linspace(-1, 1, 101) if noise.on_source else np.linspace(-1, 1, 2 * int(proven) + 1)
        strengths = steps * proven
        left = np.sqrt(np.clip(1 - np.square(strengths / one.radius), 0, 1)) if one.radius > 0 else 0 * strengths
        joint = np.array([noise.shown(at) for at in strengths]), one.pixel_radius(one.radius) * left
    return RangePanel(
        title=title,
        axis=noise.axis,
        certified=noise.range(one.radius) if proven > 0 else None,
        strengths=np.array([noise.shown(at) for at in one.sampled.strengths]),
        plain=one.sampled.plain,
        smoothed=one.sampled.smoothed,
        overlap=one.overlap,
        top_k=one.spec.top_k,
        joint=joint,
        whole=not noise.on_source,
        smoothing="from draws of both noises" if one.pixel_sigma else "by quadrature",
    )
