"""The audit: independent of what it audits, right by itself, and at peace with every honest record."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import ndtri

from monai_robustinterp.audit import AuditError, read_record, verify
from monai_robustinterp.audit.binomial import (
    clopper_pearson_lower,
    mass_weighted_lower,
    mass_weighted_upper,
    tail_at_least,
)
from monai_robustinterp.audit.native import area_norm
from monai_robustinterp.audit.pairs import core, majority_for
from monai_robustinterp.audit.radii import best_squared_radius, renyi_epsilon
from monai_robustinterp.audit.real import MP, phi, phi_inverse
from monai_robustinterp.audit.region import log_wealth
from monai_robustinterp.audit.rerun import rueger
from monai_robustinterp.certificates import renyi
from monai_robustinterp.certificates.resize import (
    area_resize_matrix,
)
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io.votes_npz import save_votes
from tests.support.cases import collected
from tests.support.records import (
    LUNGS,
    PROVENANCE,
    leaves,
    make_arrays,
    make_masks,
    make_record,
    make_run,
    resealed,
)

AUDIT = Path(__file__).parents[2] / "monai_robustinterp" / "audit"


# Independence ---------------------------------------------------------------------------------------------------------


def test_the_audit_imports_nothing_of_what_it_audits() -> None:
    with collected() as case:
        for path in sorted(AUDIT.rglob("*.py")):
            with case(path.name):
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                        for name in names:
                            top, *rest = name.split(".")
                            assert top in {*sys.stdlib_module_names, "mpmath", "numpy", "monai_robustinterp"}
                            assert top != "numpy" or path.name in ("npz.py", "votes.py")
                            assert top != "monai_robustinterp" or rest[0] == "audit"
                    # Nothing is imported by name at run time.
                    assert not (isinstance(node, ast.Name) and node.id in ("__import__", "eval", "exec", "importlib"))


def test_it_runs_without_the_package_torch_and_scipy(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(), regions=2)
    (tmp_path / "certificate.json").write_bytes(json_bytes(make_record(votes, spec)))
    save_votes(tmp_path / "votes.npz", votes, spec, PROVENANCE)
    program = f"""
import sys, types
stub = types.ModuleType("monai_robustinterp")
stub.__path__ = [{str(AUDIT.parent)!r}]
sys.modules["monai_robustinterp"] = stub
from monai_robustinterp.audit import read_record, verify
report = verify(read_record("certificate.json"), "votes.npz")
assert report.verified and report.numbers > 50, report
loaded = {{name.split(".")[0] for name in sys.modules}} & {{"torch", "scipy", "monai"}}
assert not loaded, loaded
ours = {{name for name in sys.modules if name.startswith("monai_robustinterp.")}}
assert all(name.startswith("monai_robustinterp.audit") for name in ours), ours
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


# Honest records -------------------------------------------------------------------------------------------------------

