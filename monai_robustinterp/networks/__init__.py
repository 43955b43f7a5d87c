"""Networks that can be certified on one gray channel: adapters, and one file for each checkpoint format."""

from monai_robustinterp.networks.callable_classifier import CallableClassifier as CallableClassifier
from monai_robustinterp.networks.denoised import Denoised as Denoised
from monai_robustinterp.networks.denoised import Denoiser as Denoiser
from monai_robustinterp.networks.densenet121 import densenet121_state_dict as densenet121_state_dict
from monai_robustinterp.networks.densenet121 import load_densenet121 as load_densenet121
from monai_robustinterp.networks.evidence import EvidenceDenseNet as EvidenceDenseNet
from monai_robustinterp.networks.findings_evidence import FindingsEvidenceDenseNet as FindingsEvidenceDenseNet
from monai_robustinterp.networks.first_output import FirstOutput as FirstOutput
from monai_robustinterp.networks.grayscale import GrayscaleInput as GrayscaleInput
from monai_robustinterp.networks.lung_fields import LungField as LungField
from monai_robustinterp.networks.lung_fields import LungFields as LungFields
from monai_robustinterp.networks.unet_denoiser import UNetDenoiser as UNetDenoiser
