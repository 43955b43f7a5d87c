"""The metrics of one map of a table, each a number or the sentence that says why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from monai_robustinterp.errors import refusal_reason
from monai_robustinterp.metrics.base import Case, Metric, NotApplicable
from monai_robustinterp.study.contenders import Contender
from monai_robustinterp.study.maps import explanation
from monai_robustinterp.study.workplace import FilmAtWork, Map, Workplace

Judged = dict[str, Any]
"""Of one metric: ``settings``, ``value`` (None without one), ``reason`` (empty with one) and ``cpu_s``."""


def case_of(
    place: Workplace,
    film: FilmAtWork,
    contender: Contender,
    saliency: Map,
    *,
    others: Sequence[Map],
    absent: Sequence[torch.Tensor],
    n_samples: int,
) -> Case:
    """What a metric gets to see.

    Args:
        place: bundles and films.
        film: read by ``place``.
        contender: whose map it is.
        saliency: the map.
        others: maps of other films by the same contender.
        absent: other films without the finding, as the network gets them.
        n_samples: noisy copies of a certified map of another network or image.
    """
    bundle = place.bundle(contender)
    recipe = bundle.inferer.recipe
    explain = explanation(place, film, contender, n_samples=n_samples)
    area = film.clean[0].numel() / (recipe.cell_size**2)
    return Case(
        network=bundle.network,
        image=film.clean,
        target=film.target,
        multi_label=recipe.findings.activation == "sigmoid",
        saliency=saliency,
        explain=explain,
        top_k=round(recipe.top_k * saliency.size / area),
        boxes=film.mask("boxes"),
        polygons=film.mask("polygons"),
        lungs=film.mask("lungs"),
        unmarked={name: found for name, found in film.marks.items() if isinstance(found, str)},
        others=others,
        absent=absent,
        copies=n_samples if contender.kind == "certified" else None,
        # Votes of as few copies as those of other images: fewer copies alone make no difference then.
        anew=explain(bundle.network, film.clean) if contender.kind == "certified" else None,
        seed=place.seed,
    )


def judge(
    case: Case, metrics: Sequence[Metric], known: Mapping[str, Judged], *, keep: Callable[[dict[str, Judged]], object]
) -> dict[str, Judged]:
    """Each metric of a case.

    Args:
        case: the map.
        metrics: in order.
        known: what an earlier run left, by name; what has the same settings is taken.
        keep: called with all that is known after each new value. What fails in a way that no metric foresaw is
            reported, but not kept.

    Returns:
        What is known, by the metrics' names.
    """
    kept = {m.name: known[m.name] for m in metrics if known.get(m.name, {}).get("settings") == m.settings}
    failed: dict[str, Judged] = {}
    for metric in metrics:
        if metric.name in kept:
            continue
        start = time.process_time()
        try:
            kept[metric.name] = _judged(metric, metric.score(case), "", start)
        except NotApplicable as reason:
            kept[metric.name] = _judged(metric, None, str(reason), start)
        except Exception as error:
            failed[metric.name] = _judged(metric, None, refusal_reason(error), start)
            continue
        keep(kept)
    return {metric.name: (kept | failed)[metric.name] for metric in metrics}


def _judged(metric: Metric, value: float | None, reason: str, start: float) -> Judged:
    seconds = time.process_time() - start
    return {"settings": metric.settings, "value": value, "reason": reason, "cpu_s": seconds}
