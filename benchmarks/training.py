"""Images per second of training: the engine beside a bare PyTorch loop, and two processes beside one."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import records
import torch
from scipy.stats import t as student
from torch import nn

from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train import TrainSettings, fit, resnet_small

LEAST_SHARE, LEAST_SPEED_UP = 0.95, 1.6
CLASSES = 10
SMALL = {"resnet14": 2, "resnet56": 9}
"""CIFAR ResNets, by their blocks per stage; any other name is torchvision's."""


class Size(NamedTuple):
    """Of the images of a network: pixels a side, how many, and how many in a batch of all processes of an arm."""

    side: int
    images: int
    batch: int


ARMS: dict[str, dict[str, Any]] = {
    "bare": {"engine": False, "processes": 1},
    "engine": {"engine": True, "processes": 1},
    "two": {"engine": True, "processes": 2},
}
"""One thread per process: what a second process gives is compared with what one core does."""


def size_for(name: str) -> Size:
    return Size(32, 1024, 128) if name in SMALL else Size(224, 128, 16)


def network(name: str) -> nn.Module:
    """A CIFAR ResNet in the words of the demo's (K. He et al., 2015, section 4.2), or a network of torchvision."""
    torch.manual_seed(0)
    if name not in SMALL:
        from torchvision.models import get_model

        made: nn.Module = get_model(name, num_classes=CLASSES)
        return made
    module = resnet_small.ResNetSmall(CLASSES)
    layers, width = [], resnet_small.WIDTHS[0]
    for stage, wider in enumerate(resnet_small.WIDTHS):
        for number in range(SMALL[name]):
            layers.append(resnet_small.Block(width, wider, stride=2 if stage and not number else 1))
            width = wider
    module.blocks = nn.Sequential(*layers)
    return module


def write_images(folder: Path, size: Size) -> None:
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(size.images):
        Image.fromarray(rng.integers(0, 256, (size.side, size.side, 3), np.uint8)).save(folder / f"{number:05}.png")


def opened(folder: Path, side: int) -> ImageSet:
    paths = sorted(folder.glob("*.png"))
    labels = [number % CLASSES for number in range(len(paths))]
    preprocessing = Preprocessing(crop=(side, side), resize=side, mean=(0.5,) * 3, std=(0.25,) * 3)
    return ImageSet(paths, labels, preprocessing=preprocessing, root=folder)


def bare(images: ImageSet, given: dict[str, Any]) -> list[float]:
    """What one would write by hand at its best: images in memory, channels last, fused AdamW, clipping, no figures."""
    pixels = torch.from_numpy(np.concatenate(list(images.pixels(256))))
    labels = torch.tensor(images.labels)
    module = network(given["network"]).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
    taken = []
    for _ in range(given["epochs"]):
        begin = time.perf_counter()
        order = torch.randperm(len(pixels))
        batches = order[: len(order) // given["batch"] * given["batch"]].split(given["batch"])
        for chosen in batches:
            x = pixels[chosen].permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=given["precision"] == "bf16"):
                loss = nn.functional.cross_entropy(module(x), labels[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
        taken.append(len(batches) * given["batch"] / (time.perf_counter() - begin))
    return taken


def engine(images: ImageSet, given: dict[str, Any]) -> list[float]:
    settings = TrainSettings(
        epochs=given["epochs"],
        batch=given["batch"] // int(os.environ.get("WORLD_SIZE", "1")),
        mixed_precision=given["precision"],
        device="cpu",
    )
    history = fit(network(given["network"]), images, settings=settings)
    return [epoch.images_per_second for epoch in history.epochs]


def work(given: dict[str, Any]) -> None:
    """One arm in this process: its images per second, epoch by epoch, as the last line of stdout."""
    torch.set_num_threads(1)
    run: Callable[[ImageSet, dict[str, Any]], list[float]] = engine if given["engine"] else bare
    found = run(opened(Path(given["images"]), size_for(given["network"]).side), given)
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(found))


def start(given: dict[str, Any]) -> float:
    """Images per second of one arm in fresh processes: the median over the epochs but the first, which warms up."""
    launcher = [sys.executable]
    if given["processes"] > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher += ["-m", "torch.distributed.run", "--nproc-per-node", str(given["processes"])]
        launcher += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command = [*launcher, __file__, "--work", json.dumps(given)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise StepError(
            "job-failed", f"{given} ended with {done.returncode}", why="\n".join(done.stderr.splitlines()[-8:])
        )
    return float(np.median(json.loads(done.stdout.strip().splitlines()[-1])[1:]))


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Mean over rounds of the logarithm of the ratio within a round, with Student's 95 % interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    middle = float(np.mean(logs))
    reach = 0.0
    if len(logs) > 1:
        reach = float(student.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs)))
    return {"ratio": math.exp(middle), "low": math.exp(middle - reach), "high": math.exp(middle + reach)}


