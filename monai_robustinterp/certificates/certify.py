"""From votes to a certificate: a pure function, so stored votes are certified again at another beta without a GPU."""

from __future__ import annotations

from monai_robustinterp.certificates.ceiling import ceiling
from monai_robustinterp.certificates.certificate import Certificate, largest_population
from monai_robustinterp.certificates.confidence import allowed_wrong_bounds
from monai_robustinterp.certificates.label import certify_label, label_and_map
from monai_robustinterp.certificates.map_radii import ABSTAIN, map_radii
from monai_robustinterp.certificates.overlap import BetaLike, required_overlap, swap_count
from monai_robustinterp.certificates.units import round_down, round_up
from monai_robustinterp.types import SmoothingSpec, VoteMap

AT_THE_CEILING = (
    "The radius is the ceiling of these settings: a map that ignores the image has the same, so check that this one "
    "does not."
)
ALL_CLASSES = "The map is one of several classes together, not of this finding: another finding has the same map."


def assumptions(spec: SmoothingSpec) -> str:
    """What a certificate is about, in words for a person."""
    shape = ""
    if spec.brightness or spec.tilt:
        shape = f", and beside it noise of brightness ({spec.brightness:g}) and of tilt ({spec.tilt:g})"
    denoised = (
        "Each copy went through a denoiser before the network; the clean image did not. " if spec.denoiser else ""
    )
    precision = "" if spec.precision == "float32" else f" ({spec.precision})"
    return (
        "The certificate is about the vote map of the smoothed interpretation, not about an ordinary saliency map, and "
        "says nothing about faithfulness. It holds for perturbations of the network's single-channel input on its own "
        f"grid, for this network in this precision{precision}, for the stored target class. The noise is white of "
        f"standard deviation {spec.sigma:g}{shape}; a radius in standard deviations of the noise holds for every "
        "change that is shorter in them, and so for all in the l2 ball. "
        f"{denoised}The theorem is about real Gaussian noise; float32 and a counter-based generator approximate it."
    )


def certify_votes(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> Certificate:
    """Certifies a vote map at the plug-in and population levels, and the decision from the same copies.

    Population: with probability >= 1 - eta over the noise, the reported top-k set and the top-k of the expected vote
    map of any input within l2 distance ``l_max`` share at least ceil(beta k) cells (docs/theory/bounds.md, T7).
    Eta is split evenly over the spec's looks, and in halves between cells and pairs where the votes hold pair counts.
    The decision has an eta of the same size for itself.

    Args:
        votes: the counts.
        spec: how they were made; sigma and top_k are read.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image, in (0, 1).

    Raises:
        ValueError: if votes and spec do not belong together, or beta, eta or k are out of range.
    """
    votes.check_spec(spec)
    if not (0 < eta < 1 and 1 - eta < 1):
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001, and 1 - eta must be below 1 in floats.")
    n_cells = votes.counts.size
    s = swap_count(spec.top_k, beta, n_cells)
    required = required_overlap(spec.top_k, beta)
    radii = map_radii(votes, spec, beta=beta, eta=eta)
    l_max, highest = largest_population(radii), ceiling(votes, spec, beta=beta, eta=eta)
    label = certify_label(votes, spec.sigma, eta_label=eta, looks=max(1, len(spec.looks)))
    return Certificate(
        beta=str(beta),
        eta=eta,
        swap_count=s,
        allowed_wrong_bounds=allowed_wrong_bounds(s),
        overlap=required,
        n_cells=n_cells,
        n_pixels=votes.input_shape[0] * votes.input_shape[1],
        radii=radii,
        ceiling=highest,
        map_sentence=_map_sentence(l_max, required, n_cells, spec, eta),
        label=label,
        label_and_map=label_and_map(label, l_max, eta_map=eta),
        notes=notes_of(votes, spec, l_max, highest),
        spec=spec,
    )


def _map_sentence(l_max: float, required: int, n_cells: int, spec: SmoothingSpec, eta: float) -> str:
    if l_max == 0:
        return f"{ABSTAIN}."
    k = spec.top_k
    return (
        f"certified (population level): with probability >= 1 - {round_up(eta)} over the noise, the reported top-{k} "
        f"cells and the top-{k} of the expected vote map of any input of l2 distance below {round_down(l_max, 6)} "
        f"share at least {required} cells; two random sets of {k} of {n_cells} cells share {k**2 / n_cells:.1f} on "
        "average."
    )


def notes_of(votes: VoteMap, spec: SmoothingSpec, l_max: float, highest: float) -> tuple[str, ...]:
    """Further sentences of a record: a doubtful input, ties, constant maps, a radius at the ceiling."""
    notes = list(votes.input_warnings)
    if not spec.explains_target:
        notes.append(ALL_CLASSES)
    if 0 < highest <= l_max:
        notes.append(AT_THE_CEILING)
    if votes.tied_copies:
        notes.append(
            f"{votes.tied_copies} of {votes.n_samples} copies had a tie at the k-th value, broken by a random order."
        )
    if votes.constant_copies:
        notes.append(
            f"{votes.constant_copies} of {votes.n_samples} copies had a constant map (all-zero, say): their votes are "
            "random cells, and the explanation carries no information from them."
        )
    return tuple(notes)
