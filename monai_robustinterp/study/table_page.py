"""The page of a table: one HTML file with its pictures inside, readable without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.summary import reasons

Row = dict[str, Any]

_COLORS = {"plain": "#8a8a8a", "certified": "#0072b2", "blind": "#d9a441"}
_FACTS = {
    "map": ("higher", "Certified radius of the map, l2, population level; 0 where it abstains."),
    "both": ("higher", "The smaller of the radii of map and decision, l2, population level."),
    "ceiling_share": ("higher", "The map's radius as a share of that of a map that ignores the image."),
    "kept": ("higher", "Share of the noisy copies with the decision of the clean image."),
    "covered": ("higher", "Named changes of the film that lie within both radii."),
    "cpu_s": ("lower", "CPU seconds of the map, on the machine named above."),
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: .6rem 0 } th, td { border: 1px solid #ccc; padding: .2rem .5rem }
td.n { text-align: right; font-variant-numeric: tabular-nums } .wide { overflow-x: auto } img { max-width: 100% }
small { color: #555 }
"""


def table_page(
    plan: TablePlan, rows: Sequence[Row], summed: Sequence[Row], together: Sequence[Row], *, about: dict[str, Any]
) -> str:
    """The page, from the rows and what was summed up of them; arguments as there."""
    columns = list(dict.fromkeys(part["column"] for part in summed))
    parts = [
        "<h1>Maps, judged</h1>",
        f"<p>Films: {len(plan.films)}. Patients: {len({film.patient for film in plan.films})}. "
        f"Kinds of map: {len(plan.contenders)}. Metrics: {len(plan.metrics)}. Certified maps are the votes of noisy "
        f"copies, {_copies(plan)}. Brackets are 95 % bootstrap intervals by patient. <b>Not for diagnosis.</b> A "
        "radius is a guarantee at its level; no other column is one.</p>",
        _table(("setting", "value"), ((name, _setting(value)) for name, value in about.items())),
        *(_column(plan, column, [part for part in summed if part["column"] == column]) for column in columns),
        "<h2>What goes with what</h2>",
        "<p>Spearman's correlation over all maps that have both values. Maps of one film, and of one method, resemble "
        "each other: read the signs, not the digits.</p>",
        _image(_correlation_figure(columns, together), "correlations of the columns")
        if together
        else "<p>Too few.</p>",
        "<h2>What has no value</h2>",
        _table(("metric", "reason", "maps"), ((name, why, str(count)) for name, why, count in reasons(rows))),
    ]
    title = "monai_robustinterp: maps, judged"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _copies(plan: TablePlan) -> str:
    if plan.budget:
        return "of each method as many as the budget of time allows"
    return f"{plan.n_samples} of each ({plan.explain_samples} of maps of other images or networks, for metrics)"


def _setting(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _column(plan: TablePlan, column: str, parts: Sequence[Row]) -> str:
    metric = next((metric for metric in plan.metrics if metric.name == column), None)
    if metric is None:
        direction, protocol = _FACTS[column]
        notes: list[str] = []
    else:
        direction, protocol = metric.direction, metric.protocol
        notes = [*metric.deviations, *(f"Here {name} = {value}." for name, value in metric.settings.items())]
    better = {"higher": "higher is better", "lower": "lower is better", "none": "neither is better"}[direction]
    known = [part for part in parts if part["mean"] is not None]
    text = f"<h2>{escape(column)}</h2><p>{escape(protocol)} <i>{better}</i>.</p>"
    if notes:
        text += f"<p><small>{escape(' '.join(notes))}</small></p>"
    if not known:
        return text + "<p>No map has a value.</p>"
    return (
        text
        + _image(_bar_figure(known), f"{column} by map")
        + _table(("map", "kind", "mean", "films"), map(_cells, known))
    )


def _cells(part: Row) -> tuple[str, str, str, str]:
    interval = "" if part["low"] is None else f" [{part['low']:.3g}, {part['high']:.3g}]"
    return part["label"], part["kind"], f"{part['mean']:.3g}{interval}", str(part["films"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _bar_figure(parts: Sequence[Row]) -> Figure:
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8, 0.5 + 0.22 * len(parts)), dpi=110, layout="constrained")
        axes = figure.subplots()
        means = np.array([part["mean"] for part in parts])
        low, high = (
            np.array([part["mean"] if part[end] is None else part[end] for part in parts]) for end in ("low", "high")
        )
        places = np.arange(len(parts))
        axes.barh(places, means, color=[_COLORS[part["kind"]] for part in parts], height=0.7)
        axes.errorbar(means, places, xerr=np.abs([means - low, high - means]), fmt="none", ecolor="black", lw=0.8)
        axes.set_yticks(places, [f"{part['label']} ({part['kind']})" for part in parts])
        axes.invert_yaxis()
        axes.axvline(0, color="black", lw=0.5)
    return figure


def _correlation_figure(columns: Sequence[str], together: Sequence[Row]) -> Figure:
    values = np.full((len(columns), len(columns)), np.nan)
    np.fill_diagonal(values, 1)
    for part in together:
        first, second = columns.index(part["first"]), columns.index(part["second"])
        values[first, second] = values[second, first] = part["spearman"]
    with matplotlib.rc_context({"font.size": 7}):
        side = 2 + 0.28 * len(columns)
        figure = Figure(figsize=(side + 0.6, side), dpi=120, layout="constrained")
        axes = figure.subplots()
        shown = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(columns)), columns)
        figure.colorbar(shown, shrink=0.6)
    return figure


def _image(figure: Figure, what: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