FIXED = np.tile(np.arange(16) < 4, (96, 1)).astype(np.int64)
HONEST = {
    "plain": (make_run(make_masks()), {}),
    "ties": (make_run(make_masks(ties=True, sharpness=0.7), tied=31), {}),
    "no signal": (make_run(make_masks(sharpness=0.0)), {}),
    "counts 0 and m": (make_run(FIXED), {}),
    "all mass on the set, all of it swapped": (make_run(FIXED), {"beta": "0.25"}),
    "sharp": (make_run(make_masks(m=400, sharpness=9.0)), {"native": False}),
    "r above 0": (make_run(make_masks(m=200, c=400, k=110, sharpness=3.0)), {"eta": 0.05}),
    "beta 1": (make_run(make_masks(m=300)), {"beta": "1"}),
    "beta of many digits": (make_run(make_masks(m=300, k=5)), {"beta": "0.6000000000000001"}),
    "k 1": (make_run(make_masks(k=1, m=200)), {"beta": "0.1"}),
    "one copy": (make_run(make_masks(m=1), agreeing=1), {}),
    "two copies": (make_run(make_masks(m=2), agreeing=2), {"eta": 0.3}),
    "looks": (make_run(make_masks(m=192), looks=(48, 96, 192, 200)), {}),
    "last look": (make_run(make_masks(m=192, sharpness=0.1), looks=(96, 192)), {}),
    "regions": (make_run(make_masks(m=300), regions=3), {}),
    "regions and looks": (make_run(make_masks(m=64), regions=2, looks=(32, 64, 128)), {}),
    "regions of a map without radius": (make_run(make_masks(sharpness=0.0), regions=2), {}),
    "lungs": (make_run(make_masks(m=300), lungs=np.arange(16) < 8), {}),
    "lungs with an alarm": (make_run(FIXED, lungs=np.arange(16) > 9, regions=1, looks=(96, 200)), {}),
    "no lungs": (make_run(make_masks(), regions=1), {"lungs": LUNGS | {"failure": "no lungs were found."}}),
    "lungs that all votes are in": (make_run(FIXED, lungs=np.arange(16) < 5), {}),
    "pairs": (make_run(make_masks(m=300), pairs=True), {}),
    "pairs, beta 1 and looks": (
        make_run(make_masks(m=200, sharpness=3.0), pairs=True, looks=(100, 200)),
        {"beta": "1"},
    ),
    "pairs, r above 0": (
        make_run(make_masks(m=150, c=144, k=55, sharpness=1.0), pairs=True),
        {"beta": "0.05", "eta": 0.2},
    ),
    "pairs without a radius": (make_run(make_masks(m=24, sharpness=0.0, ties=True), pairs=True), {}),
    "pairs that all agree": (make_run(FIXED, pairs=True), {}),
    "no copy agrees": (make_run(make_masks(), agreeing=0), {}),
    "label may flip": (make_run(make_masks(m=300), agreeing=160), {}),
    "not found": (make_run(make_masks(m=300), logits=(2.0, -1.0, 0.5), agreeing=299), {}),
    "sigmoid": (make_run(make_masks(), logits=(-3.0, 0.7, 0.9)), {"sigmoid": True}),
    "eta for no two claims": (make_run(make_masks()), {"eta": 0.45}),
    "another sigma": (make_run(make_masks(), sigma=0.25), {"eta": 1e-6}),
}


