"""What a training run writes while it runs: a table of its epochs, and their curves as a picture."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.utils.enums import CommonKeys

from monai_robustinterp.files import atomic_write

logger = logging.getLogger(__name__)


class LearningCurve:
    """A handler of a MONAI trainer: after each epoch the loss and the validation figures, at the end ``curves.png``.

    Args:
        validate: figures of the moment by name, such as :func:`~monai_robustinterp.training.areas_under_curve`.
        folder: gets ``history.csv`` (one row an epoch, there after each epoch) and ``curves.png``.
    """

    def __init__(self, validate: Callable[[], Mapping[str, float]], folder: str | Path) -> None:
        self.validate, self.folder = validate, Path(folder)
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._start = 0.0

    def attach(self, engine: Engine) -> None:
        """Registers the handler with a trainer."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, _engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._start = time.perf_counter()

    def _iteration_completed(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self._losses.append(output[CommonKeys.LOSS].item())

    def _epoch_completed(self, engine: Engine) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        elapsed_s = time.perf_counter() - self._start
        self.rows.append({"epoch": engine.state.epoch, "elapsed_s": elapsed_s, "loss": loss, **self.validate()})
        logger.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in self.rows[-1].items()))
        atomic_write(self.folder / "history.csv", self._write_history, overwrite=True)

    def _write_history(self, file: BinaryIO) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(self.rows[-1]))
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)
        file.write(text.getvalue().encode())

    def _completed(self, _engine: Engine) -> None:
        figure = learning_curve_figure(self.rows)
        atomic_write(self.folder / "curves.png", lambda file: figure.savefig(file, format="png"), overwrite=True)


def learning_curve_figure(rows: list[dict[str, float]]) -> Figure:
    """Loss on the left, validation figures on the right, over epochs.

    Args:
        rows: one dictionary an epoch: ``epoch``, ``elapsed_s``, ``loss`` and the validation figures.
    """
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 3.5), dpi=120, layout="constrained")
        left, right = figure.subplots(1, 2)
        epochs = [row["epoch"] for row in rows]
        left.plot(epochs, [row["loss"] for row in rows], color="black", marker=".")
        left.set(xlabel="epoch", ylabel="training loss (with augmentation)")
        names = [name for name in rows[0] if name not in ("epoch", "elapsed_s", "loss")]
        right.set_prop_cycle(color=matplotlib.colormaps["tab20"](range(max(1, len(names)))))
        for name in names:
            right.plot(epochs, [row[name] for row in rows], marker=".", label=name)
        right.set(xlabel="epoch", ylabel="validation AUC (weights averaged)")
        right.legend(title="group, sigma", fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
