"""Parts of the study of the defaults: votes of a shorter run, boxes on cells, and the rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from benchmarks.defaults.films import BoxedFilm
from benchmarks.defaults.measures import areas, first_copies
from benchmarks.defaults.plan import FULL, OLD, QUICK, selects
from benchmarks.defaults.selection import chosen, offences
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from tests.support.networks import TinyClassifier


def test_the_first_copies_are_the_votes_of_a_shorter_run() -> None:
    network, image = TinyClassifier().eval(), torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    runs = {
        size: CertifiedSaliencyInferer(
            n_samples=size, top_k=5, cell_size=4, target=1, batch_size=4, pairs=True, sigma=0.3
        ).vote(image, network)[0]
        for size in (12, 20)
    }
    shorter = first_copies(runs[20], 12, pairs=True)
    for field in dataclasses.fields(shorter):
        if field.name not in ("tied_copies", "constant_copies"):
            assert np.array_equal(getattr(shorter, field.name), getattr(runs[12], field.name)), field.name


def test_a_box_covers_its_share_of_the_cells() -> None:
    film = BoxedFilm(path=Path("x.jpg"), patient="1", boxes=((0.25, 0.5, 0.375, 0.25), (0.25, 0.5, 0.125, 0.25)))
    cells = film.cells(4)
    expected = np.zeros((4, 4))
    expected[2, 1:3] = 1, 0.5
    assert np.array_equal(cells, expected)


def figures(**changes: object) -> dict[str, object]:
    return {"kept": 0.97, "auc_loss": 0.0, "enrichment": 2.0, "blind": 1.5, "beta": "0.5", "both": 0.1} | changes


def test_the_rule_takes_the_largest_radius_of_those_that_break_nothing() -> None:
    earlier = figures()
    cases = {
        "decision": figures(kept=0.94, both=9),
        "AUC": figures(auc_loss=0.011, both=8),
        "boxes": figures(enrichment=1.9, both=7),
        "beta": figures(beta="0.3", both=6),
    }
    assert {name: offences(found, earlier) for name, found in cases.items()} == {name: [name] for name in cases}
    best = figures(both=0.5, kept=0.95, auc_loss=0.01)
    assert chosen([earlier, *cases.values(), figures(both=0.2), best]) == 6
    # Cells that lie in boxes no more than the lungs do are no better than a map that marks the lungs.
    assert offences(figures(enrichment=2.5, blind=2.6), earlier) == ["boxes"]
    # The earlier default stays where nothing else is allowed, whatever it breaks itself.
    assert chosen([figures(kept=0.5), *cases.values()]) == 0


def test_areas_are_taken_by_source() -> None:
    rows = [
        {"source": source, "opacity": opacity, "score": score}
        for source, opacity, score in (("a", 1, 0.9), ("a", 0, 0.1), ("b", 1, 0.2), ("b", 0, 0.3), ("b", 0, 0.1))
    ]
    assert areas(rows, "score") == {"a": 1.0, "b": 0.5}


def test_the_plan_has_the_earlier_default_first_and_each_candidate_once() -> None:
    for plan in (FULL, QUICK):
        assert plan.candidates[0] == OLD
        assert len({one.label for one in plan.candidates}) == len(set(plan.candidates)) == len(plan.candidates)
    assert {selects(str(patient)) for patient in range(20)} == {True, False}
