"""The picture for a physician: the plain film, beside it the outlined one, below them a key and four captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from monai_robustinterp.visualize.color_map import colors_of, to_uint8
from monai_robustinterp.visualize.legend import drawable, font_of
from monai_robustinterp.visualize.outlined import GRAY_LINE_COLOR, LUNGS_LINE_COLOR, line_width, outlined
from monai_robustinterp.visualize.overlay import check_layers
from monai_robustinterp.visualize.physician import Captions, Kind

SMALLEST_SIDE = 1024
"""Least length of a film's longer side on the canvas: smaller films are enlarged."""

LARGEST_SIDE = 1536
"""Greatest length: larger films are reduced. The film itself is in the study, in all of its pixels."""

LEAST_WIDTH = 1440
"""Of the canvas, so that the captions can be read under a narrow film."""

BACKGROUND = (0, 0, 0)
TEXT_COLOR = (255, 255, 255)
CAUTION_COLOR = (240, 228, 66)
"""Of the caption that must not be missed: yellow, which every reader sees as bright."""

SHARE_LABEL = "share of noisy copies that vote for a square"
UNCERTAIN_LABEL = "squares (nothing is claimed)"
LUNGS_LABEL = "lungs"

_GAP = 16
_MARGIN = 24
_EMS_A_LINE = 35  # which hold 70 characters, so that short captions are no larger than long ones
_KEY_SHARE = 0.72  # of the captions' font
_LINE_HEIGHT = 1.3


