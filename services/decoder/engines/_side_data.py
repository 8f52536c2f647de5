"""What FFmpeg attaches to a picture beside its samples."""

from typing import Any

import av
from av.sidedata.sidedata import Type


def find_side_data(picture: av.VideoFrame, kind: Type) -> bytes | None:
    """The bytes of that kind of FFmpeg's structures; None where the picture carries none."""
    attached: Any = picture.side_data  # PyAV's own types of it know one kind only
    try:
        return bytes(attached[kind])
    except KeyError:
        return None
