"""Protocols of all metrics as text, made from the registry.

usage: python -m tests.support.metrics_page

It writes the block of docs/metrics.md between the lines BEGIN and END.
"""

from __future__ import annotations

from pathlib import Path

from monai_robustinterp.metrics.registry import METRICS, make_metric

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- protocols: python -m tests.support.metrics_page -->\n", "<!-- /protocols -->\n"


def as_text() -> str:
    """A section a metric: what is measured, which values are better, the settings, where the source does otherwise."""
    parts = []
    for name, cls in METRICS.items():
        settings = ", ".join(f"`{key}={value!r}`" for key, value in make_metric(name).settings.items())
        better = {"higher": "Higher is better.", "lower": "Lower is better.", "none": "Neither side is better."}
        parts += [f"### {name}\n", f"{cls.protocol} {better[cls.direction]}"]
        parts += [f"Settings: {settings}."] if settings else []
        parts += ["", *(f"- {deviation}" for deviation in cls.deviations), ""] if cls.deviations else [""]
    return "\n".join(parts)


def main() -> None:
    """Writes the block."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + as_text() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
