"""The layout as a picture and as text, made from the code: layers of the layout test, modules and their imports.

usage: python -m tests.support.layout_picture

It writes docs/images/layout.png and the block of CONTRIBUTING.md between the lines BEGIN and END.
"""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "monai_robustinterp"
PICTURE = ROOT / "docs" / "images" / "layout.png"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- layout: python -m tests.support.layout_picture -->\n", "<!-- /layout -->\n"

COMMON = frozenset({"types", "errors", "files", "_version"})
"""What every part may import: arrows to it would hide the others."""


def layers() -> list[list[str]]:
    """Parts of the package, lowest layer first, in the order of tests/unit/test_layout.py."""
    tree = ast.parse((ROOT / "tests" / "unit" / "test_layout.py").read_text())
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["LAYERS"]
    ]
    assert isinstance(value, ast.Tuple)
    return [[ast.literal_eval(name) for name in layer.elts] for layer in value.elts if isinstance(layer, ast.Set)]


def modules(part: str) -> list[Path]:
    """Files of a part, those that only gather names apart."""
    folder = PACKAGE / part
    return sorted(folder.rglob("[!_]*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def imports() -> Counter[tuple[str, str]]:
    """How many modules of one part import from another one."""
    found: Counter[tuple[str, str]] = Counter()
    for part in (name for layer in layers() for name in layer):
        for path in modules(part):
            nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
            names = [f"{node.module}.{alias.name}".split(".") for node in nodes for alias in node.names]
            found.update({(part, name[1]) for name in names if name[0] == PACKAGE.name and name[1] != part})
    return found


def as_text() -> str:
    """The layers from top to bottom; each part with its number of modules."""
    rows = list(enumerate(layers(), start=1))
    lines = []
    for number, layer in reversed(rows):
        parts = ", ".join(f"{name}/ ({len(modules(name))})" if is_folder(name) else name for name in layer)
        lines += textwrap.wrap(f"{number}  {parts}", 110, subsequent_indent="   ")
    return "\n".join(lines)


def is_folder(part: str) -> bool:
    """Whether the part is a folder, and no single module."""
    return (PACKAGE / part).is_dir()


def picture() -> Figure:
    """Layers as rows, parts as boxes, imports as arrows: thicker where more modules import."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    axes = figure.subplots()
    places = {
        name: ((position + 0.5) / len(layer), row)
        for row, layer in enumerate(layers())
        for position, name in enumerate(layer)
    }
    for (importer, imported), number in imports().items():
        if imported not in COMMON:
            _arrow(axes, places[importer], places[imported], number)
    for name, (x, row) in places.items():
        text = f"{name}/\n{len(modules(name))} modules" if is_folder(name) else name
        box = {"boxstyle": "round,pad=0.45", "fc": "white" if name in COMMON else "#e8eef7", "ec": "#30507a"}
        axes.text(x, row, text, ha="center", va="center", fontsize=10, bbox=box, zorder=3)
    for row in range(len(layers())):
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4" if row % 2 else "white", zorder=0)
        axes.text(0.005, row + 0.36, str(row + 1), color="#707070", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(-0.5, len(layers()) - 0.5))
    axes.set_axis_off()
    axes.set_title(
        "Imports point downward, or to the same layer (dashed). Everything may import the white boxes.", fontsize=11
    )
    return figure


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], number: int) -> None:
    same = start[1] == end[1]
    bend = (-0.12 if start[0] < end[0] else 0.12) if same else 0.04
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1] + (0.2 if same else -0.2)),
            (end[0], end[1] + 0.2),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=9,
            linestyle="--" if same else "-",
            linewidth=min(2.5, 0.5 + 0.15 * number),
            color="#b06a2c" if same else "#4878a8",
            alpha=0.6,
            zorder=1,
        )
    )


def block(page: str) -> str:
    """What stands in the page between the two lines."""
    return page.split(BEGIN)[1].split(END)[0]


def expected_block() -> str:
    """What must stand there."""
    return f"```text\n{as_text()}\n```\n"


def main() -> None:
    """Writes picture and text."""
    picture().savefig(PICTURE, dpi=100, metadata={"Software": None})
    page = PAGE.read_text()
    PAGE.write_text(page.replace(BEGIN + block(page) + END, BEGIN + expected_block() + END))


if __name__ == "__main__":
    main()
