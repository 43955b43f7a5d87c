"""The empirical counterpart of the certificates: an l2 top-k attack on the plain and on the smoothed map."""

from monai_robustinterp.attacks.certificate import attack_certificate as attack_certificate
from monai_robustinterp.attacks.judge import Verdict as Verdict
from monai_robustinterp.attacks.judge import judge as judge
from monai_robustinterp.attacks.plain import attack_plain as attack_plain
from monai_robustinterp.attacks.result import AttackBudget as AttackBudget
from monai_robustinterp.attacks.result import AttackResult as AttackResult
from monai_robustinterp.attacks.smoothed import attack_smoothed as attack_smoothed
