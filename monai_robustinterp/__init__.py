"""Certifiably robust saliency for medical images, as a plugin for MONAI.

Importing the package registers :class:`SecondaryCaptureWriter` with MONAI for ``.dcm`` files.
"""

# First of all: what follows imports for seconds, and a signal meanwhile must end the command as ever.
from monai_robustinterp import _startup as _startup

# isort: split
from monai.data import register_writer

from monai_robustinterp import bundle as bundle
from monai_robustinterp._version import __version__ as __version__
from monai_robustinterp.bundle import SaliencyBundle as SaliencyBundle
from monai_robustinterp.bundle import load_bundle as load_bundle
from monai_robustinterp.certificates import Certificate as Certificate
from monai_robustinterp.certificates import CertifiedResult as CertifiedResult
from monai_robustinterp.certificates import Status as Status
from monai_robustinterp.certificates import certify_votes as certify_votes
from monai_robustinterp.certificates import neyman_pearson_radius as neyman_pearson_radius
from monai_robustinterp.certificates import renyi_radius as renyi_radius
from monai_robustinterp.errors import InputRefused as InputRefused
from monai_robustinterp.inferers import CertifiedSaliencyInferer as CertifiedSaliencyInferer
from monai_robustinterp.interpreters import INTERPRETERS as INTERPRETERS
from monai_robustinterp.io import ChestXRayReader as ChestXRayReader
from monai_robustinterp.io import OutputOptions as OutputOptions
from monai_robustinterp.io import SecondaryCaptureWriter as SecondaryCaptureWriter
from monai_robustinterp.io import load_votes as load_votes
from monai_robustinterp.io import save as save
from monai_robustinterp.networks import GrayscaleInput as GrayscaleInput
from monai_robustinterp.run.cohort import certify_cohort as certify_cohort
from monai_robustinterp.run.pipeline import certify_image as certify_image
from monai_robustinterp.smoothing.input_check import InputStatistics as InputStatistics
from monai_robustinterp.transforms import CertifiedSaliency as CertifiedSaliency
from monai_robustinterp.transforms import CertifiedSaliencyd as CertifiedSaliencyd
from monai_robustinterp.types import SmoothingSpec as SmoothingSpec
from monai_robustinterp.types import VoteMap as VoteMap

register_writer("dcm", SecondaryCaptureWriter)
