"""The attack on a few images: what a certificate of the smoothed map is worth beside the plain map."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.certificates.plan import CONTROL, Plan
from benchmarks.certificates.streams import Stream
from monai_robustinterp import SaliencyBundle, certify_votes
from monai_robustinterp.attacks import attack_certificate
from monai_robustinterp.certificates.record import counts_sha256
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.tables import Goal, prose, radius_text, table

Rows = list[dict[str, Any]]


def measure(
    streams: Sequence[Stream], images: Mapping[str, torch.Tensor], bundle: SaliencyBundle, plan: Plan, folder: Path
) -> Rows:
    """One row an image and factor; those that an earlier run left in the folder are not repeated."""
    cells = [
        _cell(stream, images[stream.name], bundle, plan, factor)
        for stream in streams[: plan.attacked]
        for factor in plan.attack_factors
    ]
    return kept_rows(folder, "attacks", cells)


def _cell(stream: Stream, image: torch.Tensor, bundle: SaliencyBundle, plan: Plan, factor: float) -> Cell:
    votes, spec = stream.at(plan.attack_samples)
    certificate = certify_votes(votes, spec, beta=bundle.inferer.claim.beta, eta=bundle.inferer.claim.eta)
    settings = {
        "factor": factor,
        "budget": dict(plan.attack_budget),
        "counts_sha256": counts_sha256(votes),
        "l_max": certificate.l_max,
        **versions(),
        **bundle.files,
    }

    def attack() -> dict[str, Any]:
        start = time.perf_counter()
        row: dict[str, Any] = {"image": stream.name, "factor": factor, "l_max": certificate.l_max}
        if certificate.l_max > 0:
            certified = bundle.inferer.result(votes, spec, image, bundle.network)
            (found,) = attack_certificate(
                bundle.inferer, bundle.network, image, certified, factors=(factor,), **plan.attack_budget
            )
            row |= dataclasses.asdict(found)
        return row | {"elapsed_s": time.perf_counter() - start}

    return Cell(name=f"{stream.name}-{factor:g}-{plan.name}", settings=settings, make=attack)


def goals(rows: Rows, *, top_k: int) -> list[Goal]:
    """No certificate broken inside its radius or at it; the plain map halved at the largest factor."""
    attacked = [row for row in rows if "broken" in row]
    if not attacked:
        return []
    broken = [row for row in attacked if row["broken"] and row["factor"] <= 1]
    beyond = sum(row["broken"] for row in attacked if row["factor"] > 1)
    most = max(row["factor"] for row in attacked)
    plain = [row["plain_overlap"] for row in attacked if row["factor"] == most]
    return [
        Goal(
            "no certificate broken at or inside its radius",
            not broken,
            f"{len(broken)} of {sum(row['factor'] <= 1 for row in attacked)} attacks broke one; beyond it, where "
            f"nothing is claimed, {beyond}.",
        ),
        Goal(
            f"the plain map halved at {most:g} times the certified radius",
            all(2 * overlap <= top_k for overlap in plain),
            f"It keeps {', '.join(map(str, plain))} of {top_k} cells, by image.",
        ),
    ]


def page(rows: Rows, plan: Plan, *, top_k: int) -> list[str]:
    """The section of the page."""
    if not rows:
        return ["## Attack", "", "Left out of this quick run."]
    lines = [[row["image"], *_cells(row, top_k)] for row in rows]
    lines.append([CONTROL, "any", "any", *[f"{top_k} of {top_k}"] * 2, "", "cannot be attacked", "yes"])
    budget: dict[str, Any] = next((row["budget"] for row in rows if "budget" in row), {})
    keeps = ["plain map keeps", "smoothed map keeps"]
    header = ["image", "radius / L_max", "radius", *keeps, "certified", "broken", "label kept"]
    return [
        "## Attack",
        "",
        *prose(
            f"The first {plan.attacked} images by name, fixed beforehand, their certificate from",
            f"{plan.attack_samples} copies, attacked at multiples of its radius",
            "(docs/how-to/attack-a-certificate.md) with",
            f"{', '.join(f'{key} {value}' for key, value in budget.items())}. Cells that the top-k keeps of the",
            "clean one: the plain gradient map of the network under its own attack, the smoothed map (fresh copies)",
            "under another. Broken: fresh copies show with confidence 1 - gamma that the expected map keeps fewer",
            "than the certified cells. Not broken proves nothing by itself. At 1 the claim, which is for smaller",
            "norms, just ends: a break there would count all the same. A fixed map does not look at the image: no",
            "attack can change it.",
        ),
        "",
        *table(header, lines),
    ]


def _cells(row: dict[str, Any], top_k: int) -> list[str]:
    factor = f"{row['factor']:g}"
    if "broken" not in row:
        return [factor, radius_text(0.0), "", "", "abstains: no claim to attack", "", ""]
    return [
        factor,
        radius_text(row["radius"]),
        f"{row['plain_overlap']} of {top_k}",
        f"{row['overlap']} of {top_k}",
        str(row["certified_overlap"]) if row["factor"] <= 1 else "nothing claimed",
        "**yes**" if row["broken"] else "no",
        "yes" if row["label_kept"] else "no",
    ]
