"""Writes what the training films of the shipped networks look like, for the warning about films unlike them.

usage: python -m benchmarks.classifiers.input_statistics --kermany DIR --chest-xray14 DIR [--write]

It prints how many held-out films, and how many changed ones, the statistics warn of. ``--write`` replaces
``configs/input_statistics.json`` of these bundles.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.classifiers.measures import TABLES
from benchmarks.classifiers.plan import FINDINGS, FINDINGS_EVIDENCE, OPACITY
from benchmarks.places import ROOT
from monai_robustinterp import InputStatistics, SaliencyBundle, load_bundle
from monai_robustinterp.files import atomic_write
from monai_robustinterp.study.films import prepared
from monai_robustinterp.training import chest_xray14, kermany
from monai_robustinterp.training.tables import LabeledImage


def films_of(name: str, items: Sequence[LabeledImage], split: str) -> list[LabeledImage]:
    """The films that trained a bundle's network, or that were held out from it.

    The trunk of the findings, with maps of their own or not, was trained on the films of the opacity model.
    """
    both = name != OPACITY
    return [
        item
        for item in items
        if item["split"] == split and (item["opacity"] is not None or (both and item["findings"] is not None))
    ]


def images_of(bundle: SaliencyBundle, items: Sequence[LabeledImage]) -> list[torch.Tensor]:
    """The network's inputs."""
    return [prepared(bundle, item["image"]).cpu() for item in items]


def changed(images: Sequence[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Films that are none, by what was done to them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "inverted": [1 - image for image in images],
        "upside down": [image.flip(1) for image in images],
        "on the side": [image.transpose(1, 2) for image in images],
        "at 0.6 of their brightness": [0.6 * image for image in images],
        "uniform white noise": [torch.rand(image.shape, generator=generator) for image in images],
        "Gaussian white noise of their mean and deviation": [
            (image.mean() + image.std() * torch.randn(image.shape, generator=generator)).clamp(0, 1) for image in images
        ],
    }


def warned(statistics: InputStatistics, images: Sequence[torch.Tensor]) -> str:
    """How many of the images get a warning, in words."""
    count = sum(statistics.unlike(image[0].double()) != "" for image in images)
    return f"{count} of {len(images)} ({count / len(images):.1%})"


def main(arguments: argparse.Namespace) -> None:
    """Prints the rates, and writes the files."""
    items = kermany(arguments.kermany, TABLES / "kermany_split.csv")
    items += chest_xray14(arguments.chest_xray14, TABLES / "chest_xray14_split.csv")
    for name in (OPACITY, FINDINGS, FINDINGS_EVIDENCE):
        bundle = load_bundle(name)
        training = images_of(bundle, films_of(name, items, "train"))
        statistics = InputStatistics.of(training)
        print(f"{name}\n  training films: {warned(statistics, training)}")
        held_out = films_of(name, items, "validation")
        for source in ("kermany", "chest_xray14"):
            films = images_of(bundle, [item for item in held_out if item["source"] == source])
            print(f"  held-out films of {source}: {warned(statistics, films)}")
        for what, films in changed(images_of(bundle, held_out)).items():
            print(f"  held-out films {what}: {warned(statistics, films)}")
        if arguments.write:
            content = statistics.to_json().encode()
            path = ROOT / "bundles" / name / "configs" / "input_statistics.json"
            atomic_write(path, lambda file, content=content: file.write(content + b"\n"), overwrite=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifiers.input_statistics")
    parser.add_argument("--kermany", type=Path, required=True, metavar="DIR", help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, required=True, metavar="DIR", help="folder of ChestX-ray14 images")
    parser.add_argument("--write", action="store_true", help="replace the files of the bundles")
    main(parser.parse_args())
