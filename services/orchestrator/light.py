"""What an HDR source says of its light, from the decoder's facts into the encoders' headers."""

from dataclasses import dataclass

from services.runtime.frames import ContentLight, MasteringDisplay
from syncline.v1 import decoder_pb2

_UNITS = float(MasteringDisplay.CHROMATICITY), float(MasteringDisplay.LUMINANCE)


@dataclass(frozen=True, slots=True)
class Light:
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None


UNTOLD = Light()


def to_light(video: decoder_pb2.VideoInfo) -> Light:
    display = content = None
    if video.HasField("mastering_display"):
        told = video.mastering_display
        if len(told.primaries) == 6 and len(told.white_point) == 2:
            white_point = told.white_point[0], told.white_point[1]
            display = MasteringDisplay(tuple(told.primaries), white_point, told.min_luminance, told.max_luminance)
    if video.HasField("content_light"):
        content = ContentLight(video.content_light.max_content, video.content_light.max_average)
    return Light(display, content)


def describe_light(light: Light, encoder: str) -> tuple[str, list[str]]:
    """The option of the encoder that takes them, and its settings; none for encoders that cannot carry any."""
    match encoder:
        case "libx264":
            return "x264-params", _list_settings(light, "mastering-display", "cll")
        case "libx265":
            return "x265-params", _list_settings(light, "master-display", "max-cll")
        case "libsvtav1":
            return "svtav1-params", _list_settings(light, "mastering-display", "content-light", _UNITS)
        case _:
            return "", []


def _list_settings(light: Light, display: str, content: str, one: tuple[float, float] = (1, 1)) -> list[str]:
    """`one`: a unit of chromaticity and of luminance, as the encoder writes them."""
    settings = []
    if light.mastering_display is not None:
        told = light.mastering_display
        points = [f"{value * one[0]:.10g}" for value in (*told.primaries, *told.white_point)]
        low, high = (f"{value * one[1]:.10g}" for value in (told.min_luminance, told.max_luminance))
        names = ("R", "G", "B", "WP")
        red, green, blue, white = (
            f"{name}({x},{y})" for name, x, y in zip(names, points[::2], points[1::2], strict=True)
        )
        settings.append(f"{display}={green}{blue}{red}{white}L({high},{low})")
    if light.content_light is not None:
        settings.append(f"{content}={light.content_light.max_content},{light.content_light.max_average}")
    return settings
