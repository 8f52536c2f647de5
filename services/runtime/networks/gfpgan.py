"""GFP-GAN v1, the "clean" form that GFPGANv1.3 and v1.4 are published in.

Wang, Li, Zhang, Shan: Towards Real-World Blind Face Restoration with Generative Facial Prior, CVPR 2021. A U-Net reads
the degraded face and gives StyleGAN2 (Karras et al., CVPR 2020) its latents and, at every scale, the scale and shift of
half of its features (channel-split spatial feature transform).
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-8
_SLOPE = 0.2


def _channels(narrow: float, channel_multiplier: int) -> dict[int, int]:
    """Channels of the features at each resolution."""
    wide = {side: int(512 * narrow) for side in (4, 8, 16, 32)}
    return wide | {side: int(16384 // side * channel_multiplier * narrow) for side in (64, 128, 256, 512, 1024)}


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _ModulatedConv(nn.Module):
    """A convolution whose weights each item of the batch scales by its own style.

    Scaling a weight's input channel is scaling that channel of the input, so the batch shares one convolution; grouped
    convolution by per-item weights, as usually written, is several times slower and fixes the batch size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, styles: int, demodulate: bool) -> None:
        super().__init__()
        self.modulation = nn.Linear(styles, inputs)
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel) / math.sqrt(inputs * kernel**2))
        self._demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor, upsample: bool = False) -> Tensor:
        scale = self.modulation(style)  # (B, inputs)
        weight = self.weight[0]
        if not self._demodulate:
            return F.conv2d(x * scale[:, :, None, None], weight)
        # Demodulation takes a common factor of the styles out again; without it half precision does not overflow.
        peak = scale.abs().amax(dim=1, keepdim=True).clamp(min=_EPSILON)
        scale = scale / peak
        norm = scale.square() @ weight.square().sum((2, 3)).t() + _EPSILON / peak.square()  # (B, outputs)
        x = x * scale[:, :, None, None]
        x = F.conv2d(_double(x) if upsample else x, weight, padding=weight.shape[-1] // 2)
        return x * norm.rsqrt()[:, :, None, None]


class _StyleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, styles: int, upsample: bool) -> None:
        super().__init__()
        self.modulated_conv = _ModulatedConv(inputs, outputs, 3, styles, demodulate=True)
        self.weight = nn.Parameter(torch.zeros(1))  # strength of the noise
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self._upsample = upsample

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = self.modulated_conv(x, style, self._upsample) * math.sqrt(2)
        return F.leaky_relu(x + (self.weight * noise + self.bias), _SLOPE)


class _ToRGB(nn.Module):
    def __init__(self, inputs: int, styles: int) -> None:
        super().__init__()
        self.modulated_conv = _ModulatedConv(inputs, 3, 1, styles, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.modulated_conv(x, style) + self.bias


class _ConstantInput(nn.Module):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels, side, side))


