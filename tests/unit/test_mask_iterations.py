"""The table and the figure of an optimized mask."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_robustinterp.visualize import mask_iterations
from monai_robustinterp.visualize.mask_iterations import MaskIteration, mask_iterations_figure, probability_table

NAMES = ("sheep", "dog", "cow")
SCORES = np.array([0.9711, 0.0111, 0.5])


def state(iteration: int, perturbed: list[float], reversed_: list[float], mask: float = 0.25) -> MaskIteration:
    return MaskIteration(
        iteration=iteration,
        mask=np.full((6, 8), mask, np.float32),
        perturbed=np.full((6, 8), 0.3, np.float32),
        reversed=np.full((6, 8), 0.6, np.float32),
        perturbed_scores=np.array(perturbed),
        reversed_scores=np.array(reversed_),
    )


@pytest.fixture
def run() -> list[MaskIteration]:
    return [state(0, [0.5, 0.1, 0.6], [0.97, 0.01, 0.5], 0.0), state(50, [0.0003, 0.0022, 0.45], [0.9, 0.6469, 0.4])]


class TestTable:
    def test_it_holds_the_numbers_of_the_target_and_of_the_others(self, run) -> None:
        first, second = probability_table(SCORES, run, class_names=NAMES, target=0)
        assert first == {
            "iteration": 0,
            "target_x": pytest.approx(0.9711),
            "target_pt": pytest.approx(0.5),
            "target_rpt": pytest.approx(0.97),
            "non_target_x": pytest.approx((0.0111 + 0.5) / 2),
            "non_target_pt": pytest.approx(0.35),
            "non_target_rpt": pytest.approx(0.255),
            "most_changed": "cow",
            "most_changed_x": pytest.approx(0.5),
            "most_changed_pt": pytest.approx(0.6),
            "most_changed_rpt": pytest.approx(0.5),
        }
        # The dog of the slides: hardly changed at x_pt, but at x_rpt.
        assert second["most_changed"] == "dog"
        assert [second[f"most_changed_{at}"] for at in ("x", "pt", "rpt")] == pytest.approx([0.0111, 0.0022, 0.6469])

    def test_another_target_is_no_other_class(self, run) -> None:
        row = probability_table(SCORES, run[1:], class_names=NAMES, target=1)[0]
        assert row["target_rpt"] == pytest.approx(0.6469) and row["most_changed"] == "sheep"
        assert row["non_target_x"] == pytest.approx((0.9711 + 0.5) / 2)

    def test_its_values_are_plain(self, run) -> None:
        row = probability_table(SCORES.astype(np.float32), run, class_names=NAMES, target=2)[0]
        assert {type(value) for value in row.values()} == {int, float, str}

    def test_without_other_classes_theirs_are_none(self) -> None:
        row = probability_table(SCORES[:1], [state(3, [0.1], [0.2])], class_names=("sheep",), target=0)[0]
        assert [row[key] for key in ("target_x", "target_pt", "target_rpt")] == pytest.approx([0.9711, 0.1, 0.2])
        assert all(row[key] is None for key in row if key.startswith(("non_target", "most_changed")))

    @pytest.mark.parametrize("target", [-1, 3])
    def test_a_target_that_is_no_class_is_refused(self, run, target) -> None:
        with pytest.raises(ValueError, match=f"target is {target} and there are 3 class names"):
            probability_table(SCORES, run, class_names=NAMES, target=target)

    def test_scores_of_other_classes_are_refused(self, run) -> None:
        with pytest.raises(ValueError, match="there are 3 class names and scores of shapes"):
            probability_table(SCORES[:2], run, class_names=NAMES, target=0)


class TestFigure:
    def figure(self, run: list[MaskIteration], names: tuple[str, ...] = NAMES, scores: np.ndarray = SCORES):
        return mask_iterations_figure(
            np.linspace(-0.1, 1.1, 48).reshape(6, 8), scores, run, class_names=names, target=0, title="sheep: 0.97"
        )

    def test_each_iteration_has_a_row_with_its_images(self, run) -> None:
        panels = [axes for axes in self.figure(run).axes if axes.images]
        assert len(panels) == 6
        for row, of in zip((panels[:3], panels[3:]), run):
            image, removed = row[0].images
            assert image.get_array().min() == 0 and image.get_array().max() == 1
            assert np.allclose(removed.get_array(), 1 - of.mask) and removed.get_clim() == (0, 1)
            assert np.array_equal(row[1].images[0].get_array(), of.perturbed)
            assert np.array_equal(row[2].images[0].get_array(), of.reversed)
            assert f"{of.iteration} steps" in [text.get_text() for text in row[0].texts]
        assert [panel.get_title() for panel in panels] == ["removed (1 - m) over x", "x_pt", "x_rpt", "", "", ""]

    def test_what_is_kept_stays_the_image(self, run) -> None:
        shown = state(1, [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], mask=1.0)
        removed = next(axes for axes in self.figure([shown]).axes if axes.images).images[1]
        assert np.array_equal(removed.get_alpha(), np.zeros((6, 8)))

    def test_each_row_has_the_table_of_its_scores(self, run) -> None:
        tables = [child for axes in self.figure(run).axes for child in axes.tables]
        cells = [{at: cell.get_text().get_text() for at, cell in table.get_celld().items()} for table in tables]
        assert len(cells) == 2
        assert [cells[1][row, 0] for row in (1, 2, 3)] == [
            "T: sheep",
            "NT: mean of the others",
            "NT, changes most: dog",
        ]
        assert [cells[1][0, column] for column in (1, 2, 3)] == ["x", "x_pt", "x_rpt"]
        assert [cells[1][1, column] for column in (1, 2, 3)] == ["97.1 %", "0.0 %", "90.0 %"]
        assert [cells[1][3, column] for column in (1, 2, 3)] == ["1.1 %", "0.2 %", "64.7 %"]

    @pytest.mark.parametrize("name", ["Pleural_Thickening", "Enlarged Cardiomediastinum", "opacity of the lung " * 5])
    def test_a_long_name_does_not_run_into_the_numbers(self, run, name) -> None:
        figure = self.figure(run, (name, name, name))
        figure.draw_without_rendering()
        for table in (child for axes in figure.axes for child in axes.tables):
            for row in (1, 2, 3):
                label, number = (table[row, column].get_text().get_window_extent() for column in (0, 1))
                assert label.x1 < number.x0

    def test_it_is_drawn_and_says_what_it_is_not(self, run) -> None:
        figure = self.figure(run)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        picture = np.asarray(Image.open(buffer).convert("RGB"))
        assert picture.shape[0] > 600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
        assert "nothing here is certified" in figure.get_supxlabel() and "NOT FOR DIAGNOSIS" in figure.get_supxlabel()
        assert figure.get_suptitle() == "sheep: 0.97"

    def test_one_class_alone_has_no_others(self) -> None:
        figure = self.figure([state(2, [0.1], [0.2])], ("sheep",), SCORES[:1])
        (table,) = (child for axes in figure.axes for child in axes.tables)
        assert [table[2, column].get_text().get_text() for column in range(4)] == ["NT: mean of the others", *"---"]
        assert max(row for row, _ in table.get_celld()) == 2

    def test_nothing_to_show_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no iteration to show"):
            self.figure([])


def test_it_needs_no_torch() -> None:
    tree = ast.parse(Path(mask_iterations.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"torch", "monai", "monai_robustinterp"}
