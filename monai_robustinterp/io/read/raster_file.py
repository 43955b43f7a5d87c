"""PNG and JPEG files of a grayscale radiograph."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.display_fit import BITS_DEPEND_ON_CONTENT, UsedRange, bits_warning, range_in_use
from monai_robustinterp.io.read.gray_channels import NO_CHANNEL_SLOPE, gray_of_channels
from monai_robustinterp.io.read.gray_levels import gray_levels
from monai_robustinterp.io.read.source_image import (
    LOOKUP_TABLE,
    DisplaySlope,
    SourceImage,
    affine_slope,
    check_size,
    has_jpeg_end,
    no_slope,
)

_ORIENTATION_TAG = 0x0112
_PNG_BIT_DEPTH = 24  # offset of what Pillow does not say: it reads 16-bit color as 8 bits
_ROTATED = "The EXIF orientation asks for a rotation; it is not applied, rows and columns are as stored"
_PNG_END = b"IEND\xaeB`\x82"


def read_raster(content: bytes, *, png: bool) -> SourceImage:
    """Read one PNG or JPEG file.

    Args:
        content: of the file.
        png: whether it is a PNG.

    Returns:
        The pixels as they are stored, for JPEG as they are decoded; EXIF rotation is reported, not applied. Equal
        channels count as one pixel value, and a palette is a lookup table.

    Raises:
        InputRefused: if the file is damaged, animated, transparent, or in color.
    """
    try:
        if not (_PNG_END in content if png else has_jpeg_end(content)):
            raise EOFError("no end marker")
        # The classes themselves, not Image.open: its limit on pixels would fire before ours.
        with (PngImageFile if png else JpegImageFile)(io.BytesIO(content)) as image:
            check_size(image.height, image.width)
            frames = getattr(image, "n_frames", 1)
            if frames != 1:
                raise InputRefused(f"The file has {frames} frames; one radiograph has one. Extract the frame.")
            mode, sample_bits = image.mode, content[_PNG_BIT_DEPTH] if png else 8
            stored, step, unequal = _gray_pixels(image, sample_bits)
            rotated = image.getexif().get(_ORIENTATION_TAG, 1) != 1
    except InputRefused:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others for damaged files
        raise InputRefused(
            f"The image file could not be decoded ({type(error).__name__}); it must be a complete PNG or JPEG. "
            "The file is damaged: copy or export it again."
        ) from None
    bits = 8 * stored.dtype.itemsize
    levels = gray_levels(stored)
    used = range_in_use(levels.values, levels.counts, bits=bits, signed=False)
    warnings = (
        unequal,
        _ROTATED if rotated else "",
        bits_warning(used.bits, bits) if used.bits != bits else "",
    )
    return SourceImage(
        stored_pixels=stored,
        values=stored,
        display_min=0.0,
        display_max=used.high,
        display_source=f"full {bits}-bit range" if used.bits == bits else f"{used.bits}-bit range in use",
        intensity_path=("stored values", *step),
        slope=_slope(used, bits, sample_bits, palette=mode == "P", unequal=bool(unequal)),
        file_format="image",
        lossy_compression="" if png else "JPEG",
        warnings=tuple(filter(None, warnings)),
    )


def _slope(used: UsedRange, bits: int, sample_bits: int, *, palette: bool, unequal: bool) -> DisplaySlope:
    if palette:
        return no_slope(LOOKUP_TABLE)
    if unequal:
        return no_slope(NO_CHANNEL_SLOPE)
    if used.bits != bits:
        return no_slope(BITS_DEPEND_ON_CONTENT)
    # Pillow spreads samples of fewer than 8 bits over 0 to 255.
    return affine_slope(used.high / (2**sample_bits - 1), 0.0, used.high, margin=used.margin)


def _gray_pixels(image: ImageFile, bit_depth: int) -> tuple[npt.NDArray[Any], tuple[str, ...], str]:
    """Pixels as uint8 or uint16, shape [H, W], the step that was needed, and a warning of unequal channels."""
    plain = "transparency" not in image.info
    if image.mode == "L" and plain:
        return np.array(image), (), ""
    if image.mode.startswith("I;16") and plain:
        return np.array(image).astype(np.uint16), (), ""
    if bit_depth > 8 or image.mode not in ("L", "LA", "P", "RGB", "RGBA"):
        raise InputRefused(
            f"The image has mode {image.mode} with {bit_depth} bits a sample; the reader takes 8- or 16-bit grayscale, "
            "or 8-bit color files whose channels are equal. Export it as grayscale."
        )
    pixels = np.asarray(image.convert("RGBA"))
    if (pixels[..., 3] != 255).any():
        raise InputRefused("The image is partly transparent; every pixel must be opaque. Export it without alpha.")
    gray = gray_of_channels(pixels[..., :3])
    equal = "nearly equal" if gray.warning else "equal"
    return gray.pixels, (f"{equal} channels of {image.mode} read as gray",), gray.warning
