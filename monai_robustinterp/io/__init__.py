"""Files in and out: the only place that knows pydicom, nibabel and highdicom."""

from monai_robustinterp.io.read.reader import ChestXRayReader as ChestXRayReader
from monai_robustinterp.io.votes_npz import load_votes as load_votes
from monai_robustinterp.io.votes_npz import save_votes as save_votes
from monai_robustinterp.io.write.capture_writer import SecondaryCaptureWriter as SecondaryCaptureWriter
from monai_robustinterp.io.write.options import OutputOptions as OutputOptions
from monai_robustinterp.io.write.result import save as save
