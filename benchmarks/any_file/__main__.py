"""Files of every kind through the reader and the command: reported, mutated, costly, killed, decoded by others.

usage: python -m benchmarks.any_file OUTPUT_DIR [--pydicom-data DIR] [--quick]

It needs Linux, DCMTK and GDCM's tools (apt.txt), takes about half an hour of one core and writes ``results.json`` into
OUTPUT_DIR and any-file.md into docs/results. An interrupted run resumes. ``--quick`` leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import torch

from benchmarks.any_file import cases, costs, killed, mutants, other_decoders
from benchmarks.any_file.page import sections
from benchmarks.films import SAMPLES
from benchmarks.places import RESULTS, ROOT
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.row_files import write_rows
from monai_robustinterp.study.store import kept_json

SEED = 20261129
MUTATED = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
CUT_UP = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
CASE_SAMPLES = 8
_PACKAGES = ("pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm", "pillow", "nibabel")
_STRICT = ("17_lateral.dcm", "18_hand_by_region_code.dcm")


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes:
        name: full or quick.
        cases: how many files of ``shared/cases``; None takes all.
        mutants: of each format.
        images: that are certified while the run is killed.
        kills: how often it is.
        longest_s: after which a run is killed at the latest.
        first: bombs, files of a test set and films; None takes all, and the largest films too.
    """

    name: str
    cases: int | None
    mutants: int
    images: int
    kills: int
    longest_s: float
    first: int | None


FULL = Plan("full", None, 834, 60, 20, 20.0, None)
QUICK = Plan("quick", 2, 2, 2, 1, 1.0, 2)


def main(output: Path, plan: Plan, pydicom_data: Path | None) -> None:
    """Runs all parts, writes ``results.json`` and the page."""

    def part(name: str, make: Callable[[Path], Any]) -> Any:
        print(name, flush=True)

        def measured() -> Any:
            with tempfile.TemporaryDirectory() as folder:
                return {"rows": make(Path(folder)), "surroundings": surroundings("cpu", ROOT, packages=_PACKAGES)}

        return kept_json(output / PARTS / f"{name}.json", {"plan": repr(plan), "seed": SEED}, measured)

    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    sets = {"pydicom": Path(pydicom.__file__).parent / "data"}
    if pydicom_data is not None:
        sets["pydicom-data"] = pydicom_data
    files = cases.case_files(plan.cases)
    strict = [path for path in files if path.name in _STRICT]
    films = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".dcm", ".gz", ".jpeg"))[: plan.first]
    results: dict[str, Any] = {
        "plan": plan.name,
        "seed": SEED,
        "cases": part("cases", lambda _: cases.certified_files(files, CASE_SAMPLES)),
        "strict": part("strict", lambda _: cases.certified_files(strict, CASE_SAMPLES, strict=True)),
        "others": part("others", lambda folder: [*cases.headers(folder), *cases.calls()]),
        "folder": part("folder", lambda folder: cases.study_folder(folder, CASE_SAMPLES)),
        "bombs": part("bombs", lambda folder: costs.bombs(folder, plan.first)),
        "largest": part("largest", costs.largest_films) if plan.first is None else {"rows": []},
        "process": part("process", lambda _: costs.process_costs(films)),
        "decoders": part("decoders", lambda _: other_decoders.study(sets, plan.first)),
        "mutants": part("mutants", lambda _: mutants.study(MUTATED, plan.mutants, SEED, output)),
        "killed": part(
            "killed",
            lambda folder: killed.study(
                folder, CUT_UP, images=plan.images, kills=plan.kills, longest_s=plan.longest_s, seed=SEED
            ),
        ),
    }
    for name in ("cases", "strict", "others", "folder", "bombs", "largest", "process"):
        write_rows(output / name, results[name]["rows"])
    decoded = results["decoders"]["rows"]
    write_rows(output / "decoders", [{"set": name, **row} for name, rows in decoded.items() for row in rows])
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "any-file.md", sections(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.any_file")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--pydicom-data", type=Path, metavar="DIR", help="the package pydicom-data, unpacked")
    parser.add_argument("--quick", action="store_true", help="a minute; its figures are no results")
    arguments = parser.parse_args()
    main(arguments.output, QUICK if arguments.quick else FULL, arguments.pydicom_data)
