"""A module and a DataLoader of your own → INT8 files, judged and measured.

python examples/module_to_board.py [OUT]
"""

import sys

import torch
from torch.utils.data import DataLoader, TensorDataset

import edgecnn
from edgecnn.train.resnet_small import resnet_small


def data(images_per_class: int = 20) -> DataLoader:
    """Four classes of stripes and squares, as float tensors (N, 3, 32, 32)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.2 * torch.randn(4 * images_per_class, 3, 32, 32, generator=generator)
    labels = torch.arange(len(images)) % 4
    images[labels == 0, :, ::4] += 1
    images[labels == 1, :, :, ::4] += 1
    images[labels == 2, :, 8:24, 8:24] += 1
    return DataLoader(TensorDataset(images, labels), batch_size=16)


def learn(network: torch.nn.Module, loader: DataLoader, epochs: int = 3) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()


def main(out: str = "runs/example") -> None:
    loader, network = data(), resnet_small(num_classes=4)
    learn(network, loader)
    report = edgecnn.optimize(network, data=loader, out=out, format="onnx", profile="smoke", max_drop="20%")
    print(report.verdict, report.outcome_why)
    for row in report.rows:
        print(f"{row.name}: {row.size_bytes} bytes, top-1 {row.accuracy.top1 if row.accuracy else None}")


if __name__ == "__main__":
    main(*sys.argv[1:])
