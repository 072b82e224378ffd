"""The least time of a layer, what sets it, and when a time cannot be true."""

from __future__ import annotations

import pytest

from edgecnn.core.device import Cpu, Deployment, DeviceProfile, Gpu, Hardware, Memory, PowerMode, SuperClocks
from edgecnn.formats.cost import Cost
from edgecnn.measure.roofline import Peaks, bound, peaks

BOARD = DeviceProfile(
    name="board",
    title="A board",
    hardware=Hardware(
        cpu=Cpu(core="a76", cores=4, max_mhz=2000, max_mhz_super=2500, fp32_gflops=100, int8_gops=400),
        gpu=Gpu(
            compute_capability="8.7",
            sm=8,
            max_mhz=600,
            fp32_tflops=1.3,
            fp16_tflops=10.0,
            int8_tops=20.0,
            super=SuperClocks(max_mhz=1000, fp16_tflops=16.0, int8_tops=32.0),
        ),
        memory=Memory(gb=8, gbps=50.0, gbps_super=100.0),
    ),
    power_modes={"15W": PowerMode(id=0)},
    power_modes_super={"MAXN_SUPER": PowerMode(id=2)},
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)
SLOW = {"power_mode": "15W"}


def test_peaks_of_the_cpu_go_with_the_threads() -> None:
    for threads, share in ((1, 0.25), (2, 0.5), (4, 1.0), (8, 1.0)):
        found = peaks(BOARD, backend="onnxruntime", threads=threads, facts=SLOW)
        assert found is not None and found.part == "cpu"
        assert found.operations_per_s == {"fp32": pytest.approx(100e9 * share), "int8": pytest.approx(400e9 * share)}
        assert found.bytes_per_s == 50e9


def test_the_higher_clocks_count_unless_the_board_is_in_another_mode() -> None:
    for facts, tops, gbps in ((SLOW, 20e12, 50e9), ({}, 32e12, 100e9), ({"power_mode": "MAXN_SUPER"}, 32e12, 100e9)):
        found = peaks(BOARD, backend="tensorrt", threads=1, facts=facts)
        assert found is not None and found.part == "gpu"
        assert found.operations_per_s["int8"] == tops and found.bytes_per_s == gbps


def test_fp32_may_run_on_tensor_cores() -> None:
    found = peaks(BOARD, backend="tensorrt", threads=1, facts=SLOW)
    assert found is not None and found.operations_per_s["fp32"] == 5e12


def test_no_peaks_no_bound() -> None:
    host = DeviceProfile(name="host", title="This machine", local=True, deployments=BOARD.deployments)
    assert peaks(host, backend="onnxruntime", threads=1, facts={}) is None
    assert peaks(BOARD, backend="onnxruntime", threads=1, facts={"emulated": True}) is None
    assert bound(Cost(1, 2, 3, 4), precision="int8", time_ns=5, peaks=None) is None
    known = Peaks("cpu", {"fp32": 1e9}, 1e9)
    for cost in (Cost(), Cost(macs=1, operations=2), Cost(0, 0, 0, 0)):
        assert bound(cost, precision="fp32", time_ns=5, peaks=known) is None


def test_the_limit_is_the_slower_of_the_two() -> None:
    known = Peaks("cpu", {"fp32": 1e9, "int8": 4e9}, 1e9)
    computing = bound(Cost(500, 1000, 50, 50), precision="fp32", time_ns=2000, peaks=known)
    assert computing is not None
    assert (computing.limit, computing.least_ns, computing.reached) == ("compute", 1000, 0.5)
    moving = bound(Cost(500, 1000, 250, 250), precision="int8", time_ns=1000, peaks=known)
    assert moving is not None
    assert (moving.limit, moving.least_ns, moving.reached) == ("memory", 500, 0.5)
    of_unknown_type = bound(Cost(500, 1000, 50, 50), precision="fp16", time_ns=2000, peaks=known)
    assert of_unknown_type is not None and (of_unknown_type.limit, of_unknown_type.least_ns) == ("memory", 100)


@pytest.mark.parametrize(
    ("cost", "time_ns", "cached", "implausible"),
    [
        (Cost(500, 1000, 10, 10), 1001, False, False),
        (Cost(500, 1000, 10, 10), 999, False, True),  # quicker than it can compute
        (Cost(5, 10, 1000, 1000), 500, True, False),  # quicker than memory: from a cache
        (Cost(5, 10, 1 << 26, 0), 500, False, True),  # but no cache is that big
    ],
)
def test_a_time_that_cannot_be(cost: Cost, time_ns: float, cached: bool, implausible: bool) -> None:
    found = bound(cost, precision="fp32", time_ns=time_ns, peaks=Peaks("cpu", {"fp32": 1e9}, 1e9))
    assert found is not None
    assert (found.cached, found.implausible) == (cached, implausible)


def test_a_clock_with_steps_gets_the_benefit_of_the_doubt() -> None:
    known = Peaks("cpu", {"fp32": 1e9}, 1e9)
    found = bound(Cost(400, 800, 8, 8), precision="fp32", time_ns=0, peaks=known, resolution_ns=1000)
    assert found is not None and not found.implausible and found.reached == 0.8
