"""The CIFAR-10 residual networks with parameter-free shortcuts, under the names their published weights have.

K. He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385, section 4.2 (shortcuts of option A);
weights: Y. Idelbayev, Proper ResNet Implementation for CIFAR10/CIFAR100 in PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions beside the input; where the shape changes the input is thinned out and padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.padding = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(found + x)


class ResNet(nn.Module):
    """(N, 3, 32, 32) to (N, 10); 6 `blocks` + 2 layers deep."""

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = self._stage(blocks, WIDTHS[0], WIDTHS[0], 1)
        self.layer2 = self._stage(blocks, WIDTHS[0], WIDTHS[1], 2)
        self.layer3 = self._stage(blocks, WIDTHS[1], WIDTHS[2], 2)
        self.linear = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        rest = [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Block(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def resnet20(num_classes: int = 10) -> ResNet:
    return ResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> ResNet:
    return ResNet(9, num_classes)
