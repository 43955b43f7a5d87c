"""Label certificate of Cohen, Rosenfeld & Kolter (2019, theorem 1) from the passes that took the votes (T13).

Cohen's algorithm spends a first sample n0 on choosing the class, because a bound on the winner of a sample is no bound
when it comes from that very sample. Here nothing is chosen: the decision is the network's own on the clean image
(found or not), fixed before any noise is drawn. Given the image, the number of copies that agree with it is Bin(m, p)
with one fixed p, and the one-sided Clopper-Pearson bound on p fails with probability at most eta_label, whatever p is.
If most copies disagree the bound is below 1/2 and nothing is claimed: the opposite decision is not certified instead.
"""

from __future__ import annotations

import math

from scipy.special import ndtri

from monai_robustinterp.certificates.certificate import LabelAndMap, LabelCertificate
from monai_robustinterp.certificates.confidence import clopper_pearson_bounds
from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_down, round_up, sum_up
from monai_robustinterp.types import VoteMap


def certify_label(votes: VoteMap, sigma: float, *, eta_label: float, looks: int = 1) -> LabelCertificate:
    """Certifies the clean decision: L = sigma Phi^-1(lower bound) where the bound exceeds 1/2 (T13).

    With probability >= 1 - eta_label over the noise, the classifier smoothed by the same noise decides on the target as
    the network does on the clean image, at every input of l2 distance below L at once.

    Args:
        votes: the copies; the clean decision and the copies that find the target are read.
        sigma: standard deviation of the noise that made them.
        eta_label: failure probability in (0, 1).
        looks: number of sample sizes, fixed beforehand, at which sampling was allowed to stop; eta is split over them.

    Raises:
        ValueError: if sigma or eta_label is out of range, or more copies find the target than there are.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}; it must be finite and > 0.")
    m = votes.n_samples
    agreeing = votes.found_copies if votes.decision else m - votes.found_copies
    lower = float(clopper_pearson_bounds(agreeing, m, level=eta_part(eta_label, looks)).lower)
    # Rounded down: the quantile is right to a few units in the last place.
    l2 = float(sigma * ndtri(lower)) * (1 - 1e-12) if lower > 0.5 else 0.0
    verb = "finds" if votes.decision else "does not find"
    sentence = (
        f"certified (population level): with probability >= 1 - {round_up(eta_label)} over the noise, the smoothed "
        f"classifier {verb} the explained finding, as on the clean image, at every input of l2 distance below "
        f"{round_down(l2, 6)}."
        if l2 > 0
        else "abstain: the copies do not support the clean decision, so nothing is claimed about it."
    )
    return LabelCertificate(
        decision=votes.decision,
        agreeing_copies=agreeing,
        n_samples=m,
        sigma=sigma,
        eta=eta_label,
        share_lower=lower,
        l2=l2,
        sentence=sentence,
    )


def label_and_map(label: LabelCertificate, l_max: float, *, eta_map: float) -> LabelAndMap:
    """Label and map both hold below min(L_label, L_map), with probability >= 1 - (eta_label + eta_map) (T14).

    Each claim fails with probability at most its own eta, whatever their dependence. The split must be fixed before the
    noise: to state eta for both, choose two numbers that sum to it, not the ones that give the largest radius.

    Args:
        label: the label certificate at eta_label.
        l_max: the map's certified radius, from the same copies; 0 is no claim.
        eta_map: its failure probability.
    """
    eta = sum_up(label.eta, eta_map)
    # With etas that sum to 1 there is nothing left to claim.
    l2 = min(label.l2, l_max) if eta < 1 else 0.0
    sentence = (
        f"certified (population level): with probability >= 1 - {round_up(eta)} over the noise, label and map both "
        f"hold at every input of l2 distance below {round_down(l2, 6)}."
        if l2 > 0
        else "abstain: label or map has no radius, or their etas leave no confidence; nothing is claimed about both."
    )
    return LabelAndMap(l2=l2, eta=min(eta, 1.0), sentence=sentence)
