"""One process's part of a table: the maps and the rows of a film, kept or new."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.errors import refusal_reason
from monai_robustinterp.files import file_sha256
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.run.inputs import refuse_irregular
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.study.contenders import Contender
from monai_robustinterp.study.dataset import Film
from monai_robustinterp.study.judged import Judged, case_of, judge
from monai_robustinterp.study.maps import Facts, take_map
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.report import write_json
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.store import kept_arrays, left_json
from monai_robustinterp.study.workplace import Map, Workplace

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """What became of a film's maps.

    Attributes:
        digest: SHA-256 of the film's file; empty if it cannot be read.
        reasons: of each contender, in order, why it has no map; empty if it has one.
    """

    digest: str
    reasons: tuple[str, ...]


class Bench:
    """What takes maps and judges them, in one process.

    Args:
        plan: of the table.
        output: folder of the results; parts are in ``parts/``.
    """

    def __init__(self, plan: TablePlan, output: Path) -> None:
        self.plan, self.parts = plan, output / PARTS
        self.place = Workplace(plan.bundle, plan.overrides, seed=plan.seed)
        self._shared = self._shared_settings()

    def maps(self, number: int) -> Refused:
        """Takes all maps of a film, by its number."""
        film = self.plan.films[number]
        try:
            digest = _digest(film.path)
            if film.lungs is not None:
                _digest(film.lungs)
        except (OSError, ValueError) as error:
            return Refused(digest="", reasons=(refusal_reason(error),) * len(self.plan.contenders))
        return Refused(digest=digest, reasons=tuple(self._refusal(film, one, digest) for one in self.plan.contenders))

    def rows(self, number: int, taken: Sequence[Refused]) -> list[Row]:
        """The rows of a film, when all films have their maps.

        Args:
            number: of the film.
            taken: of all films.

        Returns:
            Of each contender: ``film`` (its number, from 0), ``patient`` (the same), ``present``, ``name``, ``kind``,
            ``label``, ``settings``, ``refused`` (a sentence, or empty), and if it has a map the facts of
            :func:`~monai_robustinterp.study.maps.take_map` and ``metrics`` by name
            (:data:`~monai_robustinterp.study.judged.Judged`).
        """
        film, digest = self.plan.films[number], taken[number].digest
        patients = list(dict.fromkeys(film.patient for film in self.plan.films))
        earlier = [other for other in range(number) if digest and taken[other].digest == digest]
        rows = []
        for index, contender in enumerate(self.plan.contenders):
            row: Row = {
                "film": number,
                "patient": patients.index(film.patient),
                "present": film.present,
                "name": contender.name,
                "kind": contender.kind,
                "label": contender.label,
                "settings": dict(contender.settings),
                "refused": f"the same file as film {earlier[0]}." if earlier else taken[number].reasons[index],
            }
            if not row["refused"]:
                try:
                    row |= self._judged(number, contender, _with_maps(number, taken, index))
                except Exception as error:
                    row["refused"] = refusal_reason(error)
            rows.append(row)
        return rows

    def _refusal(self, film: Film, contender: Contender, digest: str) -> str:
        try:
            self._map(film, contender, digest)
        except Exception as error:
            return refusal_reason(error)
        return ""

    def _map(self, film: Film, contender: Contender, digest: str) -> tuple[Map, Facts]:
        """The map and its facts, kept or new."""

        def take() -> dict[str, Any]:
            saliency, facts = take_map(
                self.place, self.place.film(film), contender, n_samples=self.plan.copies_of(contender)
            )
            return {"saliency": saliency, "facts": json.dumps(facts)}

        kept = kept_arrays(self._part(contender, digest, "npz"), self._settings(film, contender, digest), take)
        return kept["saliency"].astype(np.float64), json.loads(str(kept["facts"]))

    def _judged(self, number: int, contender: Contender, digests: dict[int, str]) -> Row:
        """Facts and metrics of a film's map; ``digests`` has it and those that it is compared with."""
        film, digest = self.plan.films[number], digests[number]
        saliency, facts = self._map(film, contender, digest)
        beside = [one for one in map(self.place.companion, self.plan.beside(film)) if one is not None]
        settings = {
            **self._settings(film, contender, digest),
            "marks": [dataclasses.astuple(box) for box in film.boxes] + [list(one) for one in film.polygons],
            "others": [_explained(self.plan.films[i], digests[i]) for i in digests if i != number],
            "beside": [image_sha256(other) for other in beside],
            "explain_samples": self.plan.explain_copies_of(contender),
        }
        path = self._part(contender, digest, "json")
        known: dict[str, Judged] = left_json(path, settings) or {}
        if any(known.get(metric.name, {}).get("settings") != metric.settings for metric in self.plan.metrics):
            case = case_of(
                self.place,
                self.place.film(film),
                contender,
                saliency,
                others=[self._map(self.plan.films[i], contender, digests[i])[0] for i in digests if i != number],
                absent=beside,
                n_samples=self.plan.explain_copies_of(contender),
            )
            known = judge(
                case, self.plan.metrics, known, keep=lambda part: write_json(path, {"settings": settings, "part": part})
            )
        return facts | {"metrics": {metric.name: known[metric.name] for metric in self.plan.metrics}}

    def _part(self, contender: Contender, digest: str, suffix: str) -> Path:
        return self.parts / f"{digest[:16]}-{contender.slug}.{suffix}"

    def _settings(self, film: Film, contender: Contender, digest: str) -> dict[str, Any]:
        """All that a map depends on."""
        return {
            **self._shared,
            "contender": dataclasses.asdict(contender),
            **_explained(film, digest),
            "copies": self.plan.copies_of(contender),
        }

    def _shared_settings(self) -> dict[str, Any]:
        """What all maps depend on: versions, and the bundle with its denoiser and its segmenter of the lungs."""
        base = self.place.base
        return {
            **versions(),
            "bundle": base.files,
            "overrides": {key: str(value) for key, value in self.plan.overrides.items()},
            "spec": dataclasses.asdict(base.inferer.recipe.spec(0)),
            "segmenter": base.lungs.settings if base.lungs is not None else None,
            "seed": self.plan.seed,
        }


def _explained(film: Film, digest: str) -> dict[str, Any]:
    """What a map depends on of its film."""
    lungs = None if film.lungs is None else file_sha256(film.lungs)
    return {"film_sha256": digest, "target": film.target, "lungs_sha256": lungs}


def _digest(path: Path) -> str:
    refuse_irregular(path)
    return file_sha256(path)


def _with_maps(number: int, taken: Sequence[Refused], contender: int) -> dict[int, str]:
    """Hashes by number of a film and of all others that have the contender's map, one of those with the same file."""
    found = {number: taken[number].digest}
    for other, one in enumerate(taken):
        if not one.reasons[contender] and one.digest not in found.values():
            found[other] = one.digest
    return found
