"""Certificates: pure numpy and scipy, arrays in, numbers out. T, L, D: theorems, lemmas, definitions of docs/theory."""

from monai_robustinterp.certificates.ceiling import ceiling as ceiling
from monai_robustinterp.certificates.certificate import Certificate as Certificate
from monai_robustinterp.certificates.certificate import CertifiedResult as CertifiedResult
from monai_robustinterp.certificates.certificate import LabelAndMap as LabelAndMap
from monai_robustinterp.certificates.certificate import LabelCertificate as LabelCertificate
from monai_robustinterp.certificates.certificate import Radius as Radius
from monai_robustinterp.certificates.certificate import Status as Status
from monai_robustinterp.certificates.certify import certify_votes as certify_votes
from monai_robustinterp.certificates.confidence import mass_weighted_bounds as mass_weighted_bounds
from monai_robustinterp.certificates.findings import CertifiedFindings as CertifiedFindings
from monai_robustinterp.certificates.label import certify_label as certify_label
from monai_robustinterp.certificates.label import label_and_map as label_and_map
from monai_robustinterp.certificates.neyman_pearson import neyman_pearson_radius as neyman_pearson_radius
from monai_robustinterp.certificates.overlap import swap_count as swap_count
from monai_robustinterp.certificates.record import Claim as Claim
from monai_robustinterp.certificates.record import Origin as Origin
from monai_robustinterp.certificates.record import certified_result as certified_result
from monai_robustinterp.certificates.renyi import renyi_epsilon as renyi_epsilon
from monai_robustinterp.certificates.renyi import renyi_radius as renyi_radius
from monai_robustinterp.certificates.serialize import certificate_from_json as certificate_from_json
from monai_robustinterp.certificates.serialize import certificate_to_json as certificate_to_json
from monai_robustinterp.certificates.units import RadiusUnits as RadiusUnits
from monai_robustinterp.certificates.units import radius_units as radius_units
