"""What a board is. A profile knows no recipe and no model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgecnn.core.artifact import Format

Family = Literal["onnxruntime", "tensorrt", "litert"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(Strict):
    """`peaks` are dense and theoretical: all cores at `max_mhz`, in 10^9 operations per second."""

    core: str
    cores: int = Field(ge=1)
    max_mhz: float | None = None
    isa: tuple[str, ...] = ()
    fp32_gflops: float | None = None
    int8_gops: float | None = None


class Gpu(Strict):
    compute_capability: str
    sm: int
    max_mhz: float
    fp32_tflops: float | None = None
    fp16_tflops: float | None = None
    int8_tops: float | None = None


class Memory(Strict):
    gb: float | tuple[float, ...]
    type: str | None = None
    gbps: float | None = None


class Hardware(Strict):
    cpu: Cpu
    gpu: Gpu | None = None
    memory: Memory


class Deployment(Strict):
    """One way to run a model on the board: the format shipped, the backend that runs it, the quantization family."""

    format: Format
    backend: str
    family: Family
    note: str = ""


class DeviceProfile(Strict):
    """A board: hardware, formats in order of preference. `local` says that this host is the board."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    hardware: Hardware | None = None
    deployments: tuple[Deployment, ...] = Field(min_length=1)
    local: bool = False
    source: str = ""

    def deployment(self, format: Format) -> Deployment | None:
        return next((item for item in self.deployments if item.format == format), None)
