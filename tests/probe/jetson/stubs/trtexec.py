"""A STUB of NVIDIA's trtexec: it speaks as the real one does, and runs nothing. Times are invented.

It takes exactly the flags of one version (`data/`), and writes what the real one writes: banner, log lines, times,
layer times, and errors. Words and formats are from
  samples/trtexec/trtexec.cpp and samples/common/{sampleReporting,sampleInference,sampleEngines,sampleOptions}.cpp of
  github.com/NVIDIA/TensorRT (commits 768d994b for 8.5, 147005ff for 8.6, and the tags that `data/` names),
  a log of TensorRT 8.5.2 on a Jetson AGX Xavier (`--loadEngine`), one of 10.16.2 on an Orin Nano (banner),
  and public issues for the errors, whose texts stand in ERRORS below as they were printed.

`trtexec.json` beside it: `version`, `build`, `flags` (path), `mode` (ok or a key of ERRORS or BROKEN), `latency_ms`,
`calls` (path: a line of JSON for each call), `gpu`, `compute_capability`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

ABOUT = json.load(open(os.path.splitext(os.path.abspath(__file__))[0] + ".json"))
VERSION = [int(part) for part in ABOUT["version"].split(".")]
MODE = ABOUT.get("mode", "ok")
LATENCY_MS = ABOUT.get("latency_ms", 2.0)
STAMP = "[11/20/2026-10:00:00] "
ERRORS = {
    "parser-error": (
        "build",
        [
            '[E] [TRT] ModelImporter.cpp:958: While parsing node number 0 [QuantizeLinear -> "x_quantized"]:',
            "[E] [TRT] ModelImporter.cpp:959: --- Begin node ---",
            "[E] [TRT] ModelImporter.cpp:961: --- End node ---",
            "[E] [TRT] ModelImporter.cpp:967: ERROR: onnxOpImporters.cpp:1803 In function QuantDequantLinearHelper:\n"
            "[6] Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported.",
            "[E] Failed to parse onnx file",
            "[I] Finished parsing network model. Parse time: 0.0123",
            "[E] Parsing model failed",
            "[E] Failed to create engine from model or file.",
            "[E] Engine set up failed",
        ],
    ),
    "build-out-of-memory": (
        "build",
        [
            "NvMapMemAllocInternalTagged: 1075072515 error 12",
            "NvMapMemHandleAlloc: error 0",
            "[E] [TRT] [resizingAllocator.cpp::allocate::74] Error Code 1: Cuda Runtime (out of memory)",
            "[W] [TRT] Requested amount of GPU memory (272573440 bytes) could not be allocated. There may not be "
            "enough free memory for allocation to succeed.",
            "[E] Engine could not be created from network",
            "[E] Building engine failed",
            "[E] Failed to create engine from model or file.",
            "[E] Engine set up failed",
        ],
    ),
    "no-kernel": (
        "build",
        [
            "[E] [TRT] 10: Could not find any implementation for node Conv_119 + Add_182.",
            "[E] [TRT] 10: [optimizer.cpp::computeCosts::2033] Error Code 10: Internal Error (Could not find any "
            "implementation for node Conv_119 + Add_182.)",
            "[E] Engine could not be created from network",
            "[E] Engine set up failed",
        ],
    ),
    "run-out-of-memory": (
        "run",
        [
            "[E] [TRT] [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
            "[E] [TRT] [executionContext.cpp::ExecutionContext::609] Error Code 2: OutOfMemory (Requested size was "
            "150732800 bytes.)",
            "[E] Unable to create execution context for stream 0.",
            "[E] Inference set up failed",
        ],
    ),
    "other-version": (
        "load",
        [
            "[E] [TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 239, "
            "Serialized Engine Version: 232)",
            "[E] Engine deserialization failed",
            "[E] Got invalid engine!",
            "[E] Inference set up failed",
        ],
    ),
    "other-gpu": (
        "load",
        [
            "[E] [TRT] 6: The engine plan file is generated on an incompatible device, expecting compute 8.7 got "
            "compute 7.2, please rebuild.",
            "[E] [TRT] 4: [runtime.cpp::deserializeCudaEngine::66] Error Code 4: Internal Error (Engine "
            "deserialization failed.)",
            "[E] Engine deserialization failed",
            "[E] Inference set up failed",
        ],
    ),
    "cuda-error": (
        "run",
        [
            "[E] [TRT] 1: [executionContext.cpp::executeInternal::667] Error Code 1: Cuda Runtime (an illegal memory "
            "access was encountered)",
            "[E] Error occurred during inference",
        ],
    ),
    "no-driver": ("start", ["Cuda failure: CUDA driver version is insufficient for CUDA runtime version"]),
}
BROKEN = {
    "garbage-times": "this is no JSON",
    "truncated-times": '[\n  { "startEnqMs" : 1, "endEnqMs" : 2, "latencyMs" : 1.2',
    "negative-times": '[{ "startComputeMs" : 900, "h2dMs" : 1, "computeMs" : -3, "d2hMs" : 1, "latencyMs" : -1 }]',
    "contradicting-times": '[{ "startComputeMs" : 900, "h2dMs" : 1, "computeMs" : 3, "d2hMs" : 1, "latencyMs" : 50 }]',
    "no-times": "[\n]\n",
}


def main(argv: list[str]) -> int:
    arguments = dict(word.partition("=")[::2] for word in argv[1:])
    with open(ABOUT["calls"], "a") as calls:
        calls.write(json.dumps(argv[1:]) + "\n")
    banner = "TensorRT.trtexec " + tag() + " # " + " ".join(argv)
    print("&&&& RUNNING " + banner)
    if "--help" in arguments:
        print("=== Model Options ===\n  --onnx=<file>               ONNX model")
        return 0
    with open(ABOUT["flags"]) as known:
        flags = {line.strip() for line in known if line.startswith("--")}
    unknown = [name for name in arguments if name not in flags]
    if unknown:
        say(*("[E] Unknown option: " + name + " " + arguments[name] for name in unknown))
        return failed(banner)
    say("[I] === Device Information ===", "[I] Selected Device: " + ABOUT["gpu"])
    if fails_at("start"):
        return 1
    say("[I] Compute Capability: " + ABOUT["compute_capability"], "[I] TensorRT version: " + ABOUT["version"])
    misbehave()
    well = build(arguments) if "--onnx" in arguments else run(arguments)
    if not well:
        return failed(banner)
    print("&&&& PASSED " + banner)
    return 0


def tag() -> str:
    major, minor, patch = VERSION
    number = major * (1000 if major < 10 else 10000) + minor * 100 + patch
    return "[TensorRT v%d]%s" % (number, " [b%s]" % ABOUT["build"] if ABOUT.get("build") else "")


def say(*lines: str) -> None:
    for line in lines:
        print(STAMP + line if line.startswith("[") else line, file=sys.stderr if "[E]" in line else sys.stdout)
    sys.stdout.flush()


def failed(banner: str) -> int:
    sys.stdout.flush()
    print("&&&& FAILED " + banner, file=sys.stderr)
    return 1


def fails_at(stage: str) -> bool:
    where, lines = ERRORS.get(MODE, ("", []))
    if where == stage:
        say(*lines)
    return where == stage


def misbehave() -> None:
    if MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "illegal-instruction":
        os.kill(os.getpid(), signal.SIGILL)
    if MODE == "hangs":
        time.sleep(60)


def build(arguments: dict[str, str]) -> bool:
    say("[I] Start parsing network model.")
    with open(arguments["--onnx"], "rb") as stream:
        if stream.read(1) != b"\x08":
            say("[E] [TRT] ModelImporter.cpp:688: Failed to parse ONNX model from file: " + arguments["--onnx"])
            say("[E] Failed to parse onnx file", "[E] Parsing model failed", "[E] Engine set up failed")
            return False
    if fails_at("build"):
        return False
    say("[I] Finished parsing network model. Parse time: 0.0123")
    engine = {"stub": "no engine", "version": ABOUT["version"], "flags": sorted(arguments)}
    if MODE != "writes-no-engine":
        with open(arguments["--saveEngine"], "w") as stream:
            json.dump(engine, stream)
    with open(arguments["--timingCacheFile"], "a") as stream:
        stream.write("stub\n")
    say("[I] Engine built in 12.5 sec.", "[I] Created engine with size: 6.2 MiB")
    done = "--buildOnly" if "--buildOnly" in arguments else "--skipInference"
    if done not in arguments:
        return run(dict(arguments, **{"--loadEngine": arguments["--saveEngine"]}))
    say("[I] Skipped inference phase since " + done + " is added.")
    return True


def run(arguments: dict[str, str]) -> bool:
    try:
        engine = json.load(open(arguments["--loadEngine"]))
    except ValueError:
        engine = {"version": "unreadable"}
    say("[I] Engine loaded in 0.0366376 sec.", "[I] [TRT] Loaded engine size: 28 MiB")
    if engine["version"] != ABOUT["version"]:
        say(*ERRORS["other-version"][1])
        return False
    if fails_at("load"):
        return False
    say("[I] Engine deserialized in 1.89224 sec.")
    say(
        "[I] [TRT] [MemUsageChange] TensorRT-managed allocation in IExecutionContext creation: CPU +0, GPU +38, "
        "now: CPU 0, GPU 65 (MiB)"
    )
    if "--minShapes" in engine.get("flags", []) and "--shapes" not in arguments:
        say("[W] Dynamic dimensions required for input: x, but no shapes were provided. Automatically overriding shape")
    say("[I] Starting inference")
    if fails_at("run"):
        return False
    warmup_ms = float(arguments.get("--warmUp", 200))
    count = max(int(arguments.get("--iterations", 10)), int(float(arguments.get("--duration", 3)) * 1e3 / LATENCY_MS))
    say("[I] Warmup completed %d queries over %g ms" % (warmup_ms / LATENCY_MS, warmup_ms))
    say("[I] Timing trace has %d queries over %g s" % (count, count * LATENCY_MS / 1e3))
    if "--exportTimes" in arguments:
        transfers = VERSION[0] < 11 or "--includeDataTransfers" in arguments
        export_times(arguments["--exportTimes"], count, warmup_ms=warmup_ms, transfers=transfers)
    if "--exportProfile" in arguments:
        export_profile(arguments["--exportProfile"], count)
    if "--exportLayerInfo" in arguments:
        export_layers(arguments["--exportLayerInfo"])
    say("[I] === Performance summary ===", "[I] Throughput: %g qps" % (1e3 / LATENCY_MS))
    return True


def export_times(path: str, count: int, *, warmup_ms: float, transfers: bool) -> None:
    """exportJSONTrace: queries after the warm-up, an object a line; copies take no time where 11 leaves them out."""
    rng, start, separator = random.Random(count), warmup_ms, "  "  # noqa: S311
    with open(path, "w") as out:
        if MODE in BROKEN:
            out.write(BROKEN[MODE])
            return
        out.write("[\n")
        for place in range(count):
            slow = 8.0 if warmup_ms == 0 and place == 0 else 1.0
            h2d, d2h = (0.0112305, 0.00439453) if transfers else (0.0, 0.0)
            compute = slow * LATENCY_MS * rng.gauss(1.0, 0.004) - h2d - d2h
            values = (
                ("startEnqMs", start - 0.2),
                ("endEnqMs", start - 0.1),
                ("startH2dMs", start - 0.05),
                ("endH2dMs", start - 0.04),
                ("startComputeMs", start),
                ("endComputeMs", start + compute),
                ("startD2hMs", start + compute),
                ("endD2hMs", start + compute + d2h),
                ("h2dMs", h2d),
                ("computeMs", compute),
                ("d2hMs", d2h),
                ("latencyMs", h2d + compute + d2h),
            )
            out.write(separator + "{ " + ", ".join('"%s" : %g' % pair for pair in values) + " }\n")
            separator, start = ", ", start + compute
        out.write("]\n")


LAYERS = (
    ("Reformatting CopyNode for Input Tensor 0 to conv1 + relu1", "Reformat", 0.05),
    ("conv1 + relu1", "CaskConvolution", 0.65),
    ("pool", "CaskPooling", 0.1),
    ("fc", "CaskGemmMatrixMultiply", 0.2),
)


def export_profile(path: str, count: int) -> None:
    """Profiler::exportJSONProfile: the number of runs, then the layers."""
    with open(path, "w") as out:
        out.write('[\n  { "count" : %d }\n' % count)
        for name, _kind, share in LAYERS:
            ms = share * LATENCY_MS
            out.write(
                ', { "name" : "%s", "timeMs" : %g, "averageMs" : %g, "medianMs" : %g, "percentage" : %g }\n'
                % (name, ms * count, ms, ms, 100 * share)
            )
        out.write("]\n")


def export_layers(path: str) -> None:
    """The engine inspector's JSON with --profilingVerbosity=detailed, cut to the keys that are always there."""
    tensor = {"Location": "Device", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major linear FP32"}
    layers = [
        {
            "Name": name,
            "LayerType": kind,
            "Inputs": [dict(tensor, Name=name + " in")],
            "Outputs": [dict(tensor, Name=name + " out")],
            "TacticName": "sm80_xmma_fprop_implicit_gemm" if kind == "CaskConvolution" else "",
        }
        for name, kind, _share in LAYERS
    ]
    with open(path, "w") as out:
        json.dump({"Layers": layers, "Bindings": ["x", "y"]}, out)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
