"""The layout that CONTRIBUTING.md promises: imports point one way, host libraries stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "monai_robustinterp"

LAYERS = (
    {"_version", "errors", "types", "files", "audit"},
    {"noise", "certificates", "interpreters", "networks", "visualize"},
    {"smoothing", "io"},
    {"inferers", "transforms", "bundle", "geometry"},
    {"metrics", "attacks", "run", "training"},
    {"study"},
    {"__init__", "cli", "__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, absolute imports only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path) -> None:
    for name in imported(path):
        if name.startswith("monai_robustinterp."):
            other = name.split(".")[1]
            assert RANK[other] <= RANK[part(path)], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_host_libraries_stay_in_their_rooms(path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    if part(path) != "io":
        assert not tops & {"pydicom", "nibabel", "highdicom", "openjpeg"}
    if part(path) in ("certificates", "types", "records"):
        assert not tops & {"torch", "monai", "captum"}
    assert "torchvision" not in tops


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_modules_fit_the_eye(path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno + 1 <= 50, f"{path.name}: {node.name}"
    assert len(path.read_text().splitlines()) <= 400


def test_the_readme_is_short_and_says_what_it_must() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 120
    for phrase in ("US 11,341,598", "US 11,687,777", "Not for diagnosis", "make demo", "make test"):
        assert phrase in text


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    import re

    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
