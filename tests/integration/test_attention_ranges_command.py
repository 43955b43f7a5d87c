"""``attention`` without --exact on the shipped classifier and a real film, and ``verify`` of what it wrote."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from monai_robustinterp.attention import ranges
from monai_robustinterp.audit import AuditError, verify_ranges
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import sealed
from tests.support.bundles import ATTENTION, OPACITY

FILM = Path(__file__).parents[2] / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"
WINDOWED = FILM.with_name("kermany_person1951_bacteria_4882_dx.dcm")
FEW = ("--samples", "48", "--confidence", "0.9", "--seed", "3")


def run_command(output: Path, *more: str) -> int:
    return main([*ATTENTION, str(FILM), "--output", str(output), *more])


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> tuple[Path, str]:
    """Folder and printed text of one run."""
    output = tmp_path_factory.mktemp("ranges")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_STEPS", 1)
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **options: lines.extend(map(str, texts)))
        assert run_command(output, "--perturb", "brightness:sigma=0.02,shift", *FEW) == 0
    (folder,) = output.glob("cxr-*-ranges")
    return folder, "\n".join(lines)


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "attention.json").read_text())


def test_each_change_gets_its_sentence_and_a_picture(result) -> None:
    folder, said = result
    record = record_of(folder)
    brightness, shift = record["ranges"]
    assert brightness["status"] == "certified" and brightness["radius"] > 0
    assert brightness["sentence"] in said and shift["sentence"] in said
    found = re.search(r"within \+-([\d.]+) of the display range \(\+-([\d.]+) stored values\)", said)
    # Of 8 bits: a display range of 255 stored values.
    assert float(found[1]) <= brightness["radius"] and float(found[2]) == pytest.approx(255 * float(found[1]), rel=0.01)
    assert (
        "1 - 0.1 over the noise (0.02) of 48 copies" in said and "All of these at once: probability >= 1 - 0.4" in said
    )
    assert [sum(map(sum, one["counts"])) for one in record["ranges"]] == [48 * 38] * 2
    with Image.open(folder / "attention.png") as picture, Image.open(folder / "images.png") as images:
        # The image, and two of each change.
        assert picture.size[0] > 400 and images.size[0] > images.size[1] > 400


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> tuple[Path, str]:
    """The same of a joint claim, on a film with a window."""
    output = tmp_path_factory.mktemp("joint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_STEPS", 1)
        patch.setattr(ranges, "_NOISY", 1)
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **options: lines.extend(map(str, texts)))
        changes = ("--perturb", "window_center:sigma=0.02,shift_down:sigma=1:surround=0", "--with-noise", "0.02")
        assert main([*ATTENTION, str(WINDOWED), "--output", str(output), *changes, *FEW]) == 0
    (folder,) = output.glob("cxr-*-ranges")
    return folder, "\n".join(lines)


def test_a_joint_claim_says_both_limits(joint) -> None:
    folder, said = joint
    record = record_of(folder)
    center, shift = record["ranges"]
    assert center["status"] == "certified" and center["sentence"] in said and shift["sentence"] in said
    found = re.search(
        r"any window center from ([\d.]+) to ([\d.]+) \(128 in window 1 of 1 of the header, LINEAR\)", said
    )
    assert 128 - float(found[1]) == pytest.approx(255 * center["radius"], rel=0.01)
    assert center["pixels"]["l2"] == pytest.approx(center["radius"] * 0.02 / center["change"]["sigma"], rel=1e-6)
    assert "together with any change of the network's input of l2 norm below 0.0" in center["sentence"]
    # The file has a window, and its path is known: the norm in stored values is that over slope and resize.
    native = center["pixels"]["native"]
    stored = re.search(
        r"\(pixels alone: any change of the stored values of l2 norm below ([\d.]+)\)", center["sentence"]
    )
    assert int(stored[1]) == int(native["l2"])
    assert native["l2"] == pytest.approx(
        (center["pixels"]["l2"] - 2 * native["round_off"]) / (native["slope"] * native["norm_l2"]), rel=1e-9
    )
    assert "over the noise (0.02, and 0.02 in the pixels) of 48 copies" in said
    assert "that is changed by a strength d and by pixels" in record["claim"]
    with Image.open(folder / "attention.png") as picture:
        assert picture.size[0] > 1000


def test_the_records_pass_verify(result, joint, capsys) -> None:
    for (folder, _), image in ((result, FILM), (joint, WINDOWED)):
        record = str(folder / "attention.json")
        assert main(["verify", record, "--input", str(image), "--bundle", OPACITY]) == 0
        assert "verified: " in capsys.readouterr().out
        assert main(["verify", record, "votes.npz"]) == 1
        assert "leave VOTES and --replay out" in capsys.readouterr().err


def passed(record: dict[str, Any], changes: dict[str, Callable[[dict[str, Any]], object]]) -> list[str]:
    """Changes of the first range that the audit does not see."""
    missed = []
    for name, change in changes.items():
        forged = copy.deepcopy(record)
        change(forged["ranges"][0])
        try:
            if verify_ranges(sealed(forged)).verified:
                missed.append(name)
        except AuditError:
            pass
    return missed


def test_every_changed_claim_is_caught(result) -> None:
    record = record_of(result[0])
    del record["content_sha256"]
    changes = {
        "radius": lambda one: one.update(radius=one["radius"] * 1.001),
        "range": lambda one: one.update(range=[2 * end for end in one["range"]]),
        "radii": lambda one: one["radii"][3].update(radius=one["radii"][3]["radius"] * 1.0001),
        "renyi": lambda one: one["radii"][2].update(epsilon=one["radii"][2]["epsilon"] * 1.0001),
        "sentence": lambda one: one.update(sentence=one["sentence"].replace("19", "20")),
        "overlap": lambda one: one.update(overlap=20),
        "stored": lambda one: one.update(stored_values=one["stored_values"] * 1.01),
        "decision": lambda one: one["decision"].update(radius=one["decision"]["radius"] + 1e-4),
        "ceiling": lambda one: one.update(ceiling=one["ceiling"] * 0.99),
        "unit": lambda one: one["change"].update(unit="gray levels"),
        "denoiser": lambda one: one["spec"].update(denoiser={"name": "x"}),
    }
    assert verify_ranges(sealed(record)).verified
    missed = passed(record, changes)
    for name, value in {"claim": "of everything", "eta": 0.01, "beta": "0.4", "all_claims": {"eta": 0.1}}.items():
        if verify_ranges(sealed({**record, name: value})).verified:
            missed.append(name)
    if verify_ranges({**record, "content_sha256": "0" * 64}).verified:
        missed.append("content")
    assert not missed


def test_every_changed_joint_claim_is_caught(joint) -> None:
    record = record_of(joint[0])
    del record["content_sha256"]
    assert verify_ranges(sealed(record)).verified
    changes = {
        "l2": lambda one: one["pixels"].update(l2=one["pixels"]["l2"] * 1.001),
        "decision": lambda one: one["pixels"].update(decision_l2=one["pixels"]["decision_l2"] + 1e-3),
        "sigma": lambda one: one["pixels"].update(sigma=0.5),
        "none": lambda one: one.update(pixels=None),
        "stored": lambda one: one["pixels"]["native"].update(l2=one["pixels"]["native"]["l2"] * 1.01),
        "norm": lambda one: one["pixels"]["native"].update(norm_l2=one["pixels"]["native"]["norm_l2"] * 0.9),
        "contrast": lambda one: one["change"].update(name="window_width"),
        "center": lambda one: one["change"].update(center=one["change"]["center"] + 1),
        "width": lambda one: one["change"].update(width=one["change"]["width"] * 1.01),
        "function": lambda one: one["change"].update(function="LINEAR_EXACT"),
        "window": lambda one: one["change"].update(window="window 2 of 2"),
        "range": lambda one: one.update(range=[one["range"][0] - 0.01, one["range"][1]]),
        "sentence": lambda one: one.update(
            sentence=one["sentence"].replace("0.02 in the pixels", "0.03 in the pixels")
        ),
    }
    assert not passed(record, changes)
    plain = copy.deepcopy(record)
    for one in plain["ranges"]:
        one["pixels"] = None
    assert not verify_ranges(sealed(plain)).verified


def test_bad_input_gets_a_sentence(tmp_path, capsys) -> None:
    brightness = ("--perturb", "brightness")
    cases = {
        "no certified range of 'patch': choose of brightness": ("--perturb", "patch"),
        "window_center needs a film that is shown by a linear window of its header, and the display range of this one "
        "is: full 8-bit range. Take brightness": ("--perturb", "window_center"),
        "contrast has no joint claim with noise": ("--perturb", "brightness,contrast", "--with-noise", "0.1"),
        "--with-noise goes without --exact only": (*brightness, "--exact", "--range", "0.1", "--with-noise", "0.1"),
        "the changes are ['brightness', 'brightness']": ("--perturb", "brightness,brightness:sigma=0.2"),
        "sigma of 'gamma' is 3;": ("--perturb", "gamma:sigma=3"),
        "--delta goes with --exact only": (*brightness, "--delta", "0.1"),
        "--samples goes without --exact only": (*brightness, "--exact", "--range", "0.1", "--samples", "9"),
        "--exact needs --range": (*brightness, "--exact", "--share", "0.1"),
        "beta is": (*brightness, "--beta", "2"),
    }
    offenders = []
    for words, options in cases.items():
        code, said = run_command(tmp_path, "--quiet", *options), capsys.readouterr().err
        if code != 1 or words not in said:
            offenders.append((words, code, said))
    assert not offenders, offenders
