"""Kills a run again and again, counts what is left: ``python -m benchmarks.killed_runs FILM [IMAGES] [KILLS] [SEED]``.

FILM is a radiograph as PNG or JPEG; each image is a part of it. The command certifies them into one folder and gets
SIGKILL at a random moment; then it starts anew, and at last it may end. Every image is to have its result, and nothing
else may lie in the folder.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256
LONGEST_S = 20.0
"""A run is killed at a moment that is uniform up to here; its first seconds are imports."""


def make_images(film: Path, folder: Path, count: int, random: np.random.Generator) -> None:
    """Different parts of a film, as PNG files."""
    with Image.open(film) as image:
        pixels = np.asarray(image.convert("L"))
    rows, columns = (side - SIDE for side in pixels.shape)
    for number in range(count):
        top, left = int(random.integers(rows)), int(random.integers(columns))
        Image.fromarray(pixels[top : top + SIDE, left : left + SIDE]).save(folder / f"{number:03}.png")


def main(film: str, images: str = "60", kills: str = "20", seed: str = "0") -> None:
    """Prints how many results each killed run left, and what the last run left."""
    random = np.random.default_rng(int(seed))
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name, "images"), Path(name, "out")
        folder.mkdir()
        make_images(Path(film), folder, int(images), random)
        command = [sys.executable, "-m", "monai_robustinterp", "certify", str(folder), "--output", str(output)]
        command += ["--samples", "32", "--batch-size", "32", "--quiet"]
        for _ in range(int(kills)):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
                time.sleep(random.uniform(0, LONGEST_S))
                run.send_signal(signal.SIGKILL)
            print(f"killed with {len(list(output.glob('cxr-*')))} results")
        code = subprocess.run(command, stderr=subprocess.DEVNULL).returncode
        results = json.loads((output / "summary.json").read_text())["results"]
        expected = {"summary.json", "index.json", *(result["folder"] for result in results)}
        left = {path.name for path in output.iterdir()} - expected
        whole = sum(len(list((output / result["folder"]).iterdir())) == 4 for result in results)
        print(f"exit code {code}; {len(results)} results, {whole} of them whole; {len(left)} leftovers")


if __name__ == "__main__":
    main(*sys.argv[1:])
