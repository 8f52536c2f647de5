"""BiSeNet, which tells the parts of a face apart.

Yu, Wang, Peng, Gao, Yu, Sang: BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018;
on ResNet-18, whose second stage stands in for the spatial path, as it is published for CelebAMask-HQ's 19 parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS = 19
# Of CelebAMask-HQ's parts those that are the face: skin, brows, eyes, glasses, ears, nose, mouth, lips. Not: what is
# behind, earrings, neck, necklace, clothes, hair, hat.
_FACE = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13)
SIDE = 512  # pixels
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, as ImageNet's


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        main = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(main + (x if self.downsample is None else self.downsample(x)))


class _ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths, strides = (64, 64, 128, 256, 512), (1, 2, 2, 2)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Block(inputs, outputs, stride), _Block(outputs, outputs, 1))
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At an eighth, a sixteenth and a thirty-second of the side."""
        x = self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Attention(nn.Module):
    """Attention refinement."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class _ContextPath(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resnet = _ResNet18()
        self.arm16, self.arm32 = _Attention(256, 128), _Attention(512, 128)
        self.conv_head32, self.conv_head16 = _Conv(128, 128), _Conv(128, 128)
        self.conv_avg = _Conv(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both at an eighth of the side: what is near, and what it means."""
        eighth, sixteenth, last = self.resnet(x)
        context = self.arm32(last) + self.conv_avg(_mean(last))
        context = self.conv_head32(F.interpolate(context, scale_factor=2.0))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, scale_factor=2.0))


class _Fusion(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = _Conv(inputs, outputs, 1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, near: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([near, context], dim=1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(_mean(x)))))


class _Output(nn.Module):
    def __init__(self, inputs: int, middle: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, middle)
        self.conv_out = nn.Conv2d(middle, PARTS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv_out(self.conv(x))
        return logits


class BiSeNet(nn.Module):
    """(B, 3, side, side) RGB, normalised as ImageNet, to logits (B, 19, side, side); the side a multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = _ContextPath()
        self.ffm = _Fusion(256, 256)
        self.conv_out = _Output(256, 256)
        self.conv_out16, self.conv_out32 = _Output(128, 64), _Output(128, 64)  # for training; the file has them

    def forward(self, picture: Tensor) -> Tensor:
        logits = self.conv_out(self.ffm(*self.cp(picture)))
        return F.interpolate(logits, scale_factor=8.0, mode="bilinear", align_corners=True)


class FaceMask(BiSeNet):
    """How surely each pixel is of the face: (B, 3, 512, 512) RGB, range -1 to 1, to (B, 512, 512), 0 to 1."""

    def forward(self, face: Tensor) -> Tensor:
        mean, deviation = (face.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
        parts = super().forward(((face + 1) / 2 - mean) / deviation).softmax(dim=1)
        return torch.stack([parts[:, part] for part in _FACE]).sum(dim=0)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)
