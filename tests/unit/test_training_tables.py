"""Items from folders and label tables: each label rule, the split by patient, and each refusal."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.training.tables import LabeledImage, chest_xray14, chexpert, findings_with, kermany
from tests.support.cases import collected
from tests.support.shared import shared_data

SPLITS = Path(__file__).parents[2] / "bundles" / "chest_xray_certified_saliency" / "data"
FINDINGS_14 = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def drawn(patient: str) -> str:
    return "validation" if int(hashlib.sha256(patient.encode()).hexdigest()[:16], 16) % 10 == 0 else "train"


def counts(items: list[LabeledImage]) -> Counter[tuple[str, int | None]]:
    return Counter((item["split"], item["opacity"]) for item in items)


def assert_no_patient_is_in_both_splits(items: list[LabeledImage]) -> None:
    splits = defaultdict(set)
    for item in items:
        splits[item["patient"]].add(item["split"])
    assert max(map(len, splits.values())) == 1
    assert {item["split"] for item in items} == {"train", "validation"}


# Kermany


def test_kermany_reads_the_published_names(tmp_path_factory) -> None:
    cases = [
        ("NORMAL/IM-0115-0001.jpeg", "kermany N0115", 0),
        ("NORMAL/IM-0429-0001-0002.jpeg", "kermany N0429", 0),
        ("NORMAL/NORMAL2-IM-0525-0001.jpeg", "kermany NNORMAL2-0525", 0),
        ("NORMAL/NORMAL2-IM-0525-0001-0002.jpeg", "kermany NNORMAL2-0525", 0),
        ("PNEUMONIA/person1231_virus_2088.jpeg", "kermany P1231", 1),
        ("PNEUMONIA/person534_bacteria_2253.jpeg", "kermany P534", 1),
        ("PNEUMONIA/person447_virus_921_1.jpeg", "kermany P447", 1),
        ("PNEUMONIA/BACTERIA-1008087-0001.jpeg", "kermany 1008087", 1),
        ("PNEUMONIA/VIRUS-1008087-0002.JPEG", "kermany 1008087", 1),
        ("NORMAL/NORMAL-1003233-0001.jpg", "kermany 1003233", 0),
    ]
    with collected() as case:
        for name, patient, opacity in cases:
            with case(name):
                tmp_path = tmp_path_factory.mktemp("case")
                assert kermany(touch(tmp_path, name)) == [
                    {
                        "image": str(tmp_path / name),
                        "source": "kermany",
                        "patient": patient,
                        "split": drawn(patient),
                        "age": None,
                        "opacity": opacity,
                        "findings": None,
                    }
                ]


def test_kermany_leaves_out_hidden_files_other_names_and_other_kinds(tmp_path) -> None:
    touch(tmp_path, "a/IM-0115-0001.jpeg", "a/._IM-0117-0001.jpeg", ".trash/IM-0119-0001.jpeg", "IM-0122-0001.txt")
    touch(tmp_path, "logo.png", "b/person1_virus_6.png", "b/myperson2_virus_6.png", "person3_fungus_6.png")
    assert [Path(item["image"]).name for item in kermany(tmp_path)] == ["IM-0115-0001.jpeg", "person1_virus_6.png"]


def test_without_a_table_one_patient_in_ten_is_for_validation(tmp_path) -> None:
    touch(tmp_path, *(f"person{i}_{germ}_{i}.jpeg" for i in range(1000) for germ in ("virus", "bacteria")))
    items = kermany(tmp_path)
    assert_no_patient_is_in_both_splits(items)
    assert all(item["split"] == drawn(item["patient"]) for item in items)
    assert 2 * 60 < sum(item["split"] == "validation" for item in items) < 2 * 140


def test_the_rows_of_a_kermany_table_decide(tmp_path) -> None:
    touch(tmp_path, "x/IM-0115-0001.jpeg", "x/IM-0117-0001.jpeg", "y/person1_virus_6.jpeg")
    table = write(
        tmp_path / "table.csv",
        "image,patient,class,pneumonia,split",
        "IM-0117-0001.jpg,A,normal,1,val",
        "NORMAL/IM-0115-0001.png,B,normal,0,train",
        "IM-0999-0001.jpg,C,normal,0,train",
    )
    items = kermany(tmp_path, table)
    assert [(item["patient"], item["split"], item["opacity"]) for item in items] == [
        ("kermany B", "train", 0),
        ("kermany A", "validation", 1),
    ]
    assert [item["image"] for item in items] == [str(tmp_path / f"x/IM-{n}-0001.jpeg") for n in ("0115", "0117")]


def test_the_shipped_kermany_split(tmp_path) -> None:
    table = SPLITS / "kermany_split.csv"
    names = [row["image"] for row in rows_of(table)]
    assert names == sorted(names)
    items = kermany(touch(tmp_path, *names), table)
    assert counts(items) == {("train", 0): 1080, ("train", 1): 1117, ("validation", 0): 127, ("validation", 1): 163}
    assert_no_patient_is_in_both_splits(items)
    assert items == kermany(tmp_path, shared_data("kermany256.csv"))
    # The names alone say the same of labels and patients.
    undecided = [{**item, "split": ""} for item in kermany(tmp_path)]
    assert undecided == [{**item, "split": ""} for item in items]


# ChestX-ray14


def xray14(tmp_path: Path, header: str, *rows: str) -> list[LabeledImage]:
    folder = touch(tmp_path / "images", *(f"{row.partition(',')[0]}" for row in rows))
    return chest_xray14(folder, write(tmp_path / "table.csv", header, *rows))


def test_opacity_follows_rsna_and_then_the_mined_labels(tmp_path_factory) -> None:
    cases = [
        ("No Finding", "", 0),
        ("Pneumonia", "", 1),
        ("Infiltration|Pneumonia", "", 1),
        ("Infiltration", "", None),
        ("No Finding", "Lung Opacity", 1),
        ("Pneumonia", "Normal", 0),
        ("Mass", "Normal", 0),
        ("Pneumonia", "No Lung Opacity / Not Normal", None),
        ("No Finding", "No Lung Opacity / Not Normal", None),
    ]
    with collected() as case:
        for findings, rsna, opacity in cases:
            with case(findings, rsna, opacity):
                tmp_path = tmp_path_factory.mktemp("case")
                header = "Image Index,Finding Labels,Patient ID,RSNA Class"
                [item] = xray14(tmp_path, header, f"00000001_000.png,{findings},1,{rsna}")
                assert item["opacity"] == opacity


def test_all_14_findings_are_labeled(tmp_path) -> None:
    header = "Image Index,Finding Labels,Follow-up #,Patient ID"
    items = xray14(
        tmp_path,
        header,
        f"00000002_000.png,{'|'.join(FINDINGS_14)},0,2",
        "00000001_000.png,Pleural_Thickening|Hernia,0,1",
        "00000003_000.png,No Finding,0,3",
    )
    assert [item["patient"] for item in items] == ["chest_xray14 1", "chest_xray14 2", "chest_xray14 3"]
    assert items[0]["findings"] == {name: int(name in ("Hernia", "Pleural_Thickening")) for name in FINDINGS_14}
    assert items[1]["findings"] == dict.fromkeys(FINDINGS_14, 1)
    assert items[2]["findings"] == dict.fromkeys(FINDINGS_14, 0)


def test_case_and_blanks_of_the_header_and_blanks_of_values_mean_nothing(tmp_path) -> None:
    header = "\ufeff image index ,FINDING LABELS, Patient Id,split"
    [item] = xray14(tmp_path, header, "00000001_000.png, Edema | Mass ,1, validation ")
    assert (item["split"], item["findings"]["Edema"], item["findings"]["Mass"]) == ("validation", 1, 1)


def test_chest_xray14_is_split_by_patient(tmp_path) -> None:
    rows = [f"{patient:08d}_{i:03d}.png,No Finding,{patient:0{8 * i}d}" for patient in range(1, 100) for i in (0, 1)]
    items = xray14(tmp_path, "Image Index,Finding Labels,Patient ID", *rows)
    assert len(items) == 198
    assert_no_patient_is_in_both_splits(items)
    assert all(item["split"] == drawn(item["patient"]) for item in items)
    # The same patient whether the table writes leading zeros or not.
    assert items[0]["patient"] == items[1]["patient"] == "chest_xray14 1"


def test_the_shipped_chest_xray14_split(tmp_path) -> None:
    table = SPLITS / "chest_xray14_split.csv"
    rows = rows_of(table)
    assert list(rows[0]) == [
        *("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position", "RSNA Class", "Split")
    ]
    names = [row["Image Index"] for row in rows]
    assert names == sorted(names)
    # A reduced copy has other suffixes.
    items = chest_xray14(touch(tmp_path, *(name.replace(".png", ".jpg") for name in names)), table)
    assert counts(items) == {
        ("train", 0): 353,
        ("train", 1): 177,
        ("train", None): 255,
        ("validation", 0): 109,
        ("validation", 1): 54,
        ("validation", None): 70,
    }
    assert_no_patient_is_in_both_splits(items)
    assert sum(item["age"] < 18 for item in items) == 70
    own = {"train": "train", "val": "validation"}
    source = [row for row in rows_of(shared_data("nih_labels.csv")) if row["has_256"] == "1"]
    assert sorted(map(tuple, map(dict.values, rows))) == sorted(
        (
            *(r["image"], r["finding_labels"], r["patient_id"], r["patient_age"], r["view"], r["rsna_class"]),
            own[r["split"]],
        )
        for r in source
    )


# CheXpert


def chexpert_row(path: str, view: str = "Frontal", **labels: str) -> str:
    names = [name.replace(" ", "_").replace("/", "_") for name in CHEXPERT_HEADER.split(",")]
    values = {"Path": path, "Sex": "Female", "Age": "68", "Frontal_Lateral": view, "AP_PA": "AP", **labels}
    return ",".join(values.get(name, "") for name in names)


def read_chexpert(tmp_path: Path, **labels: str) -> LabeledImage:
    """The item of one frontal image with these labels, named with _ for a blank."""
    name = "train/patient00001/study1/view1_frontal.jpg"
    table = write(tmp_path / "train.csv", CHEXPERT_HEADER, chexpert_row(f"CheXpert-v1.0-small/{name}", **labels))
    [item] = chexpert(touch(tmp_path / "CheXpert-v1.0", name), table)
    return item


def test_chexpert_findings_have_the_names_of_chest_xray14(tmp_path) -> None:
    labels = {"Pleural_Effusion": "1.0", "Edema": "0.0", "Pneumonia": "-1.0", "Fracture": "1.0", "Lung_Lesion": "1.0"}
    assert read_chexpert(tmp_path, **labels)["findings"] == {
        "Atelectasis": None,
        "Cardiomegaly": None,
        "Consolidation": None,
        "Edema": 0,
        "Effusion": 1,
        "Pneumonia": None,
        "Pneumothorax": None,
    }


def test_what_a_normal_chexpert_report_does_not_mention_is_absent(tmp_path) -> None:
    item = read_chexpert(tmp_path, No_Finding="1.0", Edema="-1.0", Cardiomegaly="1.0")
    assert item["findings"] == {
        **dict.fromkeys(("Atelectasis", "Consolidation", "Effusion", "Pneumonia", "Pneumothorax"), 0),
        "Edema": None,
        "Cardiomegaly": 1,
    }


def test_opacity_of_chexpert(tmp_path_factory) -> None:
    cases = [
        ({"Lung_Opacity": "1.0"}, 1),
        ({"Pneumonia": "1.0", "Lung_Opacity": "-1.0"}, 1),
        ({"Consolidation": "1.0"}, 1),
        ({"No_Finding": "1.0"}, 0),
        ({"No_Finding": "1.0", "Pneumonia": "1.0"}, 1),
        ({"No_Finding": "0.0", "Lung_Opacity": "0.0"}, None),
        ({"Lung_Opacity": "-1.0"}, None),
        ({"Edema": "1.0"}, None),
    ]
    with collected() as case:
        for labels, opacity in cases:
            with case(labels, opacity):
                tmp_path = tmp_path_factory.mktemp("case")
                assert read_chexpert(tmp_path, **labels)["opacity"] == opacity


def test_chexpert_matches_paths_and_takes_frontal_views(tmp_path) -> None:
    frontal = ["train/patient00002/study1/view1_frontal.jpg", "train/patient00001/study2/view1_frontal.jpg"]
    lateral = "train/patient00001/study2/view2_lateral.jpg"
    valid = "valid/patient64541/study1/view1_frontal.jpg"
    # "train" in the name of a folder above the set is no part of the path.
    folder = touch(tmp_path / "train" / "small", *frontal, lateral, valid)
    rows = [chexpert_row(f"CheXpert-v1.0-small/{name}") for name in (*frontal, valid)]
    rows.append(chexpert_row(f"CheXpert-v1.0-small/{lateral}", "Lateral"))
    items = chexpert(folder, write(tmp_path / "all.csv", CHEXPERT_HEADER, *rows))
    assert [item["image"] for item in items] == [str(folder / name) for name in (frontal[1], frontal[0], valid)]
    assert [item["patient"] for item in items] == [f"chexpert patient{n}" for n in ("00001", "00002", "64541")]


def test_valid_rows_of_chexpert_are_for_validation_and_the_others_drawn(tmp_path) -> None:
    names = [
        f"{part}/patient{n:05d}/study{s}/view1_frontal.jpg"
        for part, first in (("train", 1), ("valid", 101))
        for n in range(first, first + 60)
        for s in (1, 2)
    ]
    rows = [chexpert_row(name) for name in names]
    items = chexpert(touch(tmp_path / "set", *names), write(tmp_path / "t.csv", CHEXPERT_HEADER, *rows))
    assert len(items) == 240
    assert_no_patient_is_in_both_splits(items)
    for item in items:
        assert item["split"] == ("validation" if "/valid/" in item["image"] else drawn(item["patient"]))


# All sets


def test_findings_are_kept_by_their_positives_over_both_splits() -> None:
    def item(split: str, findings: dict[str, int | None] | None) -> LabeledImage:
        return LabeledImage(image="", source="", patient="", split=split, opacity=1, findings=findings)

    items = [
        item("train", {"Mass": 1, "Edema": 1, "Hernia": 0}),
        item("validation", {"Mass": 1, "Edema": None, "Hernia": 0, "Atelectasis": 1}),
        item("train", {"Atelectasis": 1}),
        item("train", None),
    ]
    assert findings_with(items, 2) == ("Atelectasis", "Mass")
    assert findings_with(items, 1) == ("Atelectasis", "Edema", "Mass")
    assert findings_with(items, 3) == ()


def refused(call, *arguments) -> str:
    with pytest.raises(InputRefused) as error:
        call(*arguments)
    return str(error.value)


KERMANY = ("image,patient,pneumonia,split", "IM-0115-0001.jpg,SECRET7,0,train")
XRAY14 = ("Image Index,Finding Labels,Patient ID,RSNA Class,Split", "00000007_000.png,Mass,7,,train")
CHEXPERT = (CHEXPERT_HEADER, chexpert_row("CheXpert-v1.0/train/patient00007/study1/view1_frontal.jpg"))


@pytest.mark.parametrize(
    ("read", "lines", "shape"),
    [
        (kermany, KERMANY, "IM-0115-0001.jpeg"),
        (chest_xray14, XRAY14, "00000001_000.png"),
        (chexpert, CHEXPERT, "train/patient00001/study1/view1_frontal.jpg"),
    ],
)
def test_a_folder_without_any_match_is_refused(tmp_path, read, lines, shape) -> None:
    folder = touch(
        tmp_path / "set",
        "train/patient00008/other.png",
        "b.jpg",
        "train/patient00009/c.jpeg",
        "notes.txt",
        "._b.jpg",
        "train/patient00009/._d.png",
    )
    message = refused(read, folder, write(tmp_path / "table.csv", *lines))
    assert message.startswith(f"1 labeled names and {2 if read is chexpert else 3} image files (.png, .jpg, .jpeg)")
    assert f"The folder must hold the {'published tree' if read is chexpert else 'images'}" in message
    assert shape in message


def test_a_kermany_folder_without_published_names_is_refused(tmp_path) -> None:
    assert refused(kermany, touch(tmp_path, "a.png")).startswith("0 labeled names and 1 image files")


def test_a_missing_folder_is_refused(tmp_path) -> None:
    message = refused(kermany, tmp_path / "SECRET7")
    assert message == "the folder of the images is missing: pass the folder that holds the image files."


def test_an_unreadable_folder_is_refused(tmp_path, monkeypatch) -> None:
    def walk(folder, onerror):
        onerror(PermissionError(13, "denied", str(folder)))

    monkeypatch.setattr("os.walk", walk)
    assert refused(kermany, tmp_path) == "a folder among those of the images cannot be read: grant access to it."


@pytest.mark.parametrize(
    ("read", "lines", "names"),
    [
        (kermany, KERMANY, ["IM-0115-0001.jpeg", "person7_virus_1.png"]),
        (chest_xray14, XRAY14, ["00000007_000.png", "00000008_000.png"]),
        (chexpert, CHEXPERT, [f"train/patient0000{n}/study1/view1_frontal.jpg" for n in (7, 8)]),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, read, lines, names) -> None:
    folder = touch(tmp_path / "set", *(f"{copy}/{name}" for name in names for copy in "abc"))
    message = refused(read, folder, write(tmp_path / "table.csv", *lines))
    assert message.startswith("2 image names stand for two files or more in the folder")
    assert "Pass the folder of a single copy" in message


def test_a_missing_column_is_named(tmp_path_factory) -> None:
    tables = [
        (kermany, KERMANY, ["image", "patient", "pneumonia", "split"]),
        (chest_xray14, XRAY14, ["Image Index", "Finding Labels", "Patient ID"]),
        (
            chexpert,
            CHEXPERT,
            ["Path", "Frontal/Lateral", "No Finding", "Lung Opacity", "Pneumonia", "Pleural Effusion"],
        ),
    ]
    with collected() as case:
        for read, lines, columns in tables:
            for column in columns:
                with case(read.__name__, column):
                    folder = tmp_path_factory.mktemp("case")
                    table = write(folder / "table.csv", lines[0].replace(column, "other", 1), *lines[1:])
                    message = refused(read, folder, table)
                    assert message.startswith(f"the label table has no column {column!r}: it must be comma-separated")


def test_an_empty_table_names_all_columns(tmp_path) -> None:
    message = refused(kermany, tmp_path, write(tmp_path / "table.csv"))
    assert "no column 'image', 'patient', 'pneumonia', 'split'" in message


def test_a_value_that_means_nothing_is_refused_and_not_told(tmp_path_factory) -> None:
    cases = [
        (kermany, KERMANY, ",0,", ",SECRET,", "pneumonia", "'0', '1'"),
        (kermany, KERMANY, ",train", ",SECRET", "split", "'train', 'val', 'validation'"),
        (chest_xray14, XRAY14, ",train", ",SECRET", "Split", "'train', 'val', 'validation'"),
        (chest_xray14, XRAY14, ",,", ",SECRET,", "RSNA Class", "'Lung Opacity', 'Normal', "),
        (chest_xray14, XRAY14, "Mass", "Mass|SECRET", "Finding Labels", "Atelectasis, Cardiomegaly"),
        (chest_xray14, XRAY14, "Mass", "", "Finding Labels", "Atelectasis, Cardiomegaly"),
        (
            chexpert,
            (CHEXPERT_HEADER, chexpert_row("train/patient00007/a.jpg", Edema="SECRET")),
            "",
            "",
            "Edema",
            "empty",
        ),
        (chexpert, CHEXPERT, "/train/", "/SECRET/", "Path", "train/patient00001/study1"),
    ]
    with collected() as case:
        for read, lines, old, new, column, allowed in cases:
            with case(read.__name__, column, new):
                tmp_path = tmp_path_factory.mktemp("case")
                table = write(tmp_path / "table.csv", lines[0], lines[1].replace(old, new, 1))
                message = refused(read, tmp_path, table)
                assert message.startswith(f"the column {column!r} of the label table holds a ")
                assert allowed in message
                assert "SECRET" not in message and "00007" not in message


@pytest.mark.parametrize(("read", "lines"), [(kermany, KERMANY), (chest_xray14, XRAY14), (chexpert, CHEXPERT)])
def test_a_repeated_row_is_refused(tmp_path, read, lines) -> None:
    message = refused(read, tmp_path, write(tmp_path / "table.csv", *lines, lines[1], lines[1]))
    assert message.startswith("2 rows of the label table repeat the image of another row")


@pytest.mark.parametrize(("read", "lines", "name"), [(kermany, KERMANY, "SECRET7"), (chest_xray14, XRAY14, ",7,")])
def test_a_row_without_a_patient_is_refused(tmp_path, read, lines, name) -> None:
    row = lines[1].replace(name, ",," if name == ",7," else "")
    message = refused(read, tmp_path, write(tmp_path / "table.csv", lines[0], row))
    assert message.startswith("1 rows of the label table name no patient")


def test_a_patient_in_both_splits_is_refused(tmp_path) -> None:
    folder = touch(tmp_path / "set", "IM-0115-0001.jpeg", "IM-0115-0002.jpeg")
    table = write(tmp_path / "table.csv", *KERMANY, "IM-0115-0002.jpg,SECRET7,0,validation")
    message = refused(kermany, folder, table)
    assert message.startswith("the label table puts 1 patients in both splits")
    assert "SECRET7" not in message


@pytest.mark.parametrize(("text", "age"), [("58", 58), ("058Y", 58), ("009M", 0), ("", None), ("unknown", None)])
def test_chest_xray14_ages_of_all_editions(tmp_path, text, age) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"Image Index,Finding Labels,Patient ID,Patient Age\n00000001_000.png,No Finding,1,{text}\n")
    (item,) = chest_xray14(touch(tmp_path / "images", "00000001_000.png"), table)
    assert item["age"] == age
