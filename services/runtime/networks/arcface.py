"""ArcFace's IResNet.

Deng, Guo, Xue, Zafeiriou: ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019; the residual unit
is that of Han, Kim, Kim: Deep Pyramidal Residual Networks, CVPR 2017, with PReLU.
"""

from torch import Tensor, nn

EMBEDDING = 512
SIDE = 112  # pixels


class _Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        main = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return main + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """A face of 112 x 112 pixels as 512 numbers: (B, 3, 112, 112) float RGB, range -1 to 1, to (B, 512).

    The embedding's length means nothing, its direction is who it is.

    `units`: residual units of the four stages.
    """

    def __init__(self, units: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(64), nn.PReLU(64)
        widths = (64, 64, 128, 256, 512)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Unit(inputs, outputs, 2), *(_Unit(outputs, outputs, 1) for _ in range(count - 1)))
            for inputs, outputs, count in zip(widths, widths[1:], units, strict=False)
        )
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)

    def forward(self, face: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(face)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedding: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return embedding
