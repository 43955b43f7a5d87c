"""What every derived DICOM object takes from its source."""
