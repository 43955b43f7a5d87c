"""The shipped denoiser beside FFDNet and BM3D, its speed, and a classifier that never saw noise behind it.

usage: python -m benchmarks.denoiser OUTPUT_DIR --kermany DIR --chest-xray14 DIR [--quick]

About twenty minutes on two cores. It writes ``results.json`` into OUTPUT_DIR and denoiser.md into docs/results. An
interrupted run resumes. FFDNet and the classifier are read from the shared data, BM3D is used where its package is
installed; what is missing is left out. ``--quick`` (sample images) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.defaults.films import sample_items, validation_items
from benchmarks.denoiser import page, peers
from benchmarks.denoiser.measures import classifier_areas, copies_per_second, ratio_row
from benchmarks.places import RESULTS, ROOT, study_arguments
from monai_robustinterp.bundle import load_denoiser
from monai_robustinterp.networks import Denoiser
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions
from monai_robustinterp.training.tables import LabeledImage

NAME = "chest_xray_denoiser"
SIGMAS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.294)
BEYOND = (0.4, 0.5, 0.6)
OF_EACH = 12
FOR_BM3D = 8
CLASSIFIER_SIDE = 224


def chosen(items: Sequence[LabeledImage], of_each: int) -> list[str]:
    """Paths of so many films of each source, drawn once."""
    sources = sorted({item["source"] for item in items})
    draw = random.Random(0)
    found = [sorted(item["image"] for item in items if item["source"] == source) for source in sources]
    return [path for paths in found for path in draw.sample(paths, min(of_each, len(paths)))]


def ratios(output: Path, denoiser: Denoiser, paths: Sequence[str], *, quick: bool) -> list[dict[str, Any]]:
    """A row a size, sigma and denoiser."""
    contenders: dict[str, tuple[peers.Denoise | None, tuple[float, ...], int]] = {
        "ours": (denoiser, SIGMAS + BEYOND, len(paths)),
        "FFDNet": (peers.ffdnet(), SIGMAS, len(paths)),
        "ours, films of BM3D": (denoiser, BEYOND, FOR_BM3D),
        "BM3D": (None if quick else peers.bm3d(), BEYOND, FOR_BM3D),
    }
    cells = []
    for side in (64,) if quick else (128, 256):
        for name, (denoise, sigmas, count) in contenders.items():
            # The first films of both sources.
            half = len(paths) // 2
            films = [*paths[: count // 2], *paths[half : half + count // 2]]
            for sigma in sigmas[:: 3 if quick else 1] if denoise is not None else ():
                labels = {"side": side, "name": name, "sigma": sigma}
                names = [Path(path).name for path in films]
                cells.append(
                    Cell(
                        name=f"{name}-{side}-{sigma:g}",
                        settings={**labels, "denoiser": denoiser.settings, "films": names, **versions()},
                        make=partial(ratio_row, labels, denoise, films),
                    )
                )
    return kept_rows(output, "ratio", cells)


def classified(output: Path, denoiser: Denoiser, items: Sequence[LabeledImage]) -> list[dict[str, Any]]:
    """A row a sigma; none without the classifier."""
    network = peers.mobilenet()
    if network is None:
        return []
    cells = [
        Cell(
            name=f"{sigma:g}",
            settings={"sigma": sigma, "denoiser": denoiser.settings, "images": len(items), **versions()},
            make=partial(
                classifier_areas,
                network,
                peers.MobileNet.NAMES,
                items,
                denoiser,
                sigma=sigma,
                draws=4,
                side=CLASSIFIER_SIDE,
            ),
        )
        for sigma in (0.05, 0.25)
    ]
    return kept_rows(output, "classifier", cells)


def main(output: Path, folders: tuple[Path, Path] | None) -> None:
    """Measures, writes ``results.json`` and the page."""
    quick = folders is None
    items = sample_items() if folders is None else validation_items(*folders)
    denoiser = load_denoiser(NAME)
    assert denoiser is not None
    paths = chosen(items, 4 if quick else OF_EACH)
    speed = {
        f"{interpreter}, denoiser {name}": copies_per_second(
            Path(paths[0]), denoiser=name, interpreter=interpreter, n_samples=32 if quick else 256
        )
        for interpreter in ("gradient", "grad_cam")
        for name in ("none", NAME)
    }
    results = {
        "plan": "quick" if quick else "full",
        "surroundings": surroundings("cpu", ROOT),
        "denoiser": denoiser.settings,
        "weights": sum(weight.numel() for weight in denoiser.network.parameters()),
        "threads": torch.get_num_threads(),
        "ratios": ratios(output, denoiser, paths, quick=quick),
        "speed": speed,
        "classifier": []
        if quick
        else classified(output, denoiser, [i for i in items if i["source"] == "chest_xray14"]),
    }
    write_json(output / "results.json", results)
    write_page((output if quick else RESULTS) / "denoiser.md", page.sections(results))


if __name__ == "__main__":
    arguments = study_arguments("python -m benchmarks.denoiser")
    main(arguments.output, arguments.folders)
