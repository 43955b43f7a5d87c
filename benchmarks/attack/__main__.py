"""Five films attacked in the norm of their noise: exposure noise, the denoiser, and multiples of the certified radius.

usage: python -m benchmarks.attack OUTPUT_DIR --chest-xray14 DIR [--quick]

About a quarter of an hour of one core. It writes ``results.json`` into OUTPUT_DIR and attack.md into docs/results. An
interrupted run resumes. ``--quick`` (a sample image, few copies) needs no folder; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.attack import page
from benchmarks.defaults.films import BoxedFilm, boxed_films, chest_xray14_validation, sample_films
from benchmarks.defaults.measures import candidate_bundle
from benchmarks.defaults.plan import DENOISER, EXPOSURE, REPORT_SEED, Candidate
from benchmarks.places import OPACITY, RESULTS, ROOT
from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.attacks import attack_certificate
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.films import prepared
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import bundle_settings

CANDIDATE = Candidate(bundle=OPACITY, interpreter="grad_cam", sigma=0.25, **EXPOSURE, denoiser=DENOISER)
"""The settings that reach farthest on the page about the defaults."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is tried, written down before any result was seen.

    Attributes:
        name: full or quick.
        films: the first so many with boxes among the validation images of ChestX-ray14, by name.
        n_samples: copies of each certificate.
        factors: radii of the attack over the certified one.
        budget: of the attack (``AttackBudget``).
    """

    name: str
    films: int
    n_samples: int
    factors: tuple[float, ...]
    budget: Mapping[str, Any]


FULL = Plan(
    name="full",
    films=5,
    n_samples=256,
    factors=(0.5, 1.0, 4.0),
    budget=MappingProxyType({"guide_draws": 16, "restarts": 2, "steps": 4, "plain_steps": 20, "fresh_samples": 384}),
)
QUICK = Plan(
    name="quick",
    films=1,
    n_samples=64,
    factors=(1.0,),
    budget=MappingProxyType({"guide_draws": 2, "restarts": 1, "steps": 1, "plain_steps": 1, "fresh_samples": 16}),
)


def attacked(film: BoxedFilm, bundle: SaliencyBundle, plan: Plan) -> dict[str, Any]:
    """The certificate of a film and the attacks on it; none where it abstains."""
    start = time.process_time()
    image = prepared(bundle, film.path)
    result = bundle.inferer.certify(image, bundle.network)
    certificate = result.certificate
    found = (
        attack_certificate(bundle.inferer, bundle.network, image, result, factors=plan.factors, **plan.budget)
        if certificate.l_max > 0
        else ()
    )
    return {
        "film": film.path.stem,
        "l_max": certificate.l_max,
        "label": certificate.label.l2,
        "attacks": [dataclasses.asdict(one) for one in found],
        "cpu_s": time.process_time() - start,
    }


def study(output: Path, films: Sequence[BoxedFilm], plan: Plan) -> list[dict[str, Any]]:
    """One row a film; those that an earlier run left in the folder are not repeated."""
    bundle = candidate_bundle(CANDIDATE, n_samples=plan.n_samples, seed=REPORT_SEED)
    shared = {"n_samples": plan.n_samples, "factors": list(plan.factors), "budget": dict(plan.budget)}
    shared |= {"candidate": dataclasses.asdict(CANDIDATE), **bundle_settings(bundle)}
    cells = [
        Cell(
            name=f"{film.path.stem}-{plan.name}",
            settings=shared | {"film": file_sha256(film.path)},
            make=partial(attacked, film, bundle, plan),
        )
        for film in films[: plan.films]
    ]
    return kept_rows(output, "attacks", cells)


def main(output: Path, plan: Plan, folder: Path | None) -> None:
    """Attacks, writes ``results.json`` and the page."""
    torch.set_num_threads(1)
    films = sample_films() if folder is None else boxed_films(chest_xray14_validation(folder))
    results = {
        "plan": plan.name,
        "settings": CANDIDATE.label,
        "sigma": CANDIDATE.sigma,
        "n_samples": plan.n_samples,
        "top_k": load_bundle(OPACITY).inferer.recipe.top_k,
        "budget": dict(plan.budget),
        "surroundings": surroundings("cpu", ROOT),
        "rows": study(output, films, plan),
    }
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "attack.md", page.sections(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack")
    parser.add_argument("output", type=Path, help="folder of the results")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--chest-xray14", type=Path, metavar="DIR", help="folder of the ChestX-ray14 images")
    wanted.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    main(arguments.output, QUICK if arguments.quick else FULL, arguments.chest_xray14)
