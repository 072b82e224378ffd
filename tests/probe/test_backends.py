from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.probe import backends
from edgecnn.probe.backends import null, onnxruntime, tflite
from edgecnn.probe.errors import ProbeError
from edgecnn.probe.specs import InputSpec, arrange, layout_of
from edgecnn.testing.backend import BackendConformance


class TestNull(BackendConformance):
    backend = null
    reads_the_file = False

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return tmp_path / "any"


class TestOnnxRuntime(BackendConformance):
    backend = onnxruntime

    @pytest.fixture
    def model(self, onnx_model: Path) -> Path:
        return onnx_model


class TestLiteRTFloat(BackendConformance):
    backend = tflite

    @pytest.fixture
    def model(self, tflite_model: Callable[..., Path]) -> Path:
        return tflite_model("float32")


class TestLiteRTInt8(BackendConformance):
    backend = tflite

    @pytest.fixture
    def model(self, tflite_model: Callable[..., Path]) -> Path:
        return tflite_model("int8")


def test_the_8_bit_file_quantises_what_it_is_fed_and_gives_real_values_back(tflite_model: Callable[..., Path]) -> None:
    image = np.random.default_rng(1).uniform(-2, 2, (1, 8, 8, 3)).astype(np.float32)
    with tflite.load(str(tflite_model("int8")), {}) as session:
        (spec,) = session.inputs
        (mean,) = session.infer({spec.name: image})
    assert (spec.dtype, spec.layout) == ("int8", "NHWC")
    assert mean.dtype == np.float32
    # Two roundings to a grid of 0.02, of which the first averages out.
    np.testing.assert_allclose(mean, image.mean(axis=(1, 2)), atol=0.015)


def test_values_beyond_the_8_bit_range_are_clipped_not_wrapped(tflite_model: Callable[..., Path]) -> None:
    with tflite.load(str(tflite_model("int8")), {}) as session:
        (mean,) = session.infer({session.inputs[0].name: np.full((1, 8, 8, 3), 1e6, np.float32)})
    np.testing.assert_allclose(mean, (127 + 3) * 0.02, atol=1e-5)


def test_levels_of_the_file_pass_through_untouched(tflite_model: Callable[..., Path]) -> None:
    with tflite.load(str(tflite_model("int8")), {}) as session:
        (mean,) = session.infer({session.inputs[0].name: np.full((1, 8, 8, 3), 7, np.int8)})
    np.testing.assert_allclose(mean, (7 + 3) * 0.02, atol=1e-5)


def test_graph_optimization_can_be_chosen_but_not_invented(onnx_model: Path) -> None:
    for level in ("all", "extended", "basic", "disabled"):
        with onnxruntime.load(str(onnx_model), {"graph_optimization": level}) as session:
            assert session.infer({"x": np.ones((1, 3, 8, 8), np.float32)})[0].shape == (1, 5)
    with pytest.raises(ProbeError, match="graph_optimization"):
        onnxruntime.load(str(onnx_model), {"graph_optimization": "fastest"})


def test_a_feed_of_the_wrong_shape_is_the_adapters_error(onnx_model: Path) -> None:
    with onnxruntime.load(str(onnx_model), {}) as session, pytest.raises(ProbeError) as caught:
        session.infer({"x": np.ones((1, 3, 9, 9), np.float32)})
    assert caught.value.code == "cannot-run"


def test_an_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(ProbeError) as caught:
        backends.find("onnx_runtime")
    assert caught.value.code == "unknown-backend"
    assert "onnxruntime" in caught.value.hint


def test_layout_is_read_off_the_channel_axis() -> None:
    assert layout_of((1, 3, 224, 224)) == "NCHW"
    assert layout_of((1, 224, 224, 3)) == "NHWC"
    assert layout_of((1, 28, 28, 1)) == "NHWC"
    assert layout_of((1, 64, 7, 7)) is None
    assert layout_of((1, 10)) is None


def test_images_are_arranged_as_the_file_wants_them() -> None:
    images = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    turned = arrange(images, InputSpec("x", (2, 4, 5, 3), "float32", "NHWC"))
    np.testing.assert_array_equal(turned, np.moveaxis(images, 1, 3))
    assert arrange(images, InputSpec("x", (2, 3, 4, 5), "float16", "NCHW")).dtype == np.float16
    assert arrange(images, InputSpec("x", (2, 3, 4, 5), "int8", "NCHW")).dtype == np.float32


def test_a_free_height_is_refused_with_a_way_out() -> None:
    assert InputSpec("x", ("n", 3, 8, 8), "float32", "NCHW").sized(4) == (4, 3, 8, 8)
    with pytest.raises(ProbeError) as caught:
        InputSpec("x", ("n", 3, "h", 8), "float32", "NCHW").sized()
    assert caught.value.code == "free-shape"
    assert caught.value.hint
