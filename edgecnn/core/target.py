"""What a board is. A profile knows no recipe and no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgecnn.core.artifact import Format

Family = Literal["onnxruntime", "tensorrt", "litert"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(Strict):
    """`peaks` are dense and theoretical: all cores at `max_mhz`, in 10^9 operations per second (a multiply-add is
    two)."""

    core: str
    cores: int = Field(ge=1)
    max_mhz: float | None = None
    isa: tuple[str, ...] = ()
    fp32_gflops: float | None = None
    fp16_gflops: float | None = None
    int8_gops: float | None = None


class SuperClocks(Strict):
    max_mhz: float
    fp16_tflops: float | None = None
    int8_tops: float | None = None


class Gpu(Strict):
    """Dense peaks in 10^12 operations per second at `max_mhz`; `super` are those of JetPack 6.2's Super modes."""

    compute_capability: str
    sm: int
    max_mhz: float
    fp32_tflops: float | None = None
    fp16_tflops: float | None = None
    int8_tops: float | None = None
    super: SuperClocks | None = None


class Dla(Strict):
    """Deep-learning accelerators; `int8_tops` is dense, of all of them together."""

    version: int
    count: int = Field(ge=1)
    max_mhz: float
    int8_tops: float | None = None


class Memory(Strict):
    """`gb`: the sizes it is sold with; `gbps` is theoretical, 10^9 bytes per second."""

    gb: float | tuple[float, ...]
    type: str | None = None
    gbps: float | None = None
    gbps_super: float | None = None


class Hardware(Strict):
    cpu: Cpu
    gpu: Gpu | None = None
    dla: Dla | None = None
    memory: Memory


class Match(Strict):
    """How a probed board is recognised: any of `compatible` in its device tree, or the beginning of its `model`."""

    compatible: tuple[str, ...] = ()
    model: str | None = None
    soc: str | None = None


class PowerMode(Strict):
    """A mode of `nvpmodel`, known by its name: the number differs between boards and releases."""

    id: int | None = None
    cores: int | None = None
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    emc_mhz: float | None = None
    default: bool = False
    reboot: bool = False


class Rails(Strict):
    """Power rails. `total` is the input of the board; where there is none, `sum` are those to add up."""

    total: str | None = None
    sum: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


class EstimatedPower(Strict):
    """Board power = `slope` * the sum over the PMIC's rails + `offset_w`: an estimate, and called one."""

    slope: float
    offset_w: float


class Thermal(Strict):
    """Degrees Celsius."""

    soft_limit_c: float | None = None
    throttle_c: float | None = None
    shutdown_c: float | None = None


class JetPack(Strict):
    min: str
    max: str
    tensorrt: tuple[str, ...]


class Connect(Strict):
    """How to reach a board: a Host of the user's ssh configuration, or `user@host`.

    `config` is another ssh configuration file, `python` the interpreter on the board (a virtual environment's, for
    example), `folder` where edgecnn keeps its files there, below the home folder unless it begins with `/`.
    """

    ssh: str = Field(pattern=r"^[A-Za-z0-9_.@:\[\]%-]+$")
    config: Path | None = None
    python: str = Field(default="python3", pattern=r"^(~/)?[A-Za-z0-9_./+-]+$")
    folder: str = Field(default=".cache/edgecnn", pattern=r"^[A-Za-z0-9_./+-]+$")

    @field_validator("ssh")
    @classmethod
    def _no_option(cls, value: str) -> str:
        if value.startswith("-"):
            raise ValueError("a host does not begin with '-'")
        return value


class Deployment(Strict):
    """One way to run a model on the board: the format shipped, the backend that runs it, the quantization family."""

    format: Format
    backend: str
    family: Family
    note: str = ""


class DeviceProfile(Strict):
    """A board: hardware, formats in order of preference. `local` says that this host is the board; `connect` how to
    reach one that is not."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    match: Match | None = None
    hardware: Hardware | None = None
    deployments: tuple[Deployment, ...] = Field(min_length=1)
    jetpack: JetPack | None = None
    power_modes: Mapping[str, PowerMode] = {}
    power_modes_super: Mapping[str, PowerMode] = {}
    rails: Rails | None = None
    estimated_power: EstimatedPower | None = None
    thermal: Thermal | None = None
    throttle: tuple[Literal["soctherm_oc", "dmesg_soctherm", "frequency", "vcgencmd"], ...] = ()
    connect: Connect | None = None
    extends: str | None = None
    local: bool = False
    source: str = ""

    def deployment(self, format: Format) -> Deployment | None:
        return next((item for item in self.deployments if item.format == format), None)

    @property
    def reachable(self) -> bool:
        """Whether something can be run on it: it is this host, or there is a way to it."""
        return self.local or self.connect is not None
