"""Small networks with one way each in which channels hang together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(inputs: int, outputs: int, side: int = 3, *, groups: int = 1, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Headed(nn.Module):
    """A body, pooled, and a linear head."""

    def __init__(self, body: nn.Module, width: int, classes: int = 5) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(F.adaptive_avg_pool2d(self.body(x), 1).flatten(1))
        return answer


def plain() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32), block(32, 48, stride=2), block(48, 64, stride=2)), 64)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = block(width, width), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def residual() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32), Residual(32), Residual(32)), 32)


class Dense(nn.Module):
    """Its input and what it makes of it, side by side."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.grow = block(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.grow(x)], 1)


def dense() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32), Dense(32, 32), Dense(64, 48), block(112, 64)), 64)


class Excite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 32, 1), nn.Conv2d(32, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


def inverted() -> nn.Module:
    """Expansion, depthwise convolution, squeeze and excitation, projection: MobileNetV3's block."""
    inside = nn.Sequential(block(32, 64, 1), block(64, 64, groups=64), Excite(64), nn.Conv2d(64, 32, 1))
    return Headed(nn.Sequential(block(3, 32, stride=2), inside), 32)


def grouped() -> nn.Module:
    """ResNeXt's convolution in 4 groups."""
    return Headed(nn.Sequential(block(3, 32), block(32, 64, groups=4), block(64, 32, 1)), 32)


class Flat(nn.Module):
    """VGG's way: a linear layer reads every place of the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(block(3, 32, stride=2), block(32, 32, stride=2)), nn.Linear(32 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.body(x).flatten(1))
        return answer


class ByConvolution(nn.Module):
    """SqueezeNet's way: a convolution gives the classes, 64 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes = nn.Sequential(block(3, 32), block(32, 64)), nn.Conv2d(64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(F.relu(self.classes(self.body(x))), 1).flatten(1)


class Padded(nn.Module):
    """A CIFAR ResNet's shortcut of option A (arXiv:1512.03385, section 4.2): every other place, and zeros for the new
    channels on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = block(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.more, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(short + self.second(self.first(x)))


def option_a() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32), Padded(32, 32, 1), Padded(32, 64, 2), Padded(64, 64, 1)), 64)


class Shuffled(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, the other half are convolved, then they are interleaved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(block(half, half, 1), block(half, half, groups=half), block(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        both = torch.cat([left, self.branch(right)], 1)
        count, width, height, breadth = both.shape
        return both.view(count, 2, width // 2, height, breadth).transpose(1, 2).reshape(count, width, height, breadth)


def shuffled() -> nn.Module:
    return Headed(nn.Sequential(block(3, 64), Shuffled(64), Shuffled(64)), 64)


class Mean(nn.Module):
    """Spatial attention by the mean over all channels: with fewer of them it is another mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before, self.after = block(inputs, outputs), block(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        found: Tensor = self.after(x * torch.sigmoid(x.mean(1, keepdim=True)))
        return found


def by_mean() -> nn.Module:
    return Headed(Mean(3, 32), 32)


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = tokens + self.narrow(F.gelu(self.wide(tokens)))
        return tokens.transpose(1, 2).reshape(x.shape)


def attended() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32, stride=4), Attention(32)), 32)


class Scaled(nn.Module):
    """ConvNeXt's block: depthwise, norm over the channels of a place, two linear layers, a scale for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread, self.norm = nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(self.spread(x).permute(0, 2, 3, 1))
        return x + self.scale * self.narrow(F.gelu(self.wide(places))).permute(0, 3, 1, 2)


def scaled() -> nn.Module:
    return Headed(nn.Sequential(block(3, 32), Scaled(32), Scaled(32)), 32)


def normed() -> nn.Module:
    """Group norm in 4 groups."""
    return Headed(nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.GroupNorm(4, 32), nn.ReLU(), block(32, 32)), 32)


class Aided(nn.Module):
    """An auxiliary head that only training reads, as GoogLeNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.more, self.head = block(3, 32), block(32, 32), nn.Linear(32, 5)
        self.aid = nn.Sequential(block(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.body(x)
        answer = self.head(F.adaptive_avg_pool2d(self.more(x), 1).flatten(1))
        return (answer, self.aid(x)) if self.training else answer


NETWORKS = {
    **{"plain": plain, "residual": residual, "dense": dense, "inverted": inverted, "grouped": grouped, "flat": Flat},
    **{"by_convolution": ByConvolution, "option_a": option_a, "shuffled": shuffled, "by_mean": by_mean},
    **{"attended": attended, "scaled": scaled, "normed": normed, "aided": Aided},
}


def network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name]().eval()