class _Decoder(nn.Module):
    """StyleGAN2 with half of each scale's features transformed by the U-Net's conditions."""

    def __init__(self, side: int, styles: int, layers: int, channels: dict[int, int]) -> None:
        super().__init__()
        # The latents come from the U-Net as they are; the mapping network is in the files all the same.
        mapping = [layer for _ in range(layers) for layer in (nn.Linear(styles, styles), nn.LeakyReLU(_SLOPE))]
        self.style_mlp = nn.Sequential(nn.Identity(), *mapping)
        self.constant_input = _ConstantInput(channels[4], 4)
        self.style_conv1 = _StyleConv(channels[4], channels[4], styles, upsample=False)
        self.to_rgb1 = _ToRGB(channels[4], styles)
        self.style_convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        scales = [2**power for power in range(2, side.bit_length())]
        for before, scale in pairwise(scales):
            self.style_convs.append(_StyleConv(channels[before], channels[scale], styles, upsample=True))
            self.style_convs.append(_StyleConv(channels[scale], channels[scale], styles, upsample=False))
            self.to_rgbs.append(_ToRGB(channels[scale], styles))
        for number, scale in enumerate([4, *(scale for scale in scales[1:] for _ in range(2))]):
            self.noises.register_buffer(f"noise{number}", torch.randn(1, 1, scale, scale))

    def forward(self, latents: Tensor, conditions: list[tuple[Tensor, Tensor]]) -> Tensor:
        """`latents` (B, layers, styles); `conditions`: scale and shift from 8 pixels on."""
        x = self.style_conv1(self.constant_input.weight, latents[:, 0], self.noises.noise0)
        image = self.to_rgb1(x, latents[:, 1])
        for number, (scale, shift) in enumerate(conditions):
            place = 2 * number + 1
            x = self.style_convs[place - 1](x, latents[:, place], getattr(self.noises, f"noise{place}"))
            same, changed = x.chunk(2, dim=1)
            x = torch.cat([same, changed * scale + shift], dim=1)
            x = self.style_convs[place](x, latents[:, place + 1], getattr(self.noises, f"noise{place + 1}"))
            image = self.to_rgbs[number](x, latents[:, place + 2]) + _double(image)
        return image


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self._scale = scale

    def forward(self, x: Tensor) -> Tensor:
        main = self._resize(F.leaky_relu(self.conv1(x), _SLOPE))
        return F.leaky_relu(self.conv2(main), _SLOPE) + self.skip(self._resize(x))

    def _resize(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self._scale, mode="bilinear", align_corners=False)


def _condition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(_SLOPE), nn.Conv2d(channels, channels, 3, padding=1)
    )


class GFPGANv1Clean(nn.Module):
    """A face of `side` pixels, FFHQ-aligned, restored: (B, 3, side, side) float to the same, RGB, range -1 to 1.

    The defaults are those of the published GFPGANv1.3 and v1.4; `narrow` scales all channels. The noise that StyleGAN2
    adds is the file's own, always the same: a random one would make a video's skin crawl.
    """

    def __init__(
        self,
        side: int = 512,
        styles: int = 512,
        channel_multiplier: int = 2,
        narrow: float = 1,
        mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        channels = _channels(narrow * 0.5, channel_multiplier)
        scales = [2**power for power in range(2, side.bit_length())]  # 4 to side
        self._styles = styles
        self.conv_body_first = nn.Conv2d(3, channels[side], 1)
        self.conv_body_down = nn.ModuleList(
            _ResidualBlock(channels[scale], channels[smaller], 0.5) for scale, smaller in pairwise(reversed(scales))
        )
        self.final_conv = nn.Conv2d(channels[4], channels[4], 3, padding=1)
        self.conv_body_up = nn.ModuleList(
            _ResidualBlock(channels[scale], channels[larger], 2.0) for scale, larger in pairwise(scales)
        )
        self.toRGB = nn.ModuleList(nn.Conv2d(channels[scale], 3, 1) for scale in scales[1:])  # of training alone
        self.final_linear = nn.Linear(channels[4] * 16, (2 * len(scales)) * styles)
        self.stylegan_decoder = _Decoder(side, styles, mapping_layers, _channels(narrow, channel_multiplier))
        self.condition_scale = nn.ModuleList(_condition(channels[scale]) for scale in scales[1:])
        self.condition_shift = nn.ModuleList(_condition(channels[scale]) for scale in scales[1:])

    def forward(self, face: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv_body_first(face), _SLOPE)
        skips = []
        for down in self.conv_body_down:
            x = down(x)
            skips.append(x)
        x = F.leaky_relu(self.final_conv(x), _SLOPE)
        latents = self.final_linear(x.flatten(1)).view(-1, 2 * len(self.conv_body_up) + 2, self._styles)
        conditions = []
        for up, scale, shift in zip(self.conv_body_up, self.condition_scale, self.condition_shift, strict=True):
            x = up(x + skips.pop())
            conditions.append((scale(x), shift(x)))
        image: Tensor = self.stylegan_decoder(latents, conditions)
        return image
