"""DICOM files of plain pixels, with a name in their headers that must be seen nowhere."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

PATIENT = "Doe^Joan"


def write_dicom(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    """Gray [H, W], several frames [F, H, W], or colours [H, W, 3] uint8; tags by keyword."""
    pydicom = import_module("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.PatientName, file.PatientID = PATIENT, PATIENT
    file.InstitutionName = PATIENT
    colours = pixels.ndim == 3 and pixels.shape[-1] == 3
    shape = pixels.shape[:2] if colours else pixels.shape[-2:]
    file.Rows, file.Columns = shape
    file.SamplesPerPixel = 3 if colours else 1
    if colours:
        file.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path
