"""The loops of other tools, one per process: `python loops.py KIND JSON` prints its samples' median in ns as JSON.

They follow what the tools do (sources below), in Python and with the same runtime call as the probe, so that a
difference is one of method: warm-up, stop rule, inputs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

Run = Callable[[], object]


def perf_test(settings: dict[str, Any]) -> list[int]:
    """`onnxruntime_perf_test -m times`: one warm-up run, then a number of runs on one input.

    Source: microsoft/onnxruntime, onnxruntime/test/perftest.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    session = onnxruntime.InferenceSession(settings["model"], options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    feeds = {given.name: _image([1, *given.shape[1:]])}  # the batch is free
    run: Run = lambda: session.run(None, feeds)  # noqa: E731 - the call that is timed, and nothing else
    run()
    return [_timed(run) for _ in range(settings["times"])]


def benchmark_model(settings: dict[str, Any]) -> list[int]:
    """LiteRT's `benchmark_model`: warm-up of one run and half a second, then 50 runs and one second at least.

    Source: google-ai-edge/LiteRT, tflite/tools/benchmark/benchmark_model.cc.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=settings["model"], num_threads=1)
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    image = _image([int(side) for side in given["shape"]])

    def run() -> object:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    _until(run, runs=1, seconds=0.5)
    return _until(run, runs=settings["times"], seconds=1.0)


def _until(run: Run, *, runs: int, seconds: float) -> list[int]:
    taken: list[int] = []
    begin = perf_counter()
    while len(taken) < runs or perf_counter() - begin < seconds:
        taken.append(_timed(run))
    return taken


def _timed(run: Run) -> int:
    start = perf_counter_ns()
    run()
    return perf_counter_ns() - start


def _image(shape: list[int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def chain(settings: dict[str, Any]) -> list[int]:
    """No loop: writes the network that is timed, `layers` equal convolutions, as ONNX and as TFLite.

    One convolution more or less is work of a known share: the planted slowdown.
    """
    from pathlib import Path

    import torch
    from work import PREPROCESSING, _Random

    from edgecnn.core import plugins

    torch.manual_seed(0)
    channels, side = settings["channels"], settings["side"]
    body = [torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in range(settings["layers"])]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 10)]
    network = torch.nn.Sequential(torch.nn.Conv2d(3, channels, 3, padding=1), *body, *head).eval()
    model = _Random("chain", network, 10, (3, side, side))
    for format, path in settings["out"].items():
        plugins.load("exporters", format)(model, Path(path), preprocessing=PREPROCESSING)
    return []


KINDS: dict[str, Callable[[dict[str, Any]], list[int]]] = {
    "perf_test": perf_test,
    "benchmark_model": benchmark_model,
    "chain": chain,
}


def main() -> None:
    taken = KINDS[sys.argv[1]](json.loads(sys.argv[2]))
    told = {"median_ns": float(np.median(taken)) if taken else None, "samples": len(taken)}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
