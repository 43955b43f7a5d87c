"""What the cells of a table share in one process: bundles by contender, and one prepared film at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.bundle import SaliencyBundle, load_bundle
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.geometry.lungs import LungMask, Lungs
from monai_robustinterp.geometry.marks import Marks
from monai_robustinterp.geometry.regions import RegionSource, region_on_cells
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.run.pipeline import Prepared, measured_changes, prepare
from monai_robustinterp.study.contenders import Contender
from monai_robustinterp.study.dataset import Film

Map = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmAtWork:
    """A film as the network gets it.

    Attributes:
        film: its row.
        ready: read and preprocessed.
        clean: the network's input, float [1, H, W].
        target: index of the explained logit.
        logits: of the clean image, float32 [classes].
        marks: ``boxes``, ``polygons`` and ``lungs`` on the network's grid, bool [H, W], or why there are none.
    """

    film: Film
    ready: Prepared
    clean: torch.Tensor
    target: int
    logits: npt.NDArray[np.float32]
    marks: Mapping[str, Mask | str]

    def mask(self, name: str) -> Mask | None:
        """One of the marks; None if there is none."""
        found = self.marks[name]
        return None if isinstance(found, str) else found


class Workplace:
    """Bundles and films of a table, loaded when they are first needed.

    Args:
        bundle: name or folder of the classifier's bundle; None takes the default one.
        overrides: of its configuration.
        seed: of the noise.
    """

    def __init__(self, bundle: str | None, overrides: Mapping[str, Any], *, seed: int) -> None:
        self._name, self._overrides = bundle, {**overrides, "seed": seed}
        self.seed = seed
        self._bundles: dict[tuple[str, str], SaliencyBundle] = {}
        self._film: FilmAtWork | None = None
        self._companions: dict[Film, torch.Tensor | None] = {}
        self._changes: tuple[FilmAtWork, tuple[MeasuredChange, ...]] | None = None
        self.base = load_bundle(bundle, self._overrides)

    def bundle(self, contender: Contender) -> SaliencyBundle:
        """The bundle with the contender's interpreter; blind maps take it as it is."""
        if contender.kind == "blind":
            return self.base
        key = (contender.name, repr(sorted(contender.settings.items())))
        if key not in self._bundles:
            own = self.base.inferer.recipe.interpreter
            settings = own.settings if own.name == contender.name else {}
            chosen = {"interpreter_name": contender.name, "interpreter_settings": {**settings, **contender.settings}}
            self._bundles[key] = load_bundle(self._name, {**self._overrides, **chosen})
        return self._bundles[key]

    def film(self, film: Film) -> FilmAtWork:
        """The film, read once as long as no other one is asked for.

        Raises:
            InputRefused: if it is no image that can be explained, or has no such finding.
        """
        if self._film is None or self._film.film != film:
            self._film = self._read(film)
        return self._film

    def companion(self, film: Film) -> torch.Tensor | None:
        """The network's input [1, H, W] of a film that metrics put beside others; None if it cannot be explained."""
        if film not in self._companions:
            try:
                self._companions[film] = self._read(film).clean
            except Exception:  # MONAI wraps what a transform raises; the film's own row says why it cannot be explained
                self._companions[film] = None
        return self._companions[film]

    def changes(self, film: FilmAtWork) -> tuple[MeasuredChange, ...]:
        """The named changes of the film in standard deviations of the noise."""
        if self._changes is None or self._changes[0] is not film:
            noise = self.base.inferer.recipe.noise
            self._changes = film, measured_changes(film.ready, self.base, NAMED, noise=noise, seed=self.seed)
        return self._changes[1]

    def _read(self, film: Film) -> FilmAtWork:
        lungs = () if film.lungs is None else (LungMask(film.lungs),)
        ready = prepare(film.path, self.base, regions=lungs, changes=())
        recipe = self.base.inferer.recipe
        clean = ready.image.as_tensor().detach().to(torch.float32)
        recipe.check_input(clean)
        with explaining(self.base.network, recipe.precision):
            logits, target = recipe.clean_logits(clean, self.base.network)
        if film.target is not None:
            target = _index(film.target, recipe.findings.names, logits.shape[1])
        none = "the dataset marks none on this film."
        marks = {
            "boxes": self._drawn(Marks(boxes=film.boxes), ready) if film.boxes else none,
            "polygons": self._drawn(Marks(polygons=film.polygons), ready) if film.polygons else none,
            "lungs": self._lungs(ready),
        }
        return FilmAtWork(
            film=film,
            ready=ready,
            clean=clean,
            target=target,
            logits=logits[0].cpu().numpy(),
            marks=marks,
        )

    def _lungs(self, ready: Prepared) -> Mask | str:
        if ready.lungs is None:
            return str(ready.lungs_record.get("failure") or "no segmenter of the lungs was asked.")
        return self._drawn(Lungs("table", ready.lungs), ready)

    def _drawn(self, region: RegionSource, ready: Prepared) -> Mask | str:
        try:
            return region_on_cells(region, ready.image, self.base.preprocessing, cell_size=1).cells
        except InputRefused as error:
            return str(error)


def _index(target: str | int, names: Sequence[str], n_logits: int) -> int:
    """The explained logit of a film; the sentence does not repeat a text of the dataset."""
    if isinstance(target, int) and 0 <= target < n_logits:
        return target
    if isinstance(target, str) and target in names:
        return names.index(target)
    raise InputRefused(
        f"the film's target is no finding of the network; it must be an index below {n_logits} or one of {list(names)}."
        " Correct it in the dataset."
    )


Explain = Callable[[nn.Module, torch.Tensor], Map]