def measure(options: argparse.Namespace, folder: Path, name: str, precision: str) -> dict[str, Any]:
    """Every arm in every round, in random order within a round."""
    order = random.Random(0)  # noqa: S311 - no secret
    size = size_for(name)
    images = folder / str(size.side)
    if not images.exists():
        write_images(images, size)
    given: dict[str, Any] = {"network": name, "images": str(images), "precision": precision}
    given |= {"epochs": options.epochs, "batch": size.batch}
    found: dict[str, list[float]] = {candidate: [] for candidate in ARMS}
    for number in range(options.rounds):
        for candidate in order.sample(sorted(ARMS), len(ARMS)):
            found[candidate].append(start({**given, **ARMS[candidate]}))
            records.say(f"{name} {precision} round {number + 1}: {candidate} {found[candidate][-1]:.0f} images/s")
    return {
        "network": name,
        "size": size._asdict(),
        "precision": precision,
        "images_per_second": found,
        "engine_to_bare": ratio(found["engine"], found["bare"]),
        "two_to_one": ratio(found["two"], found["engine"]),
    }


def goals(results: list[dict[str, Any]]) -> list[records.Goal]:
    made = []
    for one in results:
        name = f"{one['network']} {one['precision']}"
        share, gain = one["engine_to_bare"], one["two_to_one"]
        made += [
            records.Goal(
                f"{name}: engine to bare loop",
                f"at least {LEAST_SHARE:g}",
                f"{share['ratio']:.3f} ({share['low']:.3f} to {share['high']:.3f})",
                share["ratio"] >= LEAST_SHARE,
            ),
            records.Goal(
                f"{name}: two processes to one",
                f"at least {LEAST_SPEED_UP:g}",
                f"{gain['ratio']:.2f} ({gain['low']:.2f} to {gain['high']:.2f})",
                gain["ratio"] >= LEAST_SPEED_UP if (os.cpu_count() or 1) > 1 else None,
            ),
        ]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="per arm and round; the first is not counted")
    parser.add_argument("--networks", nargs="+", default=[*SMALL, "mobilenet_v3_small"])
    parser.add_argument("--precision", nargs="+", default=["off", "bf16"], choices=("off", "bf16"))
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work)
        return
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        results = [
            measure(options, Path(folder), name, precision)
            for name in options.networks
            for precision in options.precision
            if precision == "off" or name in SMALL  # depthwise convolutions are slower in BF16 on most CPUs
        ]
    records.table(
        "training, images per second, one thread per process (median over rounds)",
        ("network", "precision", *ARMS),
        [
            (r["network"], r["precision"], *(f"{np.median(r['images_per_second'][name]):.0f}" for name in ARMS))
            for r in results
        ],
    )
    made = goals(results)
    records.print_goals(made)
    settings = {name: getattr(options, name) for name in ("rounds", "epochs")}
    records.save("training", {"runs": results}, settings=settings, goals=made)


if __name__ == "__main__":
    records.leave(main)
