"""A text as a picture for cameras."""

from __future__ import annotations

import base64
import io

import qrcode
from qrcode.image.svg import SvgPathImage


def data_uri(text: str) -> str:
    """Draw a QR code as an SVG that stands in the address of an <img>, so that no page needs a script or a file."""
    drawn = io.BytesIO()
    qrcode.make(text, image_factory=SvgPathImage, border=2).save(drawn)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"
