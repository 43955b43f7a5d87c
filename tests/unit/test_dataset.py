"""Datasets of tables: what a CSV may say, and the sentence for what it may not."""

from __future__ import annotations

import numpy as np
import pytest

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.marks import Marks
from monai_robustinterp.geometry.regions import Box
from monai_robustinterp.study.blind import blind_map
from monai_robustinterp.study.contenders import contenders
from monai_robustinterp.study.dataset import Film, read_dataset


def written(folder, text: str):
    path = folder / "films.csv"
    path.write_text(text)
    return path


def test_a_dataset_names_films_their_patients_marks_and_masks(tmp_path) -> None:
    films = read_dataset(
        written(
            tmp_path,
            "image,patient,present,target,boxes,polygons,lungs\n"
            'a.png,P1,1,1,"1,2,3,4; 5,6,7,8","1,1 5,1 5.5,4",m.png\n'
            "sub/b.png,,,effusion,,,\n",
        )
    )
    assert films == (
        Film(
            path=tmp_path / "a.png",
            patient="P1",
            present=True,
            target=1,
            boxes=(Box(1, 2, 3, 4), Box(5, 6, 7, 8)),
            polygons=(((1.0, 1.0), (5.0, 1.0), (5.5, 4.0)),),
            lungs=tmp_path / "m.png",
        ),
        Film(path=tmp_path / "sub" / "b.png", patient="sub/b.png", target="effusion"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image\n", "has no film"),
        ("patient\nP1\n", "must have 'image'"),
        ("", "'image' is missing"),
        ("image,age\na.png,3\n", "column 2 is unknown"),
        ("Secret^Name.png,P1\nb.png,P2\n", "column 1, 2 is unknown; 'image' is missing"),
        ("image,image\na.png,a.png\n", "stands there twice"),
        ("image,patient\na.png\n", "line 2 .* more or fewer"),
        ("image\na.png,b\n", "line 2 .* more or fewer"),
        ("image,patient\n,P1\n", "line 2 .* 'image'"),
        ("image,present\nSecret^Name.png,yes\n", "line 2 .* 'present' must be 0, 1 or empty"),
        ('image,boxes\na.png,"1,2,3"\n', "'boxes' must be LEFT"),
        ('image,boxes\na.png,"3,2,3,9"\n', "LEFT < RIGHT"),
        ('image,polygons\na.png,"1,1 2,2"\n', "three corners"),
        ("image\na.png\na.png\n", "names a film twice"),
    ],
)
def test_what_a_dataset_may_not_say_has_a_sentence_without_its_values(tmp_path, text, sentence) -> None:
    with pytest.raises(InputRefused, match=sentence) as refused:
        read_dataset(written(tmp_path, text))
    assert "Secret" not in str(refused.value)


def test_a_file_that_is_no_csv_in_utf_8_is_refused(tmp_path) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(b"image\n\xff\xfe.png\n")
    for bad in (path, tmp_path / "none.csv"):
        with pytest.raises(InputRefused, match="cannot be read"):
            read_dataset(bad)


def test_marks_are_the_pixels_inside_any_of_them() -> None:
    marks = Marks(boxes=(Box(0, 0, 2, 1),), polygons=(((3.0, 1.0), (4.0, 1.0), (4.0, 3.0), (3.0, 3.0)),))
    _, pixels = marks.draw({"spatial_shape": (4, 5)})
    assert np.array_equal(pixels, [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])
    with pytest.raises(InputRefused, match="leaves the image"):
        Marks(boxes=(Box(0, 0, 9, 1),)).draw({"spatial_shape": (4, 5)})


def test_each_interpreter_comes_in_each_kind_and_a_second_one_gets_a_number() -> None:
    found = contenders(
        [("cam", {}), ("rise", {"n_masks": 5}), ("rise", {})], kinds=["plain", "certified"], blind=["lungs"]
    )
    assert [one.slug for one in found] == [
        *("cam-plain", "cam-certified", "rise-plain", "rise-certified", "rise_2-plain", "rise_2-certified"),
        "lungs-blind",
    ]
    assert found[2].settings == {"n_masks": 5}
    for kinds, blind, sentence in (
        (["smooth"], [], "'smooth' is no kind"),
        (["plain"], ["mean"], "'mean' is no blind"),
    ):
        with pytest.raises(InputRefused, match=sentence):
            contenders([("cam", {})], kinds=kinds, blind=blind)


def test_blind_maps_do_not_look_at_the_film() -> None:
    lungs = np.zeros((8, 8), dtype=bool)
    lungs[2:6, 0:4] = True
    maps = {
        (name, digest): blind_map(name, (4, 4), digest=digest * 16, lungs=lungs)
        for name in ("center", "fixed", "lungs", "random")
        for digest in "ab"
    }
    for name in ("center", "fixed", "lungs"):
        assert np.array_equal(maps[name, "a"], maps[name, "b"]), name
    assert not np.array_equal(maps["random", "a"], maps["random", "b"])
    center = maps["center", "a"]
    assert center[1:3, 1:3].min() > np.delete(center.ravel(), [5, 6, 9, 10]).max()
    # All cells of the lungs come before all others.
    inside = np.zeros((4, 4), dtype=bool)
    inside[1:3, 0:2] = True
    assert maps["lungs", "a"][inside].min() > maps["lungs", "a"][~inside].max()
    with pytest.raises(InputRefused, match="no lung fields"):
        blind_map("lungs", (4, 4), digest="a" * 16, lungs=None)