def film_shape(rows: int, columns: int, pixel_aspect: float) -> tuple[int, int]:
    """Height and width of a film on the canvas, whose pixels are square.

    Args:
        rows: of the source.
        columns: of the source.
        pixel_aspect: height of a pixel of the source over its width.
    """
    height, width = rows * pixel_aspect, float(columns)
    longer = max(rows, columns)
    factor = min(max(longer, SMALLEST_SIDE), LARGEST_SIDE) / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def render_canvas(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    said: Captions,
    *,
    top_k: int,
    pixel_aspect: float = 1.0,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Draws the canvas.

    Args:
        gray: display values of the source, in [0, 1], float [H, W].
        share: vote share of each pixel's cell on the same grid, in [0, 1], float [H, W].
        top_k_mask: the reported cells on the same grid, bool [H, W].
        said: the words.
        top_k: number of the reported cells.
        pixel_aspect: height of a pixel of the source over its width.
        lungs: lung fields on the same grid, bool [H, W]; None for none.

    Returns:
        uint8 [H', W', 3]; each film has the shape of :func:`film_shape`.

    Raises:
        ValueError: if the shapes differ, or a value is NaN or outside [0, 1].
    """
    check_layers(gray, share, top_k_mask)
    height, width = film_shape(gray.shape[0], gray.shape[1], pixel_aspect)
    film = np.asarray(Image.fromarray(to_uint8(gray)).resize((width, height), Image.Resampling.BICUBIC))
    shares = np.asarray(
        Image.fromarray(np.asarray(share, np.float32)).resize((width, height), Image.Resampling.NEAREST)
    )
    lines = outlined(
        film.astype(np.float32) / 255,
        shares,
        _resized(top_k_mask, (height, width)),
        top_k=top_k,
        stable=said.stable,
        lungs=None if lungs is None else _resized(lungs, (height, width)),
    )
    across = max(2 * width + _GAP, LEAST_WIDTH)
    left = (across - 2 * width - _GAP) // 2
    films = np.zeros((height, across, 3), np.uint8)
    films[:, left : left + width] = film[..., None]
    films[:, left + width + _GAP : left + 2 * width + _GAP] = lines
    return np.concatenate([films, _words(across, said, lungs=lungs is not None, line=line_width(height, width))])


def _resized(mask: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    image = Image.fromarray(mask.astype(np.uint8)).resize(shape[::-1], Image.Resampling.NEAREST)
    resized: npt.NDArray[np.bool_] = np.asarray(image) > 0
    return resized


def _words(width: int, said: Captions, *, lungs: bool, line: float) -> npt.NDArray[np.uint8]:
    """The key and the captions, as large as the width allows."""
    size = _font_size([text for caption in said.paragraphs for text in caption], width - 2 * _MARGIN)
    font, row = font_of(size), round(_LINE_HEIGHT * size)
    key = _key(width, said, size=round(_KEY_SHARE * size), lungs=lungs, line=line)
    n_lines = sum(map(len, said.paragraphs))
    gaps = len(said.paragraphs) * (row // 4)
    image = Image.new("RGB", (width, key.height + n_lines * row + gaps + _MARGIN), BACKGROUND)
    image.paste(key, (0, 0))
    draw, top = ImageDraw.Draw(image), key.height
    for number, caption in enumerate(said.paragraphs):
        caution = number == 1 and said.kind is Kind.ALARM and said.stable
        for text in caption:
            draw.text((_MARGIN, top), drawable(text), fill=CAUTION_COLOR if caution else TEXT_COLOR, font=font)
            top += row
        top += row // 4
    return np.asarray(image)


def _key(width: int, said: Captions, *, size: int, lungs: bool, line: float) -> Image.Image:
    """One row: color bar or gray line, the lungs' line, and the code; below it a row for each remark."""
    font, row = font_of(size), round(1.6 * size)
    image = Image.new("RGB", (width, row * (1 + len(said.remarks)) + size // 2), BACKGROUND)
    draw = ImageDraw.Draw(image)
    top = size // 3
    left = _draw_squares(image, draw, font, (_MARGIN, top), stable=said.stable, line=line)
    if lungs:
        color = LUNGS_LINE_COLOR if said.stable else GRAY_LINE_COLOR
        left = _draw_sample(draw, font, (left + 2 * size, top), color=color, width=max(2, round(line / 2)))
        draw.text((left + size // 2, top), LUNGS_LABEL, fill=TEXT_COLOR, font=font)
    code = f"record {said.code}"
    draw.text((width - _MARGIN - font.getlength(code), top), code, fill=TEXT_COLOR, font=font)
    for number, remark in enumerate(said.remarks, start=1):
        draw.text((_MARGIN, top + number * row), drawable(remark), fill=TEXT_COLOR, font=font)
    return image


def _draw_squares(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    corner: tuple[int, int],
    *,
    stable: bool,
    line: float,
) -> int:
    """What the lines around the squares mean; returns where it ends."""
    left, top = corner
    size = round(font.size)
    if not stable:
        for dash in range(3):
            end = _draw_sample(draw, font, (left + dash * size, top), color=GRAY_LINE_COLOR, width=round(line), ems=0.6)
        draw.text((end + size // 2, top), UNCERTAIN_LABEL, fill=TEXT_COLOR, font=font)
        return round(end + size // 2 + font.getlength(UNCERTAIN_LABEL))
    draw.text((left, top), "0", fill=TEXT_COLOR, font=font)
    left += size
    bar = np.broadcast_to(colors_of(np.linspace(0, 1, 6 * size, dtype=np.float32)), (size, 6 * size, 3))
    image.paste(Image.fromarray(np.ascontiguousarray(bar)), (left, top + size // 8))
    label = f"1  {SHARE_LABEL}"
    draw.text((left + 6 * size + size // 3, top), label, fill=TEXT_COLOR, font=font)
    return round(left + 6 * size + size // 3 + font.getlength(label))


def _draw_sample(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    corner: tuple[int, int],
    *,
    color: tuple[int, int, int],
    width: int,
    ems: float = 1.5,
) -> int:
    """A piece of a line; returns where it ends."""
    left, middle = corner[0], corner[1] + round(0.6 * font.size)
    end = left + round(ems * font.size)
    draw.line((left, middle, end, middle), fill=color, width=width)
    return end


def _font_size(lines: Sequence[str], room: int) -> int:
    """The size in which a full line fits, or smaller where the longest of these lines is wider."""
    longest = max(font_of(100).getlength(drawable(line)) for line in lines)
    return max(1, min(room // _EMS_A_LINE, int(100 * room / longest)))
