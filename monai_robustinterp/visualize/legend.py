"""The strip below an overlay: color bar, key of the outline, and text, in a size that suits the picture's width."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from monai_robustinterp.visualize.color_map import paint

CONTOUR_COLOR = (0, 255, 255)
LUNGS_COLOR = (90, 255, 90)
SHARE_LABEL = "share of noisy copies that vote for the cell"
CONTOUR_LABEL = "outline: the reported top-k cells"
LUNGS_LABEL = "thin line: the lungs on the clean image"

_WHITE = (255, 255, 255)
_MIN_FONT_PX = 12
_WIDTH_PER_FONT_PX = 55
_BAR_GRAY = 0.4

# Pillow's built-in font holds little beyond ASCII, and the words of this field are Greek.
_SPELLED_OUT = str.maketrans(
    {"α": "alpha", "β": "beta", "η": "eta", "σ": "sigma", "ε": "epsilon", "ℓ": "l"}  # noqa: RUF001
    | {"≥": ">=", "≤": "<=", "≈": "~", "±": "+/-", "‖": "||", "∞": "inf", "	": " "}
    | {"×": "x", "–": "-", "—": "-", "−": "-"}  # noqa: RUF001
)


def contour_width(height: int, width: int) -> int:
    """Width in pixels of the outline of the top-k set: 1 on small images, in proportion on large ones."""
    return max(1, round(min(height, width) / 400))


def lungs_width(height: int, width: int) -> int:
    """Width in pixels of the contour of the lungs: half of that of the outline, 1 at least."""
    return max(1, contour_width(height, width) // 2)


def render_strip(width: int, lines: Sequence[str], *, lungs: bool = False) -> npt.NDArray[np.uint8]:
    """Draw color bar, outline key and text, white on black.

    Args:
        width: width of the picture that the strip goes under, in pixels.
        lines: text, one paragraph an item, wrapped to the width. Signs that the font lacks are spelled out or
            become ``?``.
        lungs: whether the contour of the lungs has a key too.

    Returns:
        RGB strip, uint8, shape [strip, width, 3]; the strip is as high as its content.
    """
    font = _font(width)
    unit = round(font.size)
    margin = unit // 2
    row = math.ceil(1.35 * unit)
    room = max(width - 2 * margin, 1)
    share_lines = list(_wrap(SHARE_LABEL, font, room))
    keys = [(CONTOUR_LABEL, CONTOUR_COLOR, unit // 8)] + [(LUNGS_LABEL, LUNGS_COLOR, unit // 16)] * lungs
    key_lines = [list(_wrap(label, font, max(room - 2 * unit, 1))) for label, _, _ in keys]
    text_lines = [part for line in lines for part in _wrap(line, font, room)]
    height = 2 * margin + row * (1 + len(share_lines) + sum(map(len, key_lines)) + len(text_lines)) + margin
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    top = margin
    _draw_bar(image, draw, font, top)
    top = _draw_lines(draw, font, share_lines, (margin, top + row), row)
    for (_, color, line_width), labels in zip(keys, key_lines):
        _draw_key(draw, (margin, top), unit, color=color, line_width=line_width)
        top = _draw_lines(draw, font, labels, (margin + 2 * unit, top), row)
    _draw_lines(draw, font, text_lines, (margin, top + margin), row)
    return np.asarray(image)


def _font(width: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=max(_MIN_FONT_PX, round(width / _WIDTH_PER_FONT_PX)))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, so it has one font size only; install the wheel.")
    return font


def _draw_bar(image: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, top: int) -> None:
    """The color bar between 0 and 1, blended over a lung-like gray as in the picture itself."""
    unit = round(font.size)
    margin = unit // 2
    left, right = margin + unit, image.width - margin - unit
    if right <= left:
        return
    share = np.broadcast_to(np.linspace(0, 1, right - left), (unit, right - left))
    image.paste(Image.fromarray(paint(np.full(share.shape, _BAR_GRAY), share)), (left, top))
    draw.text((margin, top), "0", fill=_WHITE, font=font)
    draw.text((right + margin // 2, top), "1", fill=_WHITE, font=font)


def _draw_key(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], unit: int, *, color: tuple[int, int, int], line_width: int
) -> None:
    left, top = corner
    box = (left, top + unit // 8, left + unit, top + unit // 8 + unit)
    draw.rectangle(box, outline=color, width=max(1, line_width))


def _draw_lines(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, lines: Sequence[str], corner: tuple[int, int], row: int
) -> int:
    left, top = corner
    for line in lines:
        draw.text((left, top), line, fill=_WHITE, font=font)
        top += row
    return top


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> Iterator[str]:
    """The text in lines of at most ``room`` pixels, broken at spaces, or within a word that is wider than the room."""
    line = ""
    for word in _drawable(text).split(" "):
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= room:
            line = longer
            continue
        if line:
            yield line
        line = word
        while font.getlength(line) > room and len(line) > 1:
            fits = max(n for n in range(1, len(line) + 1) if n == 1 or font.getlength(line[:n]) <= room)
            yield line[:fits]
            line = line[fits:]
    yield line


def _drawable(text: str) -> str:
    """The text in signs that the font holds: Greek letters spelled out, accents dropped, the rest as ``?``."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED_OUT))
    kept = (sign for sign in plain if not unicodedata.combining(sign))
    return "".join(sign if " " <= sign <= "~" else "?" for sign in kept)
