"""From files to images: DICOM, NIfTI, PNG, JPEG and masks."""
