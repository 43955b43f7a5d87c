"""Samples per second of the certified inferer beside the bare network and Captum's NoiseTunnel, in one run.

usage: python benchmarks/run.py OUTPUT_DIR
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from captum.attr import NoiseTunnel, Saliency

import monai_robustinterp
from monai_robustinterp import load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise import CounterNoise
from monai_robustinterp.voting import pool_cells, top_k_votes

N_SAMPLES = 64
BATCH_SIZES = (8, 16, 32)
REPEATS = 3


def contenders(image: torch.Tensor, bundle: monai_robustinterp.SaliencyBundle, batch_size: int) -> dict[str, Callable]:
    """Functions that process N_SAMPLES copies each."""
    network, inferer = bundle.network, bundle.inferer
    inferer.n_samples, inferer.batch_size = N_SAMPLES, batch_size
    copies = image + inferer.sigma * torch.randn(batch_size, *image.shape)
    noise = CounterNoise(seed=0, image_hash="", protocol="bench")

    def bare() -> None:
        for _ in range(N_SAMPLES // batch_size):
            x = copies.clone().requires_grad_()
            torch.autograd.grad(network(x)[:, 1].sum(), x)

    def ours() -> None:
        inferer.vote(image, network)

    def captum() -> None:
        tunnel = NoiseTunnel(Saliency(network))
        for _ in range(N_SAMPLES // batch_size):
            # One call a batch, or memory grows with the number of samples.
            maps = tunnel.attribute(
                image[None].requires_grad_(),
                nt_type="smoothgrad",
                nt_samples=batch_size,
                nt_samples_batch_size=batch_size,
                stdevs=inferer.sigma,
                target=1,
            )
            cells = pool_cells(maps, inferer.cell_size).flatten(1)
            top_k_votes(cells, inferer.top_k, lambda rows, size=cells.shape[1]: noise.order(rows, size))

    return {"bare": bare, "monai_robustinterp": ours, "captum_noise_tunnel": captum}


def measure() -> dict[str, dict[str, float]]:
    """Median samples per second per contender and batch size; the contenders take turns."""
    bundle = load_bundle()
    image = torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0)).to(bundle.device)
    rates: dict[str, dict[str, float]] = {}
    with explaining(bundle.network):
        for batch_size in BATCH_SIZES:
            runs = contenders(image, bundle, batch_size)
            times: dict[str, list[float]] = {name: [] for name in runs}
            for repeat in range(REPEATS + 1):
                for name, run in runs.items():
                    start = time.perf_counter()
                    run()
                    if repeat:
                        times[name].append(time.perf_counter() - start)
            for name, seconds in times.items():
                rates.setdefault(name, {})[str(batch_size)] = N_SAMPLES / statistics.median(seconds)
    return rates


def main(output: Path) -> None:
    """Measures, prints a table and writes bench.json."""
    rates = measure()
    best = {name: max(by_batch.values()) for name, by_batch in rates.items()}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    report = {
        "samples_per_second": rates,
        "ratio_to_bare": {name: rate / best["bare"] for name, rate in best.items()},
        "n_samples": N_SAMPLES,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {"monai_robustinterp": monai_robustinterp.__version__, "torch": torch.__version__},
        "commit": commit,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    for name, by_batch in rates.items():
        columns = "  ".join(f"batch {size}: {rate:6.1f}" for size, rate in by_batch.items())
        print(f"{name:<22} {columns}  best/bare {best[name] / best['bare']:.2f}")
    print(f"samples per second, medians of {REPEATS}; {output / 'bench.json'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
