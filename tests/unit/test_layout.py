"""The layout that CONTRIBUTING.md promises: imports point one way, host libraries stay in their rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "monai_robustinterp"

LAYERS = (
    {"_version", "_startup", "errors", "types", "files", "audit"},
    {"noise", "certificates", "interpreters", "networks", "visualize"},
    {"smoothing", "io"},
    {"inferers", "transforms", "bundle", "geometry"},
    {"metrics", "attention", "attacks", "run", "training"},
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


def test_imports_point_one_way() -> None:
    assert len(MODULES) > 100
    offenders = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in MODULES
        for name in sorted(imported(path))
        if name.startswith("monai_robustinterp.") and RANK[name.split(".")[1]] > RANK[part(path)]
    ]
    assert not offenders, offenders


def test_host_libraries_stay_in_their_rooms() -> None:
    offenders = []
    for path in MODULES:
        barred = {"torchvision"}
        if part(path) != "io":
            barred |= {"pydicom", "nibabel", "highdicom", "openjpeg"}
        if part(path) in ("certificates", "types"):
            barred |= {"torch", "monai", "captum"}
        found = barred & {name.split(".")[0] for name in imported(path)}
        offenders += [f"{path.relative_to(PACKAGE)} imports {name}" for name in sorted(found)]
    assert not offenders, offenders


def test_functions_and_modules_fit_the_eye() -> None:
    offenders = []
    for path in MODULES:
        text = path.read_text()
        if len(text.splitlines()) > 400:
            offenders.append(f"{path.relative_to(PACKAGE)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                if node.end_lineno - first.lineno + 1 > 50:
                    offenders.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert not offenders, offenders


def test_no_test_module_imports_another_one() -> None:
    """What tests share is in tests/support."""
    modules = [*(ROOT / "tests").rglob("test_*.py"), ROOT / "tests" / "conftest.py"]
    assert len(modules) > 50
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules
        for name in sorted(imported(path))
        if name.startswith("tests.") and not name.startswith("tests.support.")
    ]
    assert not offenders, offenders


def test_the_readme_is_short_and_says_what_it_must() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 120
    for phrase in ("US 11,341,598", "US 11,687,777", "Not for diagnosis", "make demo", "make test"):
        assert phrase in text


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    targets = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#]+)\)", page.read_text())]
    inside = [(page, target) for page, target in targets if not target.startswith("http")]
    assert len(inside) > len(pages)
    broken = [f"{page.name}: {target}" for page, target in inside if not (page.parent / target).exists()]
    assert not broken, broken
