"""How many noisy copies of a map a budget of CPU time allows: measured once, before any copy of a film is drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fill
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.study.dataset import Film
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.store import kept_json
from monai_robustinterp.study.workplace import Workplace

REPEATS = 4
# After so many it is not measured again.
LONG_S = 10.0
# Share of the time of a map that a metric may take for one of another image or network.
_AGAIN = 0.02


def seconds_per_copy(bundle: SaliencyBundle, *, shape: tuple[int, int] = (128, 128)) -> float:
    """CPU seconds of a copy, with its noise and votes, as the votes are taken, on an image that is no film.

    Args:
        bundle: with the interpreter.
        shape: of the network's input in pixels.
    """
    image = torch.linspace(0, 1, shape[0])[None, :, None].repeat(1, 1, shape[1])
    recipe = bundle.inferer.recipe
    size = 1 if recipe.interpreter.amplifies_round_off else recipe.batch_size or DEFAULT_BATCH_SIZE
    seconds: list[float] = []
    with explaining(bundle.network):
        tally = _fixed(recipe, size).tally(image, 0)
        while len(seconds) < REPEATS and sum(seconds) < LONG_S:
            start = time.process_time()
            fill([tally], bundle.network, tally.n_samples + size, batch_size=size)
            seconds.append(time.process_time() - start)
    return min(seconds) / size


def within(plan: TablePlan, seconds: float, output: Path) -> TablePlan:
    """The plan with as many copies of each contender as so many CPU seconds allow, one at least.

    Maps that metrics ask for get a fiftieth of the time, and no more copies than the plan's ``explain_samples``.

    The seconds of a copy are kept in ``parts/seconds-*.json``: a run that goes on takes as many copies as before.

    Args:
        plan: whose contenders they are.
        seconds: of a certified map.
        output: folder of the table.
    """
    place = Workplace(plan.bundle, plan.overrides, seed=plan.seed)
    shape = _shape(place, plan.films)
    budget = {}
    for contender in plan.contenders:
        if contender.kind == "certified":
            settings = {
                **dataclasses.asdict(contender),
                **versions(),
                "bundle": place.base.files,
                "spec": dataclasses.asdict(place.base.inferer.recipe.spec(0)),
                "device": str(place.base.device),
                "shape": shape,
            }
            path = output / PARTS / f"seconds-{contender.slug}.json"
            bundle = place.bundle(contender)
            a_copy = kept_json(path, settings, lambda bundle=bundle: seconds_per_copy(bundle, shape=shape))  # type: ignore[misc]
            copies = max(1, int(seconds / a_copy))
            again = max(1, min(plan.explain_samples, int(_AGAIN * seconds / a_copy)))
            budget[contender.slug] = (copies, again)
    return dataclasses.replace(plan, budget=budget)


def _shape(place: Workplace, films: Sequence[Film]) -> tuple[int, int]:
    """Of the network's input, by the first film that is one."""
    for film in films:
        with contextlib.suppress(Exception):
            height, width = place.film(film).clean.shape[-2:]
            return height, width
    raise InputRefused("no film of the dataset can be read, so a budget of time fits none. Check the paths.")


def _fixed(recipe: Recipe, size: int) -> Recipe:
    """The recipe at one batch size on every machine."""
    return dataclasses.replace(recipe, batch_size=recipe.batch_size or size)
