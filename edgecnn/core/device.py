"""Device profile: what a board is. It knows no recipe and no model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName, Precision
from edgecnn.core.paths import at_home
from edgecnn.core.units import alternatives

Throttle = Literal["soctherm_oc", "dmesg_soctherm", "frequency", "vcgencmd"]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""What a device answers to."""


def registered_format(name: str) -> str:
    """Raises ValueError when no format of that name is registered."""
    return _one_of(name, plugins.names("formats"))


def registered_family(name: str) -> str:
    """Raises ValueError when no format has that quantization family."""
    return _one_of(name, sorted(filter(None, (item.family for item in plugins.every("formats")))))


def _one_of(name: str, known: list[str]) -> str:
    if name not in known:
        left_out = "".join(f"; {item.name} cannot be loaded: {item.why}" for item in plugins.broken("formats"))
        words = alternatives(f"'{word}'" for word in known)
        allowed = f"has to be {words}" if words else "no format is installed that it could be"
        raise ValueError(f"{allowed}{left_out}")
    return name


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(Strict):
    """Peaks are dense and theoretical: all cores at `max_mhz`, in 10^9 operations per second (a multiply-add is two).

    `max_mhz_super` is the clock in JetPack 6.2's Super modes.
    """

    core: str
    cores: int = Field(ge=1)
    max_mhz: float | None = None
    max_mhz_super: float | None = None
    isa: tuple[str, ...] = ()
    fp32_gflops: float | None = None
    fp16_gflops: float | None = None
    int8_gops: float | None = None


class SuperClocks(Strict):
    """Clock and dense peaks in JetPack 6.2's Super modes."""

    max_mhz: float
    fp32_tflops: float | None = None
    fp16_tflops: float | None = None
    int8_tops: float | None = None


class Gpu(Strict):
    """Dense peaks in 10^12 operations per second at `max_mhz`. `int8_tops` is left out where TensorRT has no INT8."""

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
    super: SuperClocks | None = None


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
    """How a probed board is recognised, by what its device tree says.

    One of `compatible` names it: `nvidia,p3767-0005` is also in `nvidia,p3768-0000+p3767-0005-super`. Or its model
    begins with the words of `model`. `soc` is the chip, the same on several boards: `tegra234`, `bcm2712`.
    """

    compatible: tuple[str, ...] = ()
    model: str | None = None
    soc: str | None = None

    def names(self, compatible: Iterable[str], model: str | None) -> bool:
        """Whether it is a board that says this of itself."""
        if self.model is not None and f"{model or ''} ".startswith(f"{self.model} "):
            return True
        parts = {part for entry in compatible for part in _parts(entry)}
        wanted = [wanted for entry in self.compatible for wanted in _parts(entry)]
        return any(part == one or part.startswith(f"{one}-") for one in wanted for part in parts)

    def has_chip(self, compatible: Iterable[str]) -> bool:
        """Whether a board that says this has the same chip, be it another board."""
        return self.soc is not None and self.soc in {part for entry in compatible for part in _parts(entry)}


def _parts(entry: str) -> list[str]:
    """`nvidia,p3768-0000+p3767-0005` names a carrier board and the module on it."""
    return entry.partition(",")[2].split("+")


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
    """Degrees Celsius, rising: a first, gentle limit; where clocks fall; where they fall far; where power goes off."""

    soft_limit_c: float | None = None
    throttle_c: float | None = None
    hard_limit_c: float | None = None
    shutdown_c: float | None = None


class JetPack(Strict):
    min: str
    max: str
    tensorrt: tuple[str, ...]


PLAIN = {
    "ssh": (r"[A-Za-z0-9_.@:\[\]%-]+", "a Host of your ssh configuration, or user@host: no blanks, quotes or ;"),
    "python": (r"(~/)?[A-Za-z0-9_./+-]+", "the path of an interpreter: letters, digits and ./_+-, a ~/ before them"),
    "folder": (r"[A-Za-z0-9_./+-]+", "a path: letters, digits and ./_+-"),
}
"""What may stand in a command for the board: words that mean the same with and without a shell."""


class Connect(Strict):
    """How to reach a board: a Host of the user's ssh configuration, or `user@host`.

    `config` is another ssh configuration file, `python` the interpreter on the board (a virtual environment's, for
    example), `folder` where edgecnn keeps its files there, below the home folder unless it begins with `/`: a folder
    in which nobody else may write, for programs in it are run.
    """

    ssh: str
    config: Path | None = None
    python: str = "python3"
    folder: str = ".cache/edgecnn"

    @field_validator("ssh", "python", "folder")
    @classmethod
    def _plain(cls, value: str, info: ValidationInfo) -> str:
        pattern, allowed = PLAIN[str(info.field_name)]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {allowed}")
        if value.startswith("-") or "@-" in value:
            raise ValueError("must not begin with '-': it would be taken for an option")
        if info.field_name == "ssh" and re.fullmatch(r"[^:]+:\d+", value):
            raise ValueError("takes no port: make a Host with a Port in ~/.ssh/config and name that")
        return value

    @field_validator("config")
    @classmethod
    def _at_home(cls, value: Path | None) -> Path | None:
        return at_home(value) if value is not None else None


class Deployment(Strict):
    """One way to run a model on the board: the format shipped, the backend that runs it, the quantization family.

    `on_request`: made only where `--format` names it, as the CPU's formats on a board with a GPU. `precisions`: those
    the backend has on this board.
    """

    format: Annotated[FormatName, AfterValidator(registered_format)]
    backend: str
    family: Annotated[str, AfterValidator(registered_family)]
    precisions: tuple[Precision, ...] = Field(default=("fp32", "fp16", "int8"), min_length=1)
    on_request: bool = False
    note: str = ""


class DeviceProfile(Strict):
    """A board: hardware, formats in order of preference. `local` says that this host is the board; `connect` how to
    reach one that is not."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    aliases: tuple[Word, ...] = ()
    match: Match | None = None
    hardware: Hardware | None = None
    deployments: tuple[Deployment, ...] = Field(min_length=1)
    jetpack: JetPack | None = None
    power_modes: Mapping[str, PowerMode] = {}
    power_modes_super: Mapping[str, PowerMode] = {}
    rails: Rails | None = None
    estimated_power: EstimatedPower | None = None
    thermal: Thermal | None = None
    throttle: tuple[Throttle, ...] = ()
    connect: Connect | None = None
    extends: str | None = None
    local: bool = False
    source: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> DeviceProfile:
        if self.local and self.connect is not None:
            raise ValueError("a device is this host (`local`) or reached over ssh (`connect`), not both")
        return self

    @property
    def delivered(self) -> tuple[FormatName, ...]:
        """The formats made for it when none is asked for, best first; all of them where each waits to be asked for."""
        unasked = tuple(item.format for item in self.deployments if not item.on_request)
        return unasked or tuple(item.format for item in self.deployments)

    def deployment(self, format: FormatName) -> Deployment | None:
        return next((item for item in self.deployments if item.format == format), None)

    @property
    def reachable(self) -> bool:
        """Whether something can be run on it: it is this host, or there is a way to it."""
        return self.local or self.connect is not None
