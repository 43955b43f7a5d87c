"""Where the certified maps of findings lie, and what else moves: the findings network, and that with a map a finding.

usage: python -m benchmarks.lungs.findings OUTPUT_DIR --chest-xray14 DIR [--films N] [--workers N]
       python -m benchmarks.lungs.findings OUTPUT_DIR --quick

Five minutes on one core. It writes ``results.json`` into OUTPUT_DIR and findings.md into docs/results. An interrupted
run resumes. ``--quick`` (sample images) needs no folder; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.defaults.films import chest_xray14_validation, sample_films
from benchmarks.lungs.films import CONSOLIDATION, MarkedFilm, polygons_of
from benchmarks.lungs.models import Contender, loaded
from benchmarks.lungs.page import share_text
from benchmarks.lungs.rows import settings_of
from benchmarks.places import RESULTS, ROOT, add_workers
from monai_robustinterp import SaliencyBundle, certify_votes
from monai_robustinterp.files import file_sha256
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.robust_perturbation import half_gaussian_half_median
from monai_robustinterp.metrics.base import at_pixels
from monai_robustinterp.metrics.enrichment import enrichment, share_marked
from monai_robustinterp.metrics.intervals import bootstrap_interval
from monai_robustinterp.run.pipeline import prepare, vote
from monai_robustinterp.study.films import prepared
from monai_robustinterp.study.machine import surroundings, surroundings_text
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.tables import prose, radius_text, table
from monai_robustinterp.training.tables import LabeledImage

Row = dict[str, Any]
Cells = npt.NDArray[np.bool_]

PLAIN, EVIDENCE = "chest_xray_findings", "chest_xray_findings_evidence"
CONTENDERS = (
    Contender(label="one layer for all findings, its defaults (gradient, sigma 0.1)", bundle=PLAIN),
    Contender(
        label="one layer for all findings, with the other's defaults",
        bundle=PLAIN,
        overrides={
            "interpreter_name": "cam",
            "sigma": 0.3,
            "brightness": 0.03,
            "tilt": 0.015,
            "denoiser": "chest_xray_denoiser",
        },
    ),
    Contender(label="a map a finding, its defaults (cam, sigma 0.3)", bundle=EVIDENCE),
)
OUTLINES = {"Effusion": "Effusion", "Pneumonia": CONSOLIDATION}
"""Of a finding of the networks the one that radiologists outlined."""
FILMS, SAMPLES, QUICK_SAMPLES = 10, 128, 16


def films_with(items: Sequence[LabeledImage], finding: str, count: int) -> list[MarkedFilm]:
    """The first films that are labeled with a finding, those with its outlines before the others."""
    outlines = polygons_of(OUTLINES[finding])
    films = [
        MarkedFilm(
            path=Path(item["image"]),
            patient=item["patient"],
            boxed=None,
            polygons=outlines.get(Path(item["image"]).stem, ()),
        )
        for item in sorted(items, key=lambda item: item["image"])
        if (item["findings"] or {}).get(finding) == 1
    ]
    return sorted(films, key=lambda film: not film.polygons)[:count]


def film_row(contender: Contender, film: MarkedFilm, finding: str, *, n_samples: int) -> Row:
    """Certificate and places of one film, and what moves when the reported cells are blurred away."""
    bundle = loaded(contender, n_samples=n_samples, target=finding)
    ready = prepare(film.path, bundle)
    claim = bundle.inferer.claim
    votes, spec = vote(ready, bundle)
    target = spec.target
    certificate = certify_votes(votes, spec, beta=claim.beta, eta=claim.eta)
    lungs = votes.regions[-1].cells.astype(np.float64) if votes.regions else None
    marked = film.cells("polygons", votes.counts.shape[0])
    clean = ready.image.as_tensor()[None]
    with explaining(bundle.network):
        moved = moved_logits(bundle.network, clean, votes.top_k_mask)
        tops = plain_tops(bundle, clean, len(moved))
    others = tops[np.arange(len(moved)) != target]
    return {
        "film": film.path.stem,
        "patient": film.patient,
        "map": certificate.l_max,
        "ceiling_share": certificate.ceiling_share,
        "votes_in_lungs": None if lungs is None else share_marked(votes.counts.astype(np.float64), lungs),
        "lungs": None if lungs is None else float(lungs.mean()),
        "outlines": None if marked is None else enrichment(votes.top_k_mask, marked),
        "blind_outlines": None if marked is None or lungs is None else enrichment(lungs, marked),
        "target": target,
        "moved": moved.tolist(),
        "shared": float(np.mean([(tops[target] & top).sum() / top.sum() for top in others])),
    }


def moved_logits(network: torch.nn.Module, clean: torch.Tensor, cells: Cells) -> npt.NDArray[np.float64]:
    """Absolute change of each logit [findings] where cells [h, w] of a film [1, 1, H, W] are blurred away."""
    gone = torch.as_tensor(at_pixels(cells.astype(np.float64), clean[0]), dtype=clean.dtype)
    with torch.no_grad():
        before, after = network(torch.cat([clean, clean + gone * (half_gaussian_half_median(clean) - clean)]))
    moved: npt.NDArray[np.float64] = (after - before).abs().double().numpy()
    return moved


def plain_tops(bundle: SaliencyBundle, clean: torch.Tensor, findings: int) -> npt.NDArray[np.bool_]:
    """The strongest cells of the plain map of each finding, bool [findings, cells]."""
    recipe = bundle.inferer.recipe
    maps = recipe.interpreter.attribute_each(bundle.network, clean, range(findings)).maps
    cells = torch.nn.functional.avg_pool2d(maps, recipe.cell_size)[0].flatten(1)
    tops = torch.zeros_like(cells, dtype=torch.bool).scatter_(1, cells.topk(recipe.top_k, dim=1).indices, True)
    found: npt.NDArray[np.bool_] = tops.numpy()
    return found


def spread(bundle: SaliencyBundle, paths: Sequence[Path]) -> list[float]:
    """Standard deviation of each logit over films."""
    with explaining(bundle.network), torch.no_grad():
        logits = torch.cat([bundle.network(prepared(bundle, path)[None]) for path in paths])
    found: list[float] = logits.double().std(dim=0).tolist()
    return found


def group(rows: Sequence[Row], deviations: Sequence[float]) -> Row:
    """What the page says of the films of one network and finding.

    Args:
        rows: of the films.
        deviations: of :func:`spread`, of the network.
    """
    return {
        "films": len(rows),
        "outlined": sum(row["outlines"] is not None for row in rows),
        "map": statistics.median(row["map"] for row in rows),
        "abstained": sum(row["map"] == 0 for row in rows),
        "ceiling_share": statistics.median(row["ceiling_share"] for row in rows),
        **{name: _mean(rows, name) for name in ("votes_in_lungs", "lungs", "outlines", "blind_outlines", "shared")},
        "ratio": _ratio(rows, np.ones(len(deviations))),
        "ratio_in_deviations": _ratio(rows, np.array(deviations)),
    }


def _ratio(rows: Sequence[Row], units: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """How far the other logits move, over how far the explained one does, each in its unit."""
    moved = np.array([row["moved"] for row in rows]) / units
    targets = np.array([row["target"] for row in rows])[:, None]
    explained = np.take_along_axis(moved, targets, axis=1)[:, 0]
    others = (moved.sum(axis=1) - explained) / (moved.shape[1] - 1)
    found = bootstrap_interval(
        lambda one, other: float(other.sum() / one.sum()), [row["patient"] for row in rows], explained, others
    )
    return found.value, found.low, found.high


def _mean(rows: Sequence[Row], name: str) -> tuple[float, float, float] | None:
    known = [row for row in rows if row[name] is not None]
    if not known:
        return None
    found = bootstrap_interval(
        lambda values: float(np.mean(values)), [row["patient"] for row in known], [row[name] for row in known]
    )
    return found.value, found.low, found.high


def sections(results: Row) -> list[list[str]]:
    """The page, from the results."""
    quick = ["**A quick run: its figures are no results.**"] if results["quick"] else []
    header = [
        *("network", "films (outlined)", "L_max, median", "share of the ceiling", "votes in lungs (lungs' area)"),
        *("in outlines, times chance (blind lung map)", "others move", "in deviations"),
        "cells shared",
    ]
    parts = [
        [f"## {finding}", "", *table(header, [[label, *_cells(one)] for label, one in groups.items()])]
        for finding, groups in results["groups"].items()
    ]
    return [
        ["# Findings: where their maps lie, and what else moves"],
        quick,
        prose(
            f"Written by `python -m benchmarks.lungs.findings`; {surroundings_text(results['surroundings'])}.",
            "Validation films labeled with the finding, which is explained whatever the network says;",
            f"m = {results['samples']}, confidence 0.999 an image, beta 0.5, 38 of 256 cells. L_max is at population",
            "level, l2 over the network's input; no other column is a claim. Brackets are 95 % bootstrap intervals by",
            "patient. *In outlines*: share of the reported cells in what radiologists of ChestX-Det outlined, over the",
            "outlines' share of the film, of the films that have some. *Others move*: the reported cells are blurred",
            "away, and the mean absolute change of the other ten logits is divided by that of the explained one",
            "(sums over the films); *in deviations*: the same where each logit is measured in its standard deviation",
            "over the validation films, since some logits have a larger scale. *Cells shared*: of the plain map's 38",
            "strongest cells with those of the other findings' maps of the same film; 0.15 by chance.",
        ),
        *parts,
    ]


def _cells(one: Row) -> list[str]:
    abstained = f", {one['abstained']} abstain" if one["abstained"] else ""
    return [
        f"{one['films']} ({one['outlined']})",
        f"{radius_text(one['map'])}{abstained}",
        f"{one['ceiling_share']:.2f}",
        f"{share_text(one['votes_in_lungs'])} ({_value(one['lungs'])})",
        f"{share_text(one['outlines'])} ({_value(one['blind_outlines'])})",
        share_text(one["ratio"]),
        share_text(one["ratio_in_deviations"]),
        share_text(one["shared"]),
    ]


def _value(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2f}"


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes ``results.json`` and the page."""
    output: Path = arguments.output
    n_samples = QUICK_SAMPLES if arguments.quick else SAMPLES
    if arguments.quick:
        outline = (((0.2, 0.3), (0.5, 0.3), (0.5, 0.7)),)
        films = [
            MarkedFilm(path=film.path, patient=film.patient, boxed=None, polygons=outline) for film in sample_films()
        ]
        chosen, everyone = {"Effusion": films[:2]}, [film.path for film in films]
    else:
        items = chest_xray14_validation(arguments.chest_xray14)
        chosen = {finding: films_with(items, finding, arguments.films) for finding in OUTLINES}
        everyone = [Path(item["image"]) for item in items]
    rows = rows_of(output, chosen, n_samples, arguments.workers)
    results = {
        "quick": arguments.quick,
        "samples": n_samples,
        "surroundings": surroundings("cpu", ROOT),
        "groups": {
            finding: {
                one.label: group(
                    rows[finding, one.label], spread(loaded(one, n_samples=n_samples, target=finding), everyone)
                )
                for one in CONTENDERS
            }
            for finding in chosen
        },
    }
    write_json(output / "results.json", results)
    write_page((output if arguments.quick else RESULTS) / "findings.md", sections(results))


