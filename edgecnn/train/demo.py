"""Demo training: a small residual network learns the handwritten digits in under half a minute."""

from __future__ import annotations

import io
from pathlib import Path

from edgecnn.core.events import Listener, ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import cannot_write, write_atomically
from edgecnn.train.settings import Augment, TrainingImages, TrainSettings

ARCHITECTURE = "edgecnn.train.resnet_small:resnet_small"
DIGITS = Preprocessing(crop=(32, 32), resize=32, mean=(0.3048,) * 3, std=(0.3757,) * 3)
SETTINGS = TrainSettings(
    epochs=9,
    batch=32,
    learning_rate=3e-3,
    weight_decay=0.02,
    label_smoothing=0.1,
    augment=Augment(crop_padding=4),
    mixed_precision="off",
    device="cpu",
)


def train_demo(data_folder: Path, out: Path, *, seed: int = 0, listener: Listener = ignore) -> Path:
    """Train on `data_folder/train` (see `data.demo.write_digits`) and write a checkpoint to `out`.

    The file is a dictionary that `torch.load(weights_only=True)` reads: state_dict, architecture, num_classes,
    preprocessing, class_names. Written whole or not at all. Raises InputError for unusable data, StepError when the
    disk refuses.
    """
    import torch

    from edgecnn.data import open_data
    from edgecnn.train.loop import fit
    from edgecnn.train.resnet_small import resnet_small

    data = open_data(data_folder, num_classes=10, preprocessing=DIGITS, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = resnet_small(num_classes=10)
    threads = torch.get_num_threads()
    # Layers this small gain little from threads, and beside other work on all cores they wait for each other many times
    # longer than they compute.
    torch.set_num_threads(max(1, threads // 2))
    try:
        fit(module, TrainingImages(data.training), settings=SETTINGS, listener=listener, seed=seed)
    finally:
        torch.set_num_threads(threads)
    content = {
        "state_dict": module.state_dict(),
        "architecture": ARCHITECTURE,
        "num_classes": 10,
        "preprocessing": DIGITS.to_dict(),
        "class_names": list(data.class_names),
    }
    written = io.BytesIO()
    torch.save(content, written)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    write_atomically(out, written.getvalue())
    return out
