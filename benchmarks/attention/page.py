"""The page of the study, from its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monai_robustinterp.certificates.units import readable, round_down, round_up_to
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, table

LEAST_REGIONS, MOST_MS = 1000, 89
Row = Mapping[str, Any]
_WORDS = {"classification": "decision", "attention": "map", "top_k": "strongest cells"}
_FACTORS = {
    "width": "ReLUs of each of two hidden layers",
    "depth": "hidden layers of 100 ReLUs",
    "side": "image side in pixels, three convolutions",
}


def sections(results: Row) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    rows = _rows(results)
    return [
        ["# Exact attention verification, measured"],
        [quick] if results["plan"] == "quick" else [],
        prose(
            "How far [exact intervals](../how-to/verify-attention.md#exact-intervals) of brightness come, in what",
            "time, and on what the time depends. Written by `python -m benchmarks.attention OUTPUT_DIR`",
            f"(`make study-attention`), seed {results['seed']}. Seconds are of CPU, of one thread; the machine did",
            "much other work meanwhile, which makes them longer: it shares caches and cores. Machine:",
            f"{surroundings_text(results['shipped']['surroundings'])}.",
        ),
        ["## Goals", "", *(goal.line for goal in _goals(results, rows))],
        _proven(results, rows),
        _time(rows),
        _paper(results),
        _planes(_plane_rows(results), results["share"]),
        _factors(results["factors"]["found"]),
        [
            "## What is not here",
            "",
            *prose(
                "Two parameters of the shipped classifier beyond a tiny box: the number of polygons grows with the",
                "product of both ranges. Float32 inference and stored pixels differ from the network in float64 that",
                "is walked ([what is not claimed](../theory/attention.md#what-is-not-claimed)).",
            ),
        ],
    ]


def _rows(results: Row) -> list[tuple[str, Row]]:
    """Name and figures of each network and image."""
    found = []
    for one in results["perceptrons"]["found"]:
        name = f"{one['width'] * one['depth']:,} ReLUs, {one['depth']} layers"
        found += [(f"{name}, image {number}", row) for number, row in enumerate(one["rows"], 1)]
    for one in results["convolutional"]["found"]:
        found += [(f"{one['relus']:,} ReLUs, convolutions, {one['side']} px", row) for row in one["rows"]]
    return [*found, ("shipped opacity classifier", results["shipped"]["found"])]


def _goals(results: Row, rows: Sequence[tuple[str, Row]]) -> list[Goal]:
    properties = [one for _, row in rows for one in row["properties"]]
    inside, violated = (sum(one["samples"][number] for one in properties) for number in (0, 1))
    witnesses = [end for one in properties for end in one["ends"] if end["end"] == "violation"]
    shipped = results["shipped"]["found"]
    each = _each_ms(shipped)
    planes = [one for _, one in _plane_rows(results)]
    boxes = [box["samples"] for one in planes for box in one["properties"]]
    both = [one for one in planes if one["alone"]["whole"] and one["full"]["whole"]]
    agreeing = [
        math.isclose(one["alone"][key], one["full"][key], rel_tol=1e-6, abs_tol=1e-9)
        for one in both
        for key in ("scale", "area")
    ]
    return [
        Goal(
            "no point within a proven box of two parameters violates its property",
            not sum(bad for _, bad in boxes),
            f"{sum(inside for inside, _ in boxes):,} points of {len(boxes)} boxes were evaluated by autograd, "
            f"{sum(bad for _, bad in boxes)} violate.",
        ),
        Goal(
            "the walk to the outermost boundary finds the box and the area of the full traversal",
            bool(agreeing) and all(agreeing),
            f"{len(both)} of {len(planes)} networks were crossed whole in both ways.",
        ),
        Goal(
            "no point within a proven interval violates its property",
            not violated,
            f"{inside:,} points of {len(properties)} intervals were evaluated by autograd, {violated} violate.",
        ),
        Goal(
            "a witness stands just outside where a violation ends an interval",
            all(end["outside"] is not None for end in witnesses),
            f"{len(witnesses)} ends, each with a point that violates the property by autograd in float64.",
        ),
        Goal(
            f"at least {LEAST_REGIONS:,} regions of the shipped classifier are crossed",
            shipped["regions"] >= LEAST_REGIONS,
            f"{shipped['regions']:,} from {shipped['crossed'][0]:.6f} to {shipped['crossed'][1]:.6f}.",
        ),
        Goal(
            f"one of its regions takes at most {MOST_MS} ms of one core",
            each <= MOST_MS,
            f"{each:.0f} ms, {each / 1e3 / shipped['pass_s']:.1f} times as long as one forward and one backward pass "
            f"of one image in float64 ({1e3 * shipped['pass_s']:.0f} ms).",
        ),
    ]


def _each_ms(row: Row) -> float:
    return 1e3 * row["process_s"] / max(1, row["regions"])


def _proven(results: Row, rows: Sequence[tuple[str, Row]]) -> list[str]:
    lines = []
    for name, row in rows:
        for one in row["properties"]:
            low, high = one["ends"]
            inside, violated = one["samples"]
            lines.append(
                [
                    name,
                    _WORDS[one["name"]],
                    f"[{round_up_to(low['theta'], 7)}, {round_down(high['theta'], 7)}]",
                    _end(low),
                    _end(high),
                    f"{inside:,}",
                    str(violated),
                ]
            )
    header = ["network", "what stays", "proven for brightness in", "ends below", "ends above", "samples", "violate"]
    training = results["training"]
    return [
        "## What is proven",
        "",
        *prose(
            "The decision stays; the gradient map of the arg-max changes by at most",
            f"{results['share'][0]:.0%} of its norm (shipped classifier: {results['share'][1]:.0%}); half of its",
            "strongest cells stay. Brightness is added to a display range of [0, 1]. An end by a violation names the",
            "distance of the witness, a point that violates by autograd; an end by time is where the time of the walk",
            f"was over ({results['seconds']:g} s of the last run, which went on from earlier ones): nothing is said of",
            "what follows.",
            "Samples are evenly spaced points within the interval, evaluated by autograd. The small networks",
            f"tell drawn rings from crosses and were trained for {training['steps']} steps of {training['batch']}",
            f"images; the film is {results['shipped']['found']['film']}.",
        ),
        "",
        *table(header, lines),
    ]


def _end(end: Row) -> str:
    return f"violation, witness {end['outside']:.1e} farther" if end["end"] == "violation" else str(end["end"])


def _plane_rows(results: Row) -> list[tuple[str, Row]]:
    """Name and figures of each network of two parameters."""
    small = [
        (f"{one['width'] * one['depth']:,} ReLUs, {one['depth']} layers", one) for one in results["planes"]["found"]
    ]
    return [*small, ("shipped opacity classifier", results["shipped_plane"]["found"])]


def _planes(found: Sequence[tuple[str, Row]], share: Sequence[float]) -> list[str]:
    walked, boxes = [], []
    for name, one in found:
        for key, limit, words in (
            ("decision", 1.0, "the decision's boundary alone"),
            ("wide", 1.0, "the map alone, to its boundary"),
            ("alone", one["limit"], "the map alone, to its boundary"),
            ("full", one["limit"], "all three, everything"),
        ):
            walk = one.get(key)
            if walk is None or (key == "wide" and one["limit"] == 1):
                continue
            # Within its boundary nothing was crossed.
            box = ["", ""] if key == "decision" else [readable(limit * walk["scale"]), f"{100 * walk['area']:.2f} %"]
            walked.append(
                [
                    name,
                    f"+-{limit:g}",
                    words,
                    f"{walk['polygons']:,}" + ("" if walk["whole"] else " (time)"),
                    f"{100 * walk['crossed']:.1f} %",
                    f"{walk['process_s']:.1f}",
                    f"{1e3 * walk['process_s'] / walk['polygons']:.2f}",
                    *box,
                ]
            )
        boxes += [[name, *_box(one["limit"], proven)] for proven in one["properties"]]
    return [
        "## Two parameters at once",
        "",
        *prose(
            "Brightness and contrast of one image, both within the same limit, added to the image. A polygon is a part",
            "of the plane with one gradient map, cut where a property or the walk cuts it. The walk goes outwards from",
            "0 and leaves out what no property reaches; the full traversal leaves out nothing, and must find the same",
            f"box and the same area around 0 in which the map changes by at most {share[0]:.0%} (shipped:",
            f"{share[1]:.0%}). The decision's boundary alone is what the paper follows: nothing is proven within it.",
            "CPU seconds of one thread. (time) means that the walk was ended: its area is of what was crossed.",
        ),
        "",
        *table(
            ["network", "limit", "walk", "polygons", "crossed", "CPU s", "ms a polygon", "box of the map", "its area"],
            walked,
        ),
        "",
        *prose(
            "The largest box in which each property is proven, in both parameters; the distance of the witness is a",
            "share of the limit. Samples are drawn uniformly from the box and evaluated by autograd.",
        ),
        "",
        *table(["network", "what stays", "box", "ends", "samples", "violate"], boxes),
    ]


def _box(limit: float, proven: Row) -> list[str]:
    """What stays in which box, how that ends, and the samples of it."""
    end = proven["end"]
    if proven["outside"] is not None:
        end = f"violation, witness {proven['outside']:.1e} farther"
    inside, violated = proven["samples"]
    reach = readable(limit * proven["scale"])
    return [_WORDS[proven["name"]], f"+-{reach}", end, f"{inside:,}", str(violated)]


def _time(rows: Sequence[tuple[str, Row]]) -> list[str]:
    header = ["network", "places", "crossed", "regions", "CPU s", "ms a region", "one pass, ms", "hidden patterns"]
    lines = [
        [
            name,
            f"{row['switches']:,}",
            f"[{row['crossed'][0]:.4g}, {row['crossed'][1]:.4g}]",
            f"{row['regions']:,}",
            f"{row['process_s']:.1f}",
            f"{_each_ms(row):.2f}",
            f"{1e3 * row['pass_s']:.2f}",
            str(row["hidden"]),
        ]
        for name, row in rows
    ]
    return [
        "## Time",
        "",
        *prose(
            "Places are ReLUs and entries of max poolings: where the network may bend. A pass is one forward and one",
            "backward of one image in float64, the fastest of nine; a region needs its map, so a walk that evaluates",
            "one region after another needs at least that. The walk needs less where its regions share work: a layer",
            "is computed once for each bend of the layers before it, and back once for each of those behind it.",
            "Hidden patterns are those of switches that lie within the round-off of one boundary; each is checked.",
        ),
        "",
        *table(header, lines),
    ]


def _paper(results: Row) -> list[str]:
    header = ["network", "the paper, 2 hours", "here, one parameter", "here, two parameters"]
    paper = (
        ("all regions, 58 % of the cases done", "full"),
        ("outermost AR boundary, 51 %", "wide"),
        ("outermost CR boundary, 100 %", "decision"),
    )
    lines = []
    planes = results["planes"]["found"]
    for (said, key), one, plane in zip(paper, results["perceptrons"]["found"], planes):
        seconds = max(row["process_s"] for row in one["rows"])
        regions = sum(row["regions"] for row in one["rows"])
        lines.append(
            [
                f"{one['width'] * one['depth']:,} neurons",
                said,
                f"all {regions:,} regions ({len(one['rows'])} images), at most {seconds:.1f} s an image",
                f"{plane[key]['polygons']:,} polygons within +-{plane['limit'] if key == 'full' else 1:g}, "
                f"{plane[key]['process_s']:.1f} s" + ("" if plane[key]["whole"] else ", ended by time"),
            ]
        )
    return [
        "## Beside the paper",
        "",
        *prose(
            "Munakata et al. (arXiv 2207.05902) report how many of their cases ended within two hours in Python. They",
            "traverse combinations of perturbations. Here all regions of one parameter are crossed, and of two",
            "(brightness and contrast, one image) what the paper's row names: all polygons, the area of the map to its",
            "outermost boundary, the outermost boundary of the decision alone. The rows share the number of neurons",
            "and the definitions, not perturbations, ranges and networks. Those are of MNIST's size, and so are these",
            "(28 px).",
        ),
        "",
        *table(header, lines),
    ]


def _factors(found: Sequence[Row]) -> list[str]:
    lines = []
    for one in found:
        rows = one["rows"]
        regions, seconds = sum(row["regions"] for row in rows), sum(row["process_s"] for row in rows)
        length = sum(2 * row["limit"] for row in rows)
        lines.append(
            [
                _FACTORS[one["factor"]],
                str(one["value"]),
                f"{rows[0]['switches']:,}",
                f"{regions / length:,.0f}",
                f"{1e3 * seconds / regions:.2f}",
                f"{seconds / length:.2f}",
            ]
        )
    header = [
        "what differs",
        "value",
        "places",
        "regions per 1 of brightness",
        "ms a region",
        "CPU s per 1 of brightness",
    ]
    return [
        "## What the time depends on",
        "",
        *prose(
            "Networks that differ in one respect, trained alike, within +-0.1 of brightness (an image each). The time",
            "of a range is the number of its regions times that of each.",
        ),
        "",
        *table(header, lines),
    ]
