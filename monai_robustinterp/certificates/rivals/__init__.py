"""What the literature certifies, on the same votes: to compare with, each at the level that it really holds at."""

from monai_robustinterp.certificates.rivals.anani2025 import AnaniCertificate as AnaniCertificate
from monai_robustinterp.certificates.rivals.anani2025 import anani_certificate as anani_certificate
from monai_robustinterp.certificates.rivals.levine2019 import hoeffding_error as hoeffding_error
from monai_robustinterp.certificates.rivals.levine2019 import levine_overlap as levine_overlap
from monai_robustinterp.certificates.rivals.levine2019 import levine_radius as levine_radius
from monai_robustinterp.certificates.rivals.levine2019 import relaxed_scores as relaxed_scores
from monai_robustinterp.certificates.rivals.patent_closed_form import patent_radius as patent_radius
from monai_robustinterp.certificates.rivals.scoring_vector import (
    scoring_neyman_pearson_radius as scoring_neyman_pearson_radius,
)
from monai_robustinterp.certificates.rivals.scoring_vector import scoring_renyi_radius as scoring_renyi_radius
