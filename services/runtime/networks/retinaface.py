"""RetinaFace.

Deng, Guo, Ververas, Kotsia, Zafeiriou: RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild, CVPR 2020. A
backbone (ResNet-50, or MobileNet v1 at a quarter of its width), a feature pyramid of three levels with strides 8, 16
and 32, a context module on each (Najibi et al.: SSH, ICCV 2017), and heads for two anchors a place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ANCHORS = 2


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, slope: float | None = None) -> nn.Sequential:
    """Convolution, batch norm and, with a `slope`, leaky ReLU."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([] if slope is None else [nn.LeakyReLU(slope)]))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(0.1),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


class MobileNet(nn.Module):
    """MobileNet v1, width 0.25, without its classifier."""

    widths = (64, 128, 256)
    pyramid = 64

    def __init__(self) -> None:
        super().__init__()
        first = ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.stage1 = nn.Sequential(_conv(3, 8, 3, stride=2, slope=0.1), *(_separable(*layer) for layer in first))
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for stage in (self.stage1, self.stage2, self.stage3):
            x = stage(x)
            levels.append(x)
        return levels


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(main)) + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """ResNet-50 (He et al., CVPR 2016; the stride in the 3 x 3 convolution) without its classifier."""

    widths = (512, 1024, 2048)
    pyramid = 256

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for number, (width, blocks, stride) in enumerate(((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)), 1):
            layers = [_Bottleneck(inputs, width, stride)]
            inputs = 4 * width
            layers += [_Bottleneck(inputs, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        levels = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            levels.append(x)
        return levels[1:]


class _Pyramid(nn.Module):
    def __init__(self, widths: tuple[int, ...], outputs: int, slope: float) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, outputs, 1, slope=slope) for width in widths)
        self.merge1, self.merge2 = (_conv(outputs, outputs, 3, slope=slope) for _ in range(2))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (
            output(level) for output, level in zip((self.output1, self.output2, self.output3), levels, strict=True)
        )
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class _Context(nn.Module):
    """Sees 3, 5 and 7 pixels around each place."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.conv3X3 = _conv(channels, half, 3)
        self.conv5X5_1, self.conv5X5_2 = _conv(channels, quarter, 3, slope=slope), _conv(quarter, quarter, 3)
        self.conv7X7_2, self.conv7x7_3 = _conv(quarter, quarter, 3, slope=slope), _conv(quarter, quarter, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.conv5X5_1(x)
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))], dim=1))


class _Head(nn.Module):
    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, _ANCHORS * numbers, 1)
        self._numbers = numbers

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv1x1(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self._numbers))
        return result


class RetinaFace(nn.Module):
    """Pictures (B, 3, height, width) float, BGR 0 to 255 less the mean (104, 117, 123), sides multiples of 32.

    Returns, for the anchors of all levels in order of stride, row and column: boxes (B, anchors, 4), scores of no face
    and face (B, anchors, 2), five points (B, anchors, 10); boxes and points relative to their anchors.
    """

    def __init__(self, body: MobileNet | ResNet50) -> None:
        super().__init__()
        channels = body.pyramid
        slope = 0.1 if channels <= 64 else 0.0
        self.body, self.fpn = body, _Pyramid(body.widths, channels, slope)
        self.ssh1, self.ssh2, self.ssh3 = (_Context(channels, slope) for _ in range(3))
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList(_Head(channels, numbers) for _ in range(3)) for numbers in (2, 4, 10)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.fpn(self.body(pictures))
        levels = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        boxes, scores, points = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, scores.softmax(dim=2), points


def retinaface_mobilenet() -> RetinaFace:
    return RetinaFace(MobileNet())


def retinaface_resnet50() -> RetinaFace:
    return RetinaFace(ResNet50())
