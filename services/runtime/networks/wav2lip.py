"""Wav2Lip and the expert that judges it.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar: A Lip Sync Expert Is All You Need for Speech to Lip Generation in the Wild,
ACM Multimedia 2020. A face with its lower half masked, a reference face and 0.2 s of speech in,
the face that speaks out.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU, of that `slope` below 0; `residual` adds the input before the ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        residual: bool = False,
        slope: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self._residual, self._slope = residual, slope

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv_block(x)
        return _rectify(main + x if self._residual else main, self._slope)


class _Deconv(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        padding: int,
        output_padding: int,
        kernel: int = 3,
        slope: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, output_padding), nn.BatchNorm2d(outputs)
        )
        self._slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return _rectify(self.conv_block(x), self._slope)


def _rectify(x: Tensor, slope: float) -> Tensor:
    return F.leaky_relu(x, slope) if slope else F.relu(x)


def _residuals(channels: int, count: int, slope: float = 0.0) -> list[nn.Module]:
    return [_Conv(channels, channels, residual=True, slope=slope) for _ in range(count)]


def _audio_encoder(last_residuals: int) -> nn.Sequential:
    return nn.Sequential(
        _Conv(1, 32),
        *_residuals(32, 2),
        _Conv(32, 64, stride=(3, 1)),
        *_residuals(64, 2),
        _Conv(64, 128, stride=3),
        *_residuals(128, 2),
        _Conv(128, 256, stride=(3, 2)),
        *_residuals(256, last_residuals),
        _Conv(256, 512, padding=0),
        _Conv(512, 512, kernel=1, padding=0),
    )


class Wav2Lip(nn.Module):
    """`side` 96: the published network. 256: that of Linly-Talker's wav2lipv2. 288: the public definition of that
    size, of which users train their own.

    Mel (B, 1, 80, 16) range -4 to 4, and faces (B, 6, side, side) range 0 to 1 - channels 0 to 2 with their lower half
    0, 3 to 5 the reference - to faces (B, 3, side, side) range 0 to 1; channels in the order BGR.
    """

    def __init__(self, side: int = 96) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(nn.Sequential(*block) for block in _FACE_ENCODERS[side]())
        self.audio_encoder = _audio_encoder(1)
        self.face_decoder_blocks = nn.ModuleList(nn.Sequential(*block) for block in _FACE_DECODERS[side]())
        self.output_block = nn.Sequential(_Conv(80, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        skips, x = [], faces
        for block in self.face_encoder_blocks:
            x = block(x)
            skips.append(x)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), skips.pop()], dim=1)
        result: Tensor = self.output_block(x)
        return result


def _down(inputs: int, outputs: int, count: int, kernel: int = 3) -> Sequence[nn.Module]:
    return [_Conv(inputs, outputs, kernel, stride=2, padding=kernel // 2), *_residuals(outputs, count)]


def _up(inputs: int, outputs: int, count: int, output_padding: int = 1) -> Sequence[nn.Module]:
    return [_Deconv(inputs, outputs, 2, 1, output_padding), *_residuals(outputs, count)]


def _narrow(kernel: int = 3) -> Sequence[nn.Module]:
    return [_Conv(512, 512, kernel, padding=0), _Conv(512, 512, kernel=1, padding=0)]


def _middle_encoder() -> list[Sequence[nn.Module]]:
    return [_down(32, 64, 3), _down(64, 128, 2), _down(128, 256, 2), _down(256, 512, 1)]


def _first_decoder(kernel: int = 3) -> list[Sequence[nn.Module]]:
    return [[_Conv(512, 512, kernel=1, padding=0)], [_Deconv(1024, 512, 1, 0, 0, kernel), *_residuals(512, 1)]]


def _last_decoder() -> list[Sequence[nn.Module]]:
    return [_up(1024, 512, 2), _up(768, 384, 2), _up(512, 256, 2), _up(320, 128, 2), _up(160, 64, 2)]


_FACE_ENCODERS = {
    96: lambda: [[_Conv(6, 16, 7, padding=3)], _down(16, 32, 2), *_middle_encoder(), _narrow()],
    256: lambda: [[_Conv(6, 16, 7, padding=3)], _down(16, 32, 2), *_middle_encoder(), _down(512, 512, 1), _narrow(4)],
    288: lambda: [
        *([_Conv(6, 16, 7, padding=3)], _down(16, 32, 1, 5), _down(32, 32, 2)),
        *(*_middle_encoder(), _narrow(), _narrow()),
    ],
}
_FACE_DECODERS = {
    96: lambda: [*_first_decoder(), *_last_decoder()],
    256: lambda: [*_first_decoder(4), _up(1024, 512, 1), *_last_decoder()],
    288: lambda: [
        *_first_decoder(),
        *(_up(1024, 512, 2, 0), _up(1024, 512, 2, 0), _up(768, 384, 2), _up(512, 256, 2)),
        *(_up(320, 128, 2), _up(160, 64, 2), _up(96, 64, 2)),
    ],
}


class Wav2Lip384(nn.Module):
    """The public definition of 384 pixels, another network: wider, leaky, with the speech refined by a second stage.

    Takes and gives what Wav2Lip does; within, faces range from -1 to 1. Of the masked face a border of 8 pixels stays.
    """

    def __init__(self) -> None:
        super().__init__()
        slope = 0.2
        widths, residuals = (16, 32, 64, 128, 256, 512, 1024), (2, 2, 3, 2, 2, 2, 2)
        encoder: list[list[nn.Module]] = [[_Conv(6, 8, 7, padding=3, slope=slope)]]
        for inputs, width, count in zip((8, *widths), widths, residuals, strict=False):
            encoder.append([_Conv(inputs, width, stride=2, slope=slope), *_residuals(width, count, slope)])
        encoder.append([_Conv(1024, 1024, padding=0, slope=slope), _Conv(1024, 1024, 1, padding=0, slope=slope)])
        self.face_encoder_blocks = nn.ModuleList(nn.Sequential(*block) for block in encoder)

        heard: list[nn.Module] = [_Conv(1, 32, slope=slope), *_residuals(32, 2, slope)]
        for inputs, width, stride in ((32, 64, (3, 1)), (64, 128, 3), (128, 256, (3, 2)), (256, 512, 1)):
            heard += [_Conv(inputs, width, stride=stride, slope=slope), *_residuals(width, 2, slope)]
        self.audio_encoder = nn.Sequential(*heard, _Conv(512, 1024, padding=0), _Conv(1024, 1024, 1, padding=0))
        self.audio_refine = nn.Sequential(*(_Conv(1024, 1024, 1, padding=0, slope=slope) for _ in range(2)))

        decoder: list[list[nn.Module]] = [
            [_Conv(1024, 1024, 1, padding=0, slope=slope)],
            [_Deconv(2048, 1024, 1, 0, 0, slope=slope), *_residuals(1024, 1, slope)],
        ]
        for inputs, width in zip(
            (2048, 1536, 1024, 640, 320, 160, 80), (1024, 768, 512, 256, 128, 64, 32), strict=True
        ):
            decoder.append([_Deconv(inputs, width, 2, 1, 1, slope=slope), *_residuals(width, 2, slope)])
        self.face_decoder_blocks = nn.ModuleList(nn.Sequential(*block) for block in decoder)
        self.output_block = nn.Sequential(_Conv(40, 16, slope=slope), nn.Conv2d(16, 3, 1), nn.Tanh())

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        skips, x = [], 2 * faces - 1
        for block in self.face_encoder_blocks:
            x = block(x)
            skips.append(x)
        x = self.audio_refine(self.audio_encoder(mel))
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), skips.pop()], dim=1)
        result: Tensor = (self.output_block(x) + 1) / 2
        return result


class SyncExpert(nn.Module):
    """How well lips and speech agree: mel (B, 1, 80, 16) and five lower half faces (B, 15, 48, 96), BGR, range 0 to 1.

    Returns embeddings of unit length of speech and face, (B, 512) each; their cosine is the agreement.
    """

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            _Conv(15, 32, 7, padding=3),
            _Conv(32, 64, 5, stride=(1, 2)),
            *_residuals(64, 2),
            *_down(64, 128, 3),
            *_down(128, 256, 2),
            *_down(256, 512, 2),
            _Conv(512, 512, stride=2),
            *_narrow(),
        )
        self.audio_encoder = _audio_encoder(2)

    def forward(self, mel: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(self.audio_encoder(mel).flatten(1)), F.normalize(self.face_encoder(faces).flatten(1))
