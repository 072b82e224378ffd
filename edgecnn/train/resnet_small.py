"""Small residual network for 32x32 images: the model of the demo."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64)
BLOCKS_PER_STAGE = 2


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(out + self.downsample(x))
        return result


class ResNetSmall(nn.Module):
    """ResNet-14 for (N, 3, 32, 32): 3 stages of 2 blocks, 16, 32 and 64 channels wide.

    Source: K. He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        blocks: list[nn.Module] = []
        width = WIDTHS[0]
        for stage, wider in enumerate(WIDTHS):
            for number in range(BLOCKS_PER_STAGE):
                blocks.append(Block(width, wider, stride=2 if stage and not number else 1))
                width = wider
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.pool(self.blocks(x)).flatten(1)
        result: Tensor = self.fc(x)
        return result


def resnet_small(num_classes: int = 10) -> ResNetSmall:
    """A fresh `ResNetSmall` with weights drawn from torch's global generator."""
    return ResNetSmall(num_classes)
