"""The page on the denoiser."""

from __future__ import annotations

from typing import Any

from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, rounded_down, table

_BEHIND = 0.2
_COPIES = 150


def sections(results: dict[str, Any]) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    denoiser = results["denoiser"]
    return [
        ["# The denoiser"],
        [quick] if results["plan"] == "quick" else [],
        prose(
            f"Written by `python -m benchmarks.denoiser`: {denoiser['name']} {denoiser['version']},",
            f"{results['weights']:,} weights, one network for all noise (SHA-256 {denoiser['sha256'][:16]}...).",
        ),
        ["## How well it denoises"],
        prose(
            "Mean peak signal-to-noise ratio in dB over validation films, white noise added to values in [0, 1].",
            "FFDNet (its published weights, not trained on X-rays) is valid up to sigma 0.294; beyond it stands BM3D,",
            "on fewer films.",
        ),
        _ratios(results),
        ["## How fast"],
        prose(
            f"Copies a second of a whole run, {results['threads']} threads, noise and votes included, shipped opacity",
            "network at 128 px:",
        ),
        table(["settings", "copies/s"], [[name, f"{found:.0f}"] for name, found in results["speed"].items()]),
        ["Goals that were set beforehand:", "", *(goal.line for goal in _goals(results))],
        *_classifier(results["classifier"]),
        ["Measured on " + surroundings_text(results["surroundings"]) + "."],
    ]


def _by(results: dict[str, Any], name: str) -> dict[tuple[int, float], float]:
    return {(row["side"], row["sigma"]): row["ratio"] for row in results["ratios"] if row["name"] == name}


def _ratios(results: dict[str, Any]) -> list[str]:
    ours, lines = _by(results, "ours"), []
    for (side, sigma), found in sorted(ours.items()):
        text = [f"{side} px", f"{sigma:g}", f"{found:.2f}"]
        ffdnet = _by(results, "FFDNet").get((side, sigma))
        bm3d, same = (_by(results, name).get((side, sigma)) for name in ("BM3D", "ours, films of BM3D"))
        text.append("-" if ffdnet is None else f"{ffdnet:.2f} ({found - ffdnet:+.2f})")
        text.append("-" if bm3d is None or same is None else f"{bm3d:.2f} ({same - bm3d:+.2f})")
        lines.append(text)
    return table(["size", "sigma", "ours", "FFDNet (ours more)", "BM3D (ours more, same films)"], lines)


def _goals(results: dict[str, Any]) -> list[Goal]:
    ours, ffdnet = _by(results, "ours"), _by(results, "FFDNet")
    goals = []
    if ffdnet:
        behind = {place: ffdnet[place] - ours[place] for place in ffdnet}
        worst = max(behind, key=lambda place: behind[place])
        goals.append(
            Goal(
                f"within {_BEHIND:g} dB of FFDNet up to sigma 0.294",
                behind[worst] <= _BEHIND,
                f"At worst {behind[worst]:.2f} dB behind it ({worst[0]} px, sigma {worst[1]:g}).",
            )
        )
    best = max(found for name, found in results["speed"].items() if not name.endswith("none"))
    goals.append(
        Goal(f"denoise and interpret {_COPIES} copies a second", best >= _COPIES, f"{rounded_down(best, 0)} at best.")
    )
    return goals


def _classifier(rows: list[dict[str, Any]]) -> list[list[str]]:
    if not rows:
        return []
    first = rows[0]
    lines = [
        [f"{row['sigma']:g}", *(f"{row[kind]:.3f}" for kind in ("clean", "denoised", "noisy", "noisy, denoised"))]
        for row in rows
    ]
    return [
        ["## A classifier that never saw noise"],
        prose(
            "A MobileNetV3-Small of others for 15 findings (224 px; of a public repository, not shipped), on",
            f"{first['images']} validation images of ChestX-ray14: mean area under the curve over",
            f"{first['findings']} findings, mean score of {first['draws']} copies.",
        ),
        table(["sigma", "f", "f after D, no noise", "mean of f under noise", "mean of f after D under noise"], lines),
    ]