def test_an_honest_record_is_verified(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What certify_votes and the record compute in floats is what the audit computes in 40 digits."""
    with collected() as case:
        for name in HONEST:
            with case(name):
                tmp_path = tmp_path_factory.mktemp("case")
                (votes, spec), options = HONEST[name]
                record = make_record(votes, spec, **options)
                report = verify(record, make_arrays(votes, spec, tmp_path))
                assert report.differences == ()
                assert report.numbers >= 50
                assert not set(report.checked) & set(report.hash_only)


def test_the_cases_are_what_they_are_called() -> None:
    records = {name: make_record(*run, **options) for name, (run, options) in HONEST.items()}
    assert records["r above 0"]["claim"]["allowed_wrong_bounds"] == 1 and records["r above 0"]["rerun"]["l2"] > 0
    assert records["counts 0 and m"]["radii"][1]["l2"] == "Infinity" and records["counts 0 and m"]["rerun"]["l2"] > 0
    assert records["no signal"]["claim"]["l_max"]["l2"] == 0 and records["no signal"]["rerun"]["threshold"] is None
    assert records["label may flip"]["status"] == "map only"
    assert records["looks"]["sampling"]["stopped_early"] and not records["last look"]["sampling"]["stopped_early"]
    assert len(records["ties"]["notes"]) == 2
    assert any(entry["sentence"].startswith("certified") for entry in records["regions"]["regions"])
    lungs = [records[f"lungs{rest}"]["regions"][0] for rest in ("", " with an alarm", " that all votes are in")]
    assert [entry["alarm"] for entry in lungs] == [False, True, False] and lungs[2]["radius_above_half"]["l2"] > 0
    assert lungs[1]["sentence"].startswith("ALARM") and "ALARM" not in lungs[0]["sentence"] + lungs[2]["sentence"]
    pairs = {name: record for name, record in records.items() if name.startswith("pairs")}
    assert all(record["radii"][4]["family"] == "discordant-pairs" for record in pairs.values()) and len(pairs) == 5
    assert pairs["pairs"]["claim"]["l_max"]["l2"] == pairs["pairs"]["radii"][4]["l2"]
    for name in ("pairs", "pairs, beta 1 and looks", "pairs, r above 0"):
        assert pairs[name]["radii"][4]["l2"] > 1.01 * pairs[name]["radii"][3]["l2"] > 0, name
    assert pairs["pairs, r above 0"]["claim"]["allowed_wrong_bounds"] == 1
    assert pairs["pairs without a radius"]["radii"][4]["l2"] == 0
    assert records["not found"]["label"]["l2"] > 0 and not records["not found"]["finding"]["decision"]


def test_every_value_is_checked_or_listed(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(), regions=1, lungs=np.arange(16) < 9, looks=(96, 192))
    record = make_record(votes, spec)
    report = verify(record, make_arrays(votes, spec, tmp_path))
    paths = {path for path, _ in leaves(record)}
    assert paths == set(report.checked) | set(report.hash_only)
    assert set(report.hash_only) == {
        *(f"source.{name}" for name in ("format", "file_sha256", "pixel_sha256", "intensity_path", "display_source")),
        *("source.warnings", "source.shape[0]", "source.shape[1]"),
        *("lungs.name", "lungs.version", "lungs.sha256", "lungs.confidence"),
        *("finding.name", "finding.misses", "native.slope", "native.rho", "sampling.until_radius"),
        *(f"ledger[{i}].{name}" for i in range(4) for name in ("change", "value")),
        *("ledger[0].norm", "ledger[1].reason", "ledger[3].norm", *(f"ledger[2].draws.norms[{i}]" for i in range(20))),
    }


def test_the_slope_of_unscaled_pixels_is_recomputed(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks())
    record, arrays = make_record(votes, spec), make_arrays(votes, spec, tmp_path)
    source = record["source"] | {"display_source": "full 8-bit range"}
    assert verify(resealed(record | {"source": source}), arrays).differences[0].startswith("native.slope: ")


# The audit's own mathematics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 7, 40, 300])
def test_tails_are_those_of_mpmath(m: int) -> None:
    rng = np.random.default_rng(m)
    with mpmath.workdps(40):
        for x in sorted({0, 1, m, m // 2, *rng.integers(0, m + 1, 3).tolist()}):
            for q in (0.0, 1e-9, *rng.random(3).tolist(), 1 - 1e-9, 1.0):
                exact = mpmath.betainc(x, m - x + 1, 0, q, regularized=True) if x else mpmath.mpf(1)
                assert abs(tail_at_least(x, m, MP.mpf(q)) - exact) <= exact * mpmath.mpf(10) ** -28


def test_bounds_are_where_their_conditions_change() -> None:
    with collected() as case:
        for level, m in itertools.product([1e-9, 1e-4, 0.2, 0.9], [1, 2, 30, 500]):
            with case(level, m):
                close = MP.mpf(10) ** -25
                for x in sorted({0, 1, min(2, m), m // 2, m - 1, m}):
                    low, high, plain = (
                        bound(x, m, MP.mpf(level))
                        for bound in (mass_weighted_lower, mass_weighted_upper, clopper_pearson_lower)
                    )
                    assert (low == 0) == (x < 2) and (high == 1) == (x == m) and (plain == 0) == (x == 0)
                    for q, sign in ((low * (1 - close), 1), (low * (1 + close), -1)) if low else ():
                        assert sign * (level * q - tail_at_least(x, m, q)) > 0
                    for q, sign in ((high * (1 - close), -1), (high + (1 - high) * close, 1)) if high < 1 else ():
                        assert sign * (level * q - tail_at_least(m - x, m, 1 - q)) > 0
                    for q, sign in ((plain * (1 - close), 1), (plain * (1 + close), -1)) if plain else ():
                        assert sign * (level - tail_at_least(x, m, q)) > 0


def test_quantiles_are_those_of_scipy() -> None:
    for p in (1e-12, 0.02, 0.5, 0.7, 1 - 1e-9):
        assert float(phi_inverse(MP.mpf(p))) == pytest.approx(ndtri(p), rel=1e-12, abs=1e-15)
        assert abs(phi(phi_inverse(MP.mpf(p))) - p) < p * 1e-25
    assert phi_inverse(MP.mpf(0)) == -MP.inf and phi_inverse(MP.mpf(1)) == MP.inf and phi(-MP.inf) == 0


@pytest.mark.parametrize("alpha", [1.001, 1.5, 4.0, 50.0])
def test_epsilon_is_the_cheapest_swap(alpha: float) -> None:
    """By hand for two cells, where both take one value; on more cells as the float implementation, and not above."""
    p, q = MP.mpf("0.5"), MP.mpf("0.2")
    tied = ((p ** (1 - alpha) + q ** (1 - alpha)) / 2) ** (1 / (1 - MP.mpf(alpha)))
    assert renyi_epsilon([p], [q], MP.mpf(alpha)) == pytest.approx(float(-MP.log(1 + 2 * tied - p - q)), rel=1e-15)
    rng = np.random.default_rng(3)
    for s in (1, 2, 5):
        shares = np.sort(rng.integers(1, 60, 2 * s))[::-1] / 64
        edge = renyi.Boundary(inside=shares[:s], outside=shares[s:], top_k=2 * s)
        inside, outside = ([MP.mpf(value) / (2 * s) for value in side] for side in (edge.inside, edge.outside))
        ours, other = renyi_epsilon(inside, outside, MP.mpf(alpha)), renyi.boundary_epsilon(edge, alpha)
        assert float(ours) == pytest.approx(other, rel=1e-8, abs=1e-13)
        if ours > 0:
            _, epsilon, order = renyi.boundary_radius(edge, sigma=1)
            assert float(best_squared_radius(inside, outside)) <= epsilon / order * (1 + 1e-9)


def test_a_set_that_holds_all_mass_swaps_at_no_finite_cost() -> None:
    half = MP.mpf(1) / 2
    assert MP.isinf(renyi_epsilon([half, half], [MP.mpf(0)] * 2, MP.mpf(2)))
    assert renyi_epsilon([half], [MP.mpf(0)], MP.mpf(2)) == pytest.approx(math.log(2))
    assert renyi_epsilon([half], [half], MP.mpf(2)) == 0


@pytest.mark.parametrize("needed", [1, 2, 3])
def test_peeling_leaves_the_largest_set_in_which_all_have_enough_entries(needed: int) -> None:
    """Against all sets of rows and columns: the core is the union of those in which each cell has enough entries."""
    rng = np.random.default_rng(needed)
    sets = [[i for i in range(4) if bits >> i & 1] for bits in range(16)]
    for _ in range(30):
        failing = rng.random((4, 4)) < 0.6
        fitting = [
            (rows, columns)
            for rows in sets
            for columns in sets
            if (failing[np.ix_(rows, columns)].sum(axis=1) >= needed).all()
            and (failing[np.ix_(rows, columns)].sum(axis=0) >= needed).all()
        ]
        expected = ({row for rows, _ in fitting for row in rows}, {column for _, some in fitting for column in some})
        assert core(failing.tolist(), needed) == expected


@pytest.mark.parametrize("shift", [1e-9, 0.1, 1.0, 2.0])
def test_the_majority_of_a_pair_gives_its_radius(shift: float) -> None:
    for share in (0.01, 0.3, 1.0):
        t = majority_for(MP.mpf(share), MP.mpf(shift))
        radius = (phi_inverse(share * t) - phi_inverse(share * (1 - t))) / 2
        assert MP.mpf(1) / 2 < t < 1 and abs(radius - shift) < 1e-20


def test_markov_after_a_gift_is_the_minimum_over_gifts() -> None:
    rng = np.random.default_rng(0)
    for needed in (1, 2, 5, 8):
        tails = np.sort(rng.random(8) ** 3)
        expected = min(tails[: 8 - gift].sum() / (needed - gift) for gift in range(needed))
        assert float(rueger([MP.mpf(tail) for tail in tails], needed)) == pytest.approx(expected, rel=1e-14)


def test_wealth_is_a_mean_of_products_over_copies() -> None:
    draws, eta, mean = [3, 3, 1, 0, 2, 3, 3], 0.05, 0.4
    odds = math.log(1 / eta)
    bets = [2 * math.sqrt(2 * odds / 7)]
    while bets[-1] < 7 / odds:
        bets.append(2 * bets[-1])
    products = [math.prod(1 + min(bet, 1 / mean) * (draw / 3 - mean) for draw in draws) for bet in bets]
    found = log_wealth(MP.mpf(mean), np.bincount(draws, minlength=4).tolist(), MP.mpf(eta))
    assert float(found) == pytest.approx(math.log(sum(products) / len(products)), rel=1e-12)


def test_the_norm_of_the_resize_is_its_largest_singular_value() -> None:
    cases = [(300, 128), (131, 128), (128, 128), (50, 128), (1, 5), (7, 1), (97, 32)]
    with collected() as case:
        for size_in, size_out in cases:
            with case(size_in, size_out):
                expected = np.linalg.norm(area_resize_matrix(size_in, size_out), 2)
                assert float(area_norm(size_in, size_out)) == pytest.approx(expected, rel=1e-13)


# Files that are none --------------------------------------------------------------------------------------------------


def test_json_that_is_none_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    every_text = [
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        "[1]",
        "{",
        "",
        "\xff",
        "[" * 10**5,
        '{"a":' + "9" * 5000 + "}",
    ]
    with collected() as case:
        for text in every_text:
            with case(text[:20]):
                tmp_path = tmp_path_factory.mktemp("case")
                path = tmp_path / "Doe^John.json"
                path.write_bytes(text.encode("latin-1"))
                with pytest.raises(AuditError) as error:
                    read_record(path)
                assert "Doe" not in str(error.value) and str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("record", [{}, [], None, {"format": "monai_robustinterp/certificate/4"}, {"format": 1}])
def test_records_of_another_format_are_refused(tmp_path: Path, record: Any) -> None:
    votes, spec = make_run(make_masks(m=8))
    with pytest.raises(AuditError, match="format"):
        verify(record, make_arrays(votes, spec, tmp_path))


def test_a_damaged_vote_file_is_refused_or_differs_but_never_crashes(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(m=16), regions=1)
    record, path = make_record(votes, spec), tmp_path / "Doe^John.npz"
    save_votes(path, votes, spec, PROVENANCE)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            outcomes.add("differs" if verify(record, path).differences else "read")
        except AuditError as error:
            assert "Doe" not in str(error) and str(tmp_path) not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes
    for bad in (b"", content[: len(content) // 2], b"\x80\x04K\x01.", b"PK\x03\x04"):
        path.write_bytes(bad)
        with pytest.raises(AuditError):
            verify(record, path)
    with pytest.raises(AuditError, match="opened"):
        verify(record, tmp_path / "missing.npz")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(m=8))
    arrays = make_arrays(votes, spec, tmp_path)
    np.savez(tmp_path / "pickled.npz", **arrays | {"logits": np.array([{}], dtype=object)})
    with pytest.raises(AuditError, match="damaged"):
        verify(make_record(votes, spec), tmp_path / "pickled.npz")


def test_a_vote_file_without_an_array_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for name in ["counts", "spec", "format", "decision", "logits", "provenance", "input_shape"]:
            with case(name):
                tmp_path = tmp_path_factory.mktemp("case")
                votes, spec = make_run(make_masks(m=8))
                arrays = make_arrays(votes, spec, tmp_path)
                del arrays[name]
                with pytest.raises(AuditError):
                    verify(make_record(votes, spec), arrays)


def test_arrays_of_another_format_are_refused(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(m=8))
    arrays = make_arrays(votes, spec, tmp_path) | {"later": np.zeros(3)}
    with pytest.raises(AuditError, match="1 arrays that the format"):
        verify(make_record(votes, spec), arrays)


def test_a_path_and_its_arrays_give_the_same_report(tmp_path: Path) -> None:
    votes, spec = make_run(make_masks(m=8))
    record, arrays = make_record(votes, spec), make_arrays(votes, spec, tmp_path)
    assert verify(record, tmp_path / "votes.npz") == verify(record, arrays)
    assert zipfile.is_zipfile(tmp_path / "votes.npz")
    assert dataclasses.is_dataclass(verify(record, arrays))
