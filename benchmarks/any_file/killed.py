"""One command that is killed again and again, and what is left when it may end at last."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, SAMPLES = 256, 32
RESULT_FILES = 4


def study(folder: Path, film: Path, *, images: int, kills: int, longest_s: float, seed: int) -> dict[str, Any]:
    """Kills the command so many times, lets it end once, and looks into its folder.

    Args:
        folder: an empty one.
        film: a radiograph as PNG or JPEG; each image is a part of it.
        images: how many are certified.
        kills: how often the command gets SIGKILL.
        longest_s: the moments are uniform up to here, in seconds after the start; the first seconds are imports.
        seed: of images and moments.

    Returns:
        ``after_kills``: results in the folder at each kill; ``exit``: code of the last run; ``results`` and ``whole``
        ones of its summary; ``leftovers``: names in the folder that are none of its results.
    """
    random, inputs, output = np.random.default_rng(seed), folder / "images", folder / "out"
    inputs.mkdir()
    _make_images(film, inputs, images, random)
    command = [sys.executable, "-m", "monai_robustinterp", "certify", str(inputs), "--output", str(output)]
    command += ["--samples", str(SAMPLES), "--batch-size", str(SAMPLES), "--quiet"]
    after_kills = []
    for _ in range(kills):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
            time.sleep(random.uniform(0, longest_s))
            run.send_signal(signal.SIGKILL)
        after_kills.append(len(list(output.glob("cxr-*"))))
    code = subprocess.run(command, stderr=subprocess.DEVNULL).returncode
    results = json.loads((output / "summary.json").read_text())["results"]
    expected = {"summary.json", "index.json", *(result["folder"] for result in results)}
    return {
        "images": images,
        "longest_s": longest_s,
        "after_kills": after_kills,
        "exit": code,
        "results": len(results),
        "whole": sum(len(list((output / result["folder"]).iterdir())) == RESULT_FILES for result in results),
        "leftovers": sorted({path.name for path in output.iterdir()} - expected),
    }


def _make_images(film: Path, folder: Path, count: int, random: np.random.Generator) -> None:
    """Different parts of a film, as PNG files."""
    with Image.open(film) as image:
        pixels = np.asarray(image.convert("L"))
    rows, columns = (side - SIDE for side in pixels.shape)
    for number in range(count):
        top, left = int(random.integers(rows)), int(random.integers(columns))
        Image.fromarray(pixels[top : top + SIDE, left : left + SIDE]).save(folder / f"{number:03}.png")
