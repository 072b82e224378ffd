"""Conformance of a backend: inherit `BackendConformance`, set `backend`, give a `model` fixture, and run pytest.

One that measures with its runtime's own clock inherits `OwnClockConformance`.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgecnn.probe import backends, loop
from edgecnn.probe.errors import ProbeError
from edgecnn.probe.latency import LatencyPlan
from edgecnn.probe.specs import random_feeds

CLOCKS = {"time", "timeit", "datetime"}


class BackendConformance:
    """`backend` is the module under test; the fixture `model` is a file it can load, with one output of shape (1,
    classes)."""

    backend: ClassVar[Any]
    reads_the_file: ClassVar[bool] = True
    """Whether a file that is no model must be refused."""

    @pytest.fixture
    def model(self) -> Path:
        raise NotImplementedError("give a fixture `model`: the path of a file this backend loads")

    def load(self, model: Path) -> Any:
        return self.backend.load(str(model), {"threads": 1})

    def test_it_names_itself_and_what_it_runs(self) -> None:
        assert isinstance(self.backend.NAME, str) and self.backend.NAME
        assert self.backend.RUNS and all(isinstance(name, str) for name in self.backend.RUNS)
        assert isinstance(self.backend.version(), str) and self.backend.version()

    def test_inputs_say_name_shape_dtype_and_layout(self, model: Path) -> None:
        with self.load(model) as session:
            for spec in session.inputs:
                assert spec.name
                assert np.dtype(spec.dtype)
                assert spec.layout in ("NCHW", "NHWC", None)
                assert all(size > 0 for size in spec.sized())

    def test_outputs_are_arrays_and_the_same_for_the_same_input(self, model: Path) -> None:
        with self.load(model) as session:
            (feeds,) = random_feeds(session.inputs, 1, seed=3)
            once, again = session.infer(feeds), session.infer(feeds)
        assert once and all(type(output) is np.ndarray for output in once)
        for first, second in zip(once, again, strict=True):
            np.testing.assert_array_equal(first, second)

    def test_earlier_outputs_are_not_overwritten(self, model: Path) -> None:
        with self.load(model) as session:
            one, two = random_feeds(session.inputs, 2, seed=4)
            kept = session.infer(one)
            before = [output.copy() for output in kept]
            session.infer(two)
        for output, copy in zip(kept, before, strict=True):
            np.testing.assert_array_equal(output, copy)

    def test_inputs_are_left_as_they_were(self, model: Path) -> None:
        with self.load(model) as session:
            (feeds,) = random_feeds(session.inputs, 1, seed=5)
            before = {name: feed.copy() for name, feed in feeds.items()}
            session.infer(feeds)
        for name, feed in feeds.items():
            np.testing.assert_array_equal(feed, before[name])

    def test_a_file_that_is_no_model_is_refused(self, tmp_path: Path) -> None:
        if not self.reads_the_file:
            return
        bad = tmp_path / "bad.bin"
        bad.write_bytes(b"this is not a model" * 40)
        for path in (bad, tmp_path / "absent.bin"):
            with pytest.raises(ProbeError) as caught:
                self.backend.load(str(path), {"threads": 1})
            assert caught.value.code == "cannot-load"
            assert caught.value.why

    def test_it_touches_no_clock(self) -> None:
        tree = ast.parse(inspect.getsource(self.backend))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & CLOCKS


def measure_once(
    backend: Any, model: Path, *, options: Mapping[str, Any] | None = None, iterations: int = 30
) -> tuple[dict[str, Any], int]:
    """What `measure` of a backend gives for a short plan of at most 5 s, and how often the sensors were read."""
    entered = []

    @contextmanager
    def watched() -> Iterator[None]:
        entered.append(True)
        yield

    warmup = loop.Warmup(min_runs=10, min_s=0.2, max_s=1.0, max_runs=300, limit_s=5.0)
    measurement = loop.Measurement(min_iterations=iterations, min_s=0.0, max_s=5.0)
    plan = LatencyPlan(warmup, measurement, batch=1, seed=0, end_to_end=False, watched=watched)
    return backend.measure(str(model), {"threads": 1, "batch": 1, **(options or {})}, plan), len(entered)


class OwnClockConformance(BackendConformance):
    """`measure` takes the samples inside `plan.watched()` and tells with which command."""

    def test_samples_are_times_of_single_runs(self, model: Path) -> None:
        result, _watched = measure_once(self.backend, model)
        samples = np.asarray(result["samples"], np.float64)
        assert len(samples) >= 30
        assert np.isfinite(samples).all() and (samples > 0).all()
        assert result["load_ns"] > 0 and result["first_ns"] > 0
        assert isinstance(result["steady"], bool)

    def test_sensors_are_read_while_it_measures(self, model: Path) -> None:
        assert measure_once(self.backend, model)[1] == 1

    def test_it_tells_the_command(self, model: Path) -> None:
        argv = measure_once(self.backend, model)[0]["facts"]["argv"]
        assert argv and all(isinstance(word, str) for word in argv)

    def test_all_but_the_samples_can_be_sent(self, model: Path) -> None:
        result, _watched = measure_once(self.backend, model)
        assert json.dumps({key: value for key, value in result.items() if key != "samples"}, allow_nan=False)

    def test_its_version_takes_the_options(self) -> None:
        assert backends.version(self.backend, {})
