"""The rule of the plan, applied: what each candidate reached on the half that selects, and which one is taken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.defaults.measures import Row, areas
from benchmarks.defaults.plan import AUC_LOSS, KEPT
from monai_robustinterp.metrics.overlap import mean_pairwise_overlap


def summary(films: Sequence[Row], decided: Sequence[Row]) -> Row:
    """The figures of a candidate, over films of one number of copies and over decisions."""
    clean, noisy, denoised = (areas(decided, score) for score in ("clean", "noisy", "denoised"))
    enriched = [row["enrichment"] for row in films if row["enrichment"] is not None]
    blind = [row["blind"] for row in films if row["blind"] is not None]
    return {
        "map": statistics.median(row["map"] for row in films),
        "label": statistics.median(row["label"] for row in films),
        "both": statistics.median(row["both"] for row in films),
        "abstained": sum(row["map"] == 0 for row in films),
        "ceiling_share": statistics.median(row["ceiling_share"] for row in films),
        "covered": statistics.median(row["covered"] for row in films),
        "covered_both": statistics.median(row["covered_both"] for row in films),
        "tested": statistics.median(row["tested"] for row in films),
        "enrichment": statistics.mean(enriched),
        "blind": statistics.mean(blind) if blind else 0.0,
        "beta": films[0]["beta"],
        "pointing": statistics.mean(row["pointing"] for row in films),
        "shared": mean_pairwise_overlap([frozenset(row["cells"]) for row in films]),
        "kept": statistics.mean(row["kept"] for row in decided),
        "clean_auc": clean,
        "noisy_auc": noisy,
        "denoised_auc": denoised,
        "auc_loss": max(clean[source] - noisy[source] for source in clean),
        "cpu_ms": statistics.median(row["cpu_ms"] for row in films),
    }


def offences(found: Row, earlier: Row) -> list[str]:
    """What of the rule a candidate does not keep."""
    rules = {
        "decision": found["kept"] >= KEPT,
        "AUC": found["auc_loss"] <= AUC_LOSS,
        "boxes": found["enrichment"] >= max(earlier["enrichment"], found["blind"]),
        "beta": found["beta"] == earlier["beta"],
    }
    return [name for name, kept in rules.items() if not kept]


def chosen(found: Sequence[Row]) -> int:
    """Index of the candidate that the rule takes; the earlier default, the first, keeps it by definition."""
    allowed = [i for i, one in enumerate(found) if i == 0 or not offences(one, found[0])]
    return max(allowed, key=lambda i: (found[i]["both"], -i))