def rows_of(
    output: Path, chosen: Mapping[str, Sequence[MarkedFilm]], n_samples: int, workers: int
) -> dict[tuple[str, str], list[Row]]:
    """Rows of films by finding and label of the contender, kept one by one, and their table."""
    pairs = [(finding, one) for finding in chosen for one in CONTENDERS]
    cells = []
    for finding, one in pairs:
        bundle = loaded(one, n_samples=n_samples, target=finding)
        shared = settings_of(one, bundle, n_samples=n_samples, finding=finding)
        cells += [
            Cell(
                name=f"{finding}-{one.label}-{film.path.stem}",
                labels={"finding": finding, "model": one.label},
                settings=shared | {"film": file_sha256(film.path), "outlines": film.polygons},
                make=partial(film_row, one, film, finding, n_samples=n_samples),
            )
            for film in chosen[finding]
        ]
    found = iter(kept_rows(output, "films", cells, workers=workers))
    return {(finding, one.label): [next(found) for _ in chosen[finding]] for finding, one in pairs}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lungs.findings")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--films", type=int, default=FILMS, help="of each finding, at most")
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if not arguments.quick and arguments.chest_xray14 is None:
        parser.error("the full form needs --chest-xray14")
    return arguments


if __name__ == "__main__":
    main(_arguments())
