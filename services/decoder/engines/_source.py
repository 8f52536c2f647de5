"""Opening files that strangers send: what may be read, where time 0 is, and every failure as a Refusal."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from services.decoder.engines._device import to_planar
from services.runtime.refusal import Refusal

PHOTO_FORMATS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe"})
# Demuxers whose files hold their own media. Playlists, scripts and the like, which name other files, are not here.
_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,mxf,gif,ivf,dv,h264,hevc,m4v,mjpeg,obu,rm,"
    "wav,w64,mp3,flac,ogg,aac,ac3,eac3,amr,amrnb,amrwb,aiff,caf,au,wv,"
) + ",".join(sorted(PHOTO_FORMATS))
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
_NO_MOTION = Disposition.attached_pic | Disposition.timed_thumbnails  # cover pictures
_MAX_DAMAGED = 1000  # failed reads in a row, after which a file is taken to be over

_MAGIC = {  # offset -> beginnings of media files
    0: (b"RIFF", b"\x1a\x45\xdf\xa3", b"OggS", b"FLV\x01", b"ID3", b"fLaC", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n",
        b"GIF8", b"FORM", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"0&\xb2u", b"\x06\x0e+4"),
    4: (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"),
}  # fmt: skip
_PACKET = 188  # bytes of an MPEG transport stream's packets, each of which begins with a "G"

_EXIF_WITHIN = 128 * 1024  # bytes from a JPEG file's beginning
_ORIENTATION_TAG = 0x0112

_TRUNCATED = "The file ends too early or is damaged, so that nothing in it can be decoded. Export or upload it again."
_NOT_MEDIA = "The file is no video, photo or sound recording. Send MP4, MOV, WebM, MKV, AVI, JPEG, PNG, WAV or MP3."
_UNSUPPORTED = "The file uses something that this decoder does not know. Convert it to MP4 with H.264 and AAC."


def looks_like_media(path: Path) -> bool:
    """The file begins as media files begin; says nothing about the rest."""
    with path.open("rb") as file:
        head = file.read(_PACKET + 1)
    return head[:1] == head[_PACKET:] == b"G" or any(
        head.startswith(beginnings, offset) for offset, beginnings in _MAGIC.items()
    )


def refuse_broken(path: Path) -> Refusal:
    """For a file that yields nothing: damaged media, or no media at all."""
    if path.is_file() and looks_like_media(path):
        return Refusal("TRUNCATED_MEDIA", _TRUNCATED)
    return Refusal("NOT_MEDIA", _NOT_MEDIA)


@contextmanager
def refuse_errors(path: Path) -> Iterator[None]:
    """The one place where PyAV's errors become Refusals."""
    try:
        yield
    except (av.error.FileNotFoundError, FileNotFoundError) as error:
        raise Refusal("ASSET_NOT_FOUND", "The file is gone. Upload it again.") from error
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError, av.error.NotImplementedError) as error:
        raise Refusal("UNSUPPORTED_MEDIA", _UNSUPPORTED, cause=error.strerror) from error
    except av.error.MemoryError as error:
        raise Refusal("UNSUPPORTED_MEDIA", "The file needs more memory than the decoder may use.") from error
    except FFmpegError as error:
        raise refuse_broken(path) from error


@dataclass(slots=True)
class Source:
    """An open file. `zero` (seconds, in the file's own clock) is where its first stream begins: time 0 of the source.

    `damaged` counts packets that could not be read or decoded. With `on_device` the first of them raises: whether the
    packet or the device is at fault cannot be told.
    """

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    zero: Fraction
    undecodable: frozenset[str] = field(default=frozenset())  # types of streams for which there is no decoder
    damaged: int = 0
    on_device: bool = False

    @property
    def is_photo(self) -> bool:
        return self.container.format.name in PHOTO_FORMATS

    @property
    def is_mirrored(self) -> bool:
        """A photo whose EXIF orientation mirrors it, as some front cameras do; PyAV tells its rotation alone."""
        return self.is_photo and _read_exif_orientation(self.path) in (2, 4, 5, 7)

    def read_packets(self, streams: Sequence[Stream]) -> Iterator[Packet]:
        """Packets in file order, then one empty packet per stream that flushes its decoder."""
        for stream in self.container.streams:
            stream.discard = Discard.default if stream in streams else Discard.all
        failed = 0  # reads in a row
        while failed < _MAX_DAMAGED:
            try:
                for packet in self.container.demux(*streams):
                    failed = 0
                    yield packet
            except FFmpegError:
                if self.on_device:
                    raise
                self.damaged, failed = self.damaged + 1, failed + 1
            else:
                return

    def decode_video(self) -> Iterator[av.VideoFrame]:
        """Pictures in the order in which they are shown; damaged packets are left out."""
        return self._decode(self.video)

    def decode_audio(self) -> Iterator[av.AudioFrame]:
        """Sound in order; damaged packets are left out."""
        return self._decode(self.audio)

    def _decode(self, stream: VideoStream | AudioStream | None) -> Iterator[Any]:
        if stream is None:
            return
        if not stream.codec_context.is_open:
            stream.codec_context.thread_type = ThreadType.AUTO
        for packet in self.read_packets([stream]):
            try:
                decoded = packet.decode()
            except FFmpegError:
                if self.on_device:
                    raise
                self.damaged += 1
            else:
                yield from map(to_planar, decoded) if self.on_device else decoded


def _read_exif_orientation(path: Path) -> int:
    """Of a JPEG file; 1, upright, where none is told."""
    with path.open("rb") as file:
        _, marker, tiff = file.read(_EXIF_WITHIN).partition(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(count if marker else 0):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value)
    except struct.error:  # cut off or damaged
        pass
    return 1


@contextmanager
def open_source(path: Path, device: HWAccel | None = None) -> Iterator[Source]:
    """Raises Refusal NOT_MEDIA, TRUNCATED_MEDIA, UNSUPPORTED_MEDIA, within the block as well. `device` decodes it."""
    # An absolute path is always the file protocol's; a relative one could be read as "concat:..." or "http:...".
    name = str(path.absolute())
    with (
        refuse_errors(path),
        av.open(name, "r", options=_OPTIONS, metadata_errors="ignore", hwaccel=device) as container,
    ):
        source = _pick_streams(path, container)
        source.on_device = device is not None
        yield source


def _pick_streams(path: Path, container: InputContainer) -> Source:
    moving = [stream for stream in container.streams.video if not stream.disposition & _NO_MOTION]
    video = next((stream for stream in moving if stream.codec_context is not None), None)
    sounds = container.streams.audio
    audio = next((stream for stream in sounds if stream.codec_context is not None and stream.rate), None)
    if not moving and not sounds:
        raise refuse_broken(path)
    if video is None and audio is None:
        raise Refusal("UNSUPPORTED_MEDIA", _UNSUPPORTED)
    missing = {"video"} if moving and video is None else set()
    missing |= {"audio"} if sounds and audio is None else set()
    return Source(path, container, video, audio, _find_zero(video, audio), frozenset(missing))


def _find_zero(video: VideoStream | None, audio: AudioStream | None) -> Fraction:
    """A whole number of the video's ticks, so that its timestamps stay whole."""
    starts = [
        stream.start_time * stream.time_base
        for stream in (video, audio)
        if stream is not None and stream.start_time is not None and stream.time_base
    ]
    earliest = min(starts, default=Fraction(0))
    if video is None or not video.time_base:
        return earliest
    return earliest // video.time_base * video.time_base
