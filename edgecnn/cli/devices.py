"""`edgecnn devices`: the boards this package knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgecnn.core.target import DeviceProfile, Hardware

app = typer.Typer(help="Show devices: what `--target` may name.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="DEVICE", help="A device's name or alias, or the path of a YAML file.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the devices that are shipped and your own.

    Yours lie in ~/.config/edgecnn/devices, one YAML file each.
    """
    from edgecnn.cli import console
    from edgecnn.devices import list_devices

    profiles = list_devices()
    if json:
        console.json(profiles)
    else:
        console.result(_table(profiles))


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Print what is known about a device.

    Hardware, formats in order of preference, and where the figures come from.
    """
    from edgecnn.cli import console
    from edgecnn.devices import load_device

    profile = load_device(name)
    if json:
        console.json(profile)
    else:
        console.result(_page(profile))


def _table(profiles: list[DeviceProfile]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "what it is", "formats", "aliases"):
        table.add_column(title, no_wrap=title in ("device", "formats"), overflow="fold")
    for profile in profiles:
        formats = ", ".join(item.format for item in profile.deployments)
        aliases = Text(", ".join(profile.aliases), "dim")
        table.add_row(Text(profile.name, "bold"), Text(profile.title), Text(formats), aliases)
    return table


def _page(profile: DeviceProfile) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("aliases", Text(", ".join(profile.aliases) or "none"))
    for label, text in _hardware(profile.hardware) if profile.hardware else ():
        grid.add_row(label, Text(text))
    for rank, item in enumerate(profile.deployments):
        note = f"  ({item.note})" if item.note else ""
        grid.add_row("formats" if rank == 0 else "", Text(f"{item.format}, run by {item.backend}{note}"))
    if profile.source:
        grid.add_row("source", Text(profile.source.strip()))
    return Group(Text.assemble((profile.name, "bold"), f"  {profile.title}"), "", grid)


def _hardware(hardware: Hardware) -> list[tuple[str, str]]:
    cpu, gpu, memory = hardware.cpu, hardware.gpu, hardware.memory
    rates = ((cpu.fp32_gflops, "GFLOPS FP32"), (cpu.int8_gops, "GOPS INT8"))
    lines = [("cpu", _facts(f"{cpu.cores}x {cpu.core}", (cpu.max_mhz, "MHz"), *rates))]
    if cpu.isa:
        lines.append(("", f"instructions: {', '.join(cpu.isa)}"))
    if gpu is not None:
        first = f"compute capability {gpu.compute_capability}, {gpu.sm} SMs"
        peaks = ((gpu.fp32_tflops, "TFLOPS FP32"), (gpu.fp16_tflops, "TFLOPS FP16"), (gpu.int8_tops, "TOPS INT8"))
        lines.append(("gpu", _facts(first, (gpu.max_mhz, "MHz"), *peaks)))
    sizes = memory.gb if isinstance(memory.gb, tuple) else (memory.gb,)
    *most, last = [f"{size:g}" for size in sizes]
    first = f"{', '.join(most)} or {last} GB" if most else f"{last} GB"
    lines.append(("memory", _facts(first + (f" {memory.type}" if memory.type else ""), (memory.gbps, "GB/s"))))
    return lines


def _facts(first: str, *measures: tuple[float | None, str]) -> str:
    return ", ".join([first, *(f"{value:g} {unit}" for value, unit in measures if value is not None)])
