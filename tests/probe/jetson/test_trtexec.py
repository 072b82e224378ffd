"""How trtexec is found, called and understood: with a stub of it for each version that spoke another dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
from jetson_stubs import FLAGS, Jetson

from edgecnn.probe import onnx_file, tensorrt_errors, trtexec
from edgecnn.probe.errors import ProbeError
from edgecnn.probe.onnx_file import OnnxFile
from edgecnn.probe.specs import InputSpec

IMAGE = InputSpec("x", ("n", 3, 8, 8), "float32", "NCHW")


def found(jetson: Jetson, version: str, **about: object) -> trtexec.Tool:
    return trtexec.find({"trtexec": str(jetson.trtexec(version, **about))})


def flags(tool: trtexec.Tool, *, quantized: bool = False, half: bool = False) -> list[str]:
    model = OnnxFile("m.onnx", [IMAGE], quantized, half)
    return trtexec.build_flags(tool, model, batch=1, workspace_mib=256)


@pytest.mark.parametrize(
    ("version", "full"),
    [
        ("8.5.2", "8.5.2"),
        ("8.6.1", "8.6.1"),
        ("10.3.0", "10.3.0"),
        ("10.16.2", "10.16.2.10"),
        ("11.1.0", "11.1.0.106"),
    ],
)
def test_the_banner_tells_the_version(jetson: Jetson, version: str, full: str) -> None:
    assert found(jetson, version).full_version == full


def test_the_path_is_searched_where_jetpack_put_none(jetson: Jetson, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jetson.trtexec("8.5.2")
    monkeypatch.setenv("PATH", str(jetson.bin))
    assert trtexec.find({}).path == str(path)


def test_none_at_all_is_a_missing_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for options in ({}, {"trtexec": str(tmp_path / "absent")}):
        with pytest.raises(ProbeError) as caught:
            trtexec.find(options)
        assert caught.value.code == "missing-runtime"
        assert "apt install" in caught.value.hint


def test_a_program_that_is_not_trtexec_is_a_missing_runtime(tmp_path: Path) -> None:
    other = tmp_path / "trtexec"
    other.write_text("#!/bin/sh\necho error while loading shared libraries: libnvinfer.so.10 >&2\nexit 127\n")
    other.chmod(0o755)
    with pytest.raises(ProbeError, match="trtexec") as caught:
        trtexec.find({"trtexec": str(other)})
    assert caught.value.code == "missing-runtime"
    assert "libnvinfer.so.10" in caught.value.why


def test_before_8_5_is_too_old(jetson: Jetson) -> None:
    with pytest.raises(ProbeError) as caught:
        trtexec.find({"trtexec": str(jetson.trtexec("8.5.2", version="8.2.1"))})
    assert caught.value.code == "old-runtime"
    assert "8.2.1" in caught.value.message


@pytest.mark.parametrize("version", FLAGS)
def test_every_version_takes_what_it_is_told(jetson: Jetson, tmp_path: Path, onnx_model: Path, version: str) -> None:
    tool, model = found(jetson, version), onnx_file.read(str(onnx_model))
    engine, exported = str(tmp_path / "e.plan"), str(tmp_path / "times.json")
    for case in (model, model._replace(quantized=True), model._replace(half=True)):
        wanted = trtexec.build_flags(tool, case, batch=2, workspace_mib=256)
        argv = trtexec.build_argv(tool, case, engine=engine, timing_cache=str(tmp_path / "t.cache"), flags=wanted)
        log = trtexec.run(argv, timeout_s=20).log
        assert "Engine built in" in log and "Starting inference" not in log
        more = ["--exportTimes=" + exported, "--iterations=5", "--duration=0", "--warmUp=0"]
        ran = trtexec.run(trtexec.run_argv(tool, case, engine=engine, batch=2, more=more), timeout_s=20)
        assert "PASSED" in ran.log
        assert "Automatically overriding shape" not in ran.log
        assert ran.end_s > 0


@pytest.mark.parametrize("version", ["8.5.2", "8.6.1", "10.3.0", "10.16.2"])
def test_precision_flags_follow_the_model_up_to_10(jetson: Jetson, version: str) -> None:
    tool = found(jetson, version)
    assert not {"--int8", "--fp16"} & set(flags(tool))
    assert {"--int8", "--fp16"} <= set(flags(tool, quantized=True))
    assert "--fp16" in flags(tool, half=True) and "--int8" not in flags(tool, half=True)


def test_11_takes_precision_from_the_graph_and_is_told_what_used_to_be_the_default(jetson: Jetson) -> None:
    tool = found(jetson, "11.1.0")
    assert not {"--int8", "--fp16"} & set(flags(tool, quantized=True, half=True))
    run = trtexec.run_argv(tool, OnnxFile("m.onnx", [IMAGE], False, False), engine="e", batch=1, more=[])
    assert {"--noCudaGraph", "--noSpinWait", "--includeDataTransfers"} <= set(run)
    older = trtexec.run_argv(
        found(jetson, "10.16.2"), OnnxFile("m.onnx", [IMAGE], False, False), engine="e", batch=1, more=[]
    )
    assert not {"--noCudaGraph", "--noSpinWait", "--includeDataTransfers"} & set(older)


@pytest.mark.parametrize("version", FLAGS)
def test_one_query_after_another(jetson: Jetson, version: str) -> None:
    model = OnnxFile("m.onnx", [IMAGE], False, False)
    run = trtexec.run_argv(found(jetson, version), model, engine="e", batch=1, more=[])
    assert "--exposeDMA" in run and {"--streams=1", "--infStreams=1"} & set(run)


def test_a_free_batch_is_fixed_and_a_fixed_one_is_left_alone(jetson: Jetson) -> None:
    tool = found(jetson, "10.3.0")
    assert {"--minShapes=x:1x3x8x8", "--optShapes=x:1x3x8x8", "--maxShapes=x:1x3x8x8"} <= set(flags(tool))
    fixed = OnnxFile("m.onnx", [IMAGE._replace(shape=(1, 3, 8, 8))], False, False)
    assert not [word for word in trtexec.build_flags(tool, fixed, batch=1, workspace_mib=256) if "Shapes" in word]
    assert not [word for word in trtexec.run_argv(tool, fixed, engine="e", batch=1, more=[]) if "hapes" in word]


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        ("parser-error", "cannot-load", "node number 0 [QuantizeLinear"),
        ("parser-error", "cannot-load", "Non-zero zero point is not supported"),
        ("build-out-of-memory", "out-of-memory", "out of memory"),
        ("no-kernel", "cannot-load", "Conv_119 + Add_182"),
        ("no-driver", "cuda-unavailable", "driver version is insufficient"),
        ("killed", "probe-killed", "SIGKILL"),
        ("illegal-instruction", "wrong-instruction", ""),
    ],
)
def test_a_build_that_fails_is_named(
    jetson: Jetson, tmp_path: Path, onnx_model: Path, mode: str, code: str, says: str
) -> None:
    tool, model = found(jetson, "10.3.0", mode=mode), onnx_file.read(str(onnx_model))
    wanted = trtexec.build_flags(tool, model, batch=1, workspace_mib=256)
    argv = trtexec.build_argv(tool, model, engine=str(tmp_path / "e"), timing_cache=str(tmp_path / "t"), flags=wanted)
    with pytest.raises(ProbeError) as caught:
        trtexec.run(argv, timeout_s=20)
    assert caught.value.code == code
    assert says in caught.value.why
    assert "[E]" not in caught.value.why and "\n" not in caught.value.why


def test_a_flag_that_a_version_does_not_know_is_named(jetson: Jetson) -> None:
    with pytest.raises(ProbeError) as caught:
        trtexec.run([found(jetson, "11.1.0").path, "--fp16", "--onnx=x"], timeout_s=20)
    assert "Unknown option: --fp16" in caught.value.why


def test_a_run_that_hangs_is_ended(jetson: Jetson) -> None:
    with pytest.raises(ProbeError, match=r"did not finish in 0\.3 s"):
        trtexec.run([found(jetson, "10.3.0", mode="hangs").path, "--onnx=x"], timeout_s=0.3)


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (
            "[E] [TRT] 6: The engine plan file is not compatible with this version of TensorRT, expecting library "
            "version 8.6.1 got 8.5.2, please rebuild.",
            "engine-mismatch",
        ),
        (
            "[E] [TRT] ModelImporter.cpp:732: ERROR: builtin_op_importers.cpp:5428 In function importFallbackPlugin:\n"
            '[8] Assertion failed: creator && "Plugin not found"\n[E] Failed to parse onnx file',
            "cannot-load",
        ),
        ("[E] [TRT] 2: [executionContext.cpp::ExecutionContext::470] Error Code 2: OutOfMemory (no", "out-of-memory"),
        ("CUDA initialization failure with error: 35", "cuda-unavailable"),
        ("[E] Error[1]: [graphContext.h] Error Code 1: Cuda Runtime (unspecified launch failure)", "cuda-error"),
        ("[E] Engine deserialization failed", "cannot-load"),
        ("[E] something nobody has seen", "cannot-run"),
        ("", "cannot-run"),
    ],
)
def test_words_of_other_versions_are_understood(log: str, code: str) -> None:
    error = tensorrt_errors.explain(1, log)
    assert error.code == code
    assert error.why and "[E]" not in error.why


def test_control_characters_of_a_log_are_dropped(tmp_path: Path) -> None:
    noisy = tmp_path / "trtexec"
    noisy.write_text("#!/bin/sh\nprintf '[E] red \\033[31m bell \\007\\n' >&2\nexit 1\n")
    noisy.chmod(0o755)
    with pytest.raises(ProbeError) as caught:
        trtexec.run([str(noisy)], timeout_s=10)
    assert caught.value.why == "red [31m bell"
