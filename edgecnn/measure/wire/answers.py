"""Answers of a probe's verbs: facts and check, layers, latency."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from edgecnn.measure.wire.fields import (
    Count,
    IsTrue,
    ItemsOf,
    ListOf,
    Message,
    Nanoseconds,
    NanosecondSeries,
    OrUnknown,
    Positive,
    WireName,
    WireNumber,
    WireTensors,
    WireText,
)

MOST_LAYERS, MOST_DETAILS = 8192, 16


class CpuPolicy(Message):
    """Clocks of one group of cores, MHz: allowed and possible."""

    min: OrUnknown[WireNumber]
    max: OrUnknown[WireNumber]
    hardware_max: OrUnknown[WireNumber]


class CpuClock(Message):
    """The processor's clock, MHz."""

    now: OrUnknown[WireNumber]
    max: OrUnknown[WireNumber]


class RuntimePackage(Message):
    """A Python package that was tried: `signal` ended the attempt."""

    installed: OrUnknown[StrictBool]
    version: OrUnknown[WireText]
    error: OrUnknown[WireText]
    signal: OrUnknown[WireNumber]

    @property
    def works(self) -> bool:
        return bool(self.installed) and not self.error and self.signal is None


class TrtexecInstallation(Message):
    """Where trtexec is."""

    trtexec: OrUnknown[WireText]
    version: OrUnknown[WireText]
    error: OrUnknown[WireText]


class DeviceFacts(Message):
    """What a machine says of itself: `edgecnn.probe.facts` and `edgecnn.probe.check`."""

    python: OrUnknown[WireText]
    bits: OrUnknown[WireNumber]
    machine: OrUnknown[WireText]
    system: OrUnknown[WireText]
    os: OrUnknown[WireText]
    release: OrUnknown[WireText]
    libc: OrUnknown[WireText]
    board: OrUnknown[WireText]
    compatible: ListOf[WireText]
    l4t: OrUnknown[WireText]
    jetpack: OrUnknown[WireText]
    emulated: OrUnknown[StrictBool]
    cpu: OrUnknown[WireText]
    isa: ListOf[WireText]
    usable_cores: OrUnknown[Positive]
    memory_bytes: OrUnknown[WireNumber]
    governor: OrUnknown[WireText]
    boot_id: OrUnknown[WireText]
    runtime: OrUnknown[WireText]
    governors: ListOf[WireText]
    cpu_policies: ItemsOf[CpuPolicy]
    cpu_mhz: OrUnknown[CpuClock]
    temperatures_c: ItemsOf[WireNumber]
    throttled: OrUnknown[Count]
    oc_counts: ItemsOf[WireNumber]
    power_mode: OrUnknown[WireText]
    power_mode_default: OrUnknown[WireText]
    power_modes: ListOf[WireText]
    power_mode_ids: ItemsOf[WireNumber]
    disk_free_bytes: OrUnknown[WireNumber]
    memory_available_bytes: OrUnknown[WireNumber]
    loadavg: OrUnknown[list[WireNumber]]
    externally_managed: OrUnknown[StrictBool]
    has_pip: OrUnknown[StrictBool]
    has_venv: OrUnknown[StrictBool]
    runtimes: ItemsOf[RuntimePackage]
    tensorrt: OrUnknown[TrtexecInstallation]
    time_s: OrUnknown[WireNumber]
    time_end_s: OrUnknown[WireNumber]

    def package(self, name: str) -> RuntimePackage:
        """What was found of a package; all unknown where it was not tried."""
        return self.runtimes.get(name, RuntimePackage.read({}))


def _first_details(value: Any) -> Any:
    return dict(list(value.items())[:MOST_DETAILS]) if isinstance(value, dict) else value


class LayerRow(Message):
    """One layer as it ran, ns; the quartiles None where the runtime does not tell them."""

    name: WireName
    op: WireName
    inputs: WireTensors
    outputs: WireTensors
    delegated: IsTrue = False
    node: StrictInt = -1
    weights: Count = 0
    details: Annotated[dict[WireName, WireName], BeforeValidator(_first_details), Field(default_factory=dict)]
    median_ns: Nanoseconds
    q1_ns: Nanoseconds | None = None
    q3_ns: Nanoseconds | None = None


class LayerAnswer(Message):
    """Times in ns. `layers` in the order of execution; `whole_ns` are runs without the profiler, `profiled_ns` runs
    with it, `sums_ns` the layers of a run together."""

    method: Literal["onnxruntime-profiler", "litert-profiler", "trtexec"]
    resolution_ns: Nanoseconds
    layers: Annotated[list[LayerRow], Field(min_length=1, max_length=MOST_LAYERS)]
    whole_ns: Annotated[NanosecondSeries, Field(min_length=1)]
    profiled_ns: NanosecondSeries
    sums_ns: NanosecondSeries
    facts: dict[str, Any]


class SensorReading(Message):
    """What the sensors said at one moment; keys and units as in `edgecnn.probe.sensors`."""

    t_s: OrUnknown[WireNumber]
    temperature_c: OrUnknown[WireNumber]
    cpu_mhz: OrUnknown[WireNumber]
    cpu_max_mhz: OrUnknown[WireNumber]
    cpu_busy: OrUnknown[WireNumber]
    gpu_mhz: OrUnknown[WireNumber]
    gpu_max_mhz: OrUnknown[WireNumber]
    gpu_load: OrUnknown[WireNumber]
    emc_mhz: OrUnknown[WireNumber]
    power_w: OrUnknown[WireNumber]
    input_v: OrUnknown[WireNumber]
    memory_available_bytes: OrUnknown[WireNumber]
    disk_free_bytes: OrUnknown[WireNumber]
    oom_kills: OrUnknown[WireNumber]
    throttled: OrUnknown[Count]
    clocks_locked: OrUnknown[StrictBool]
    power_mode: OrUnknown[WireText]
    power_source: OrUnknown[WireText]
    governor: OrUnknown[WireText]
    boot_id: OrUnknown[WireText]
    oc_counts: ItemsOf[WireNumber]
    rails_w: ItemsOf[WireNumber]


class SensorReport(Message):
    """Readings before, within and after the timed loop; `troubles` says what failed, by source."""

    before: OrUnknown[SensorReading]
    after: OrUnknown[SensorReading]
    samples: ListOf[SensorReading]
    sources: ListOf[WireText]
    period_s: OrUnknown[WireNumber]
    troubles: ItemsOf[WireText]


class LatencyAnswer(Message):
    """NanosecondSeries in ns, memory in bytes, `other_load` a share of the machine's CPU time, `own_load` in cores."""

    runs_per_sample: Positive
    batch: Positive
    load_ns: Count
    first_ns: Count
    steady: IsTrue
    facts: dict[str, Any]
    peak_rss_bytes: Count | None = None
    peak_rss_delta_bytes: Count | None = None
    other_load: OrUnknown[WireNumber]
    own_load: OrUnknown[WireNumber]
    telemetry: OrUnknown[SensorReport]
    e2e_runs_per_sample: OrUnknown[Positive]
    cooled_s: OrUnknown[WireNumber]
    findings: dict[WireName, WireName] = Field(default_factory=dict)
    loadavg: Any = None
    warmup_runs: Any = None
    import_ns: Any = None
