"""What a person might do about a file, with numbers."""

from collections.abc import Iterator

from services.decoder.engines import Advice, MediaFacts, MediaKind

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273
_FULL_HD = 1080  # lines
_HIGH_BIT_RATE = 12_000_000  # bits per second


def give_advice(facts: MediaFacts, coded_size: tuple[int, int]) -> Iterator[Advice]:
    """About a video or photo. `coded_size`: (width, height) in pixels before it is cut and turned."""
    video, (width, height) = facts.video, coded_size
    assert video is not None
    lines, megabits = min(width, height), facts.bit_rate / 1e6
    if facts.bit_rate > _HIGH_BIT_RATE and lines <= _FULL_HD:
        yield Advice(
            "HIGH_BIT_RATE",
            f"{megabits:.1f} Mbit/s at {lines} lines: 8 to 12 Mbit/s are plenty for lips. More takes longer to "
            "upload and to decode and shows no more of them.",
        )
    if lines > _FULL_HD:
        yield Advice(
            "LARGE_PICTURE",
            f"{width} x {height} pixels: {_FULL_HD} lines would do unless it is shown larger, and render faster.",
        )
    if video.variable_frame_rate:
        yield Advice(
            "VARIABLE_FRAME_RATE",
            f"Frames are not evenly spaced (mean {float(video.frame_rate):.2f} per second). Their times are kept; "
            "if an editor needs a constant rate, convert the file first.",
        )
    if video.rotation:
        yield Advice(
            "ROTATED",
            f"The file asks to be turned by {video.rotation} degrees clockwise, which is done: the result is "
            f"{video.format.width} x {video.format.height} pixels and upright.",
        )
    if video.mirrored:
        yield Advice("MIRRORED", "The file asks for left and right to be exchanged, which is done.")
    if (transfer := video.format.color.transfer) in _HDR_TRANSFERS:
        yield Advice(
            "HDR",
            f"The picture is HDR ({_HDR_TRANSFERS[transfer]}, {video.format.bit_depth} bits). Faces are found and made "
            "as if it were not; a standard (SDR) export gives more faithful colours.",
        )
    if facts.audio is None and facts.kind is MediaKind.VIDEO:
        yield Advice(
            "NO_AUDIO",
            "The video has no sound. A video in which the person speaks, with its sound, teaches their mouth better.",
        )
    if video.interlaced:
        yield Advice(
            "INTERLACED",
            f"The picture is interlaced. Whole frames are made of its fields (bwdif), {float(video.frame_rate):.2f} a "
            "second as coded; a progressive export shows finer lips.",
        )
    if video.alpha:
        yield Advice(
            "ALPHA",
            "The picture has transparency, which is left out. Lay it on its background first.",
        )
    shown = sorted((video.format.width, video.format.height))
    if shown[0] < min(width, height) - 1 or shown[1] < max(width, height) - 1:
        yield Advice(
            "CROPPED",
            f"The file asks for a part of its {width} x {height} pixels to be shown, which is done: the result is "
            f"{video.format.width} x {video.format.height}.",
        )
    elif width % 2 or height % 2:
        yield Advice(
            "ODD_SIZE",
            f"{width} x {height} pixels: the last column or row is left out, because sizes must be even. The result is "
            f"{video.format.width} x {video.format.height}.",
        )
    if video.sample_aspect_ratio != 1:
        yield Advice(
            "NON_SQUARE_PIXELS",
            f"A pixel is {float(video.sample_aspect_ratio):.3f} times as wide as high. That is kept; scale the video "
            "to square pixels if a player shows it too narrow or too wide.",
        )
