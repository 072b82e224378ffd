"""`edgecnn devices`: the boards this package knows, and those that are the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import console, options
from edgecnn.cli.command import command
from edgecnn.core.units import alternatives

if TYPE_CHECKING:
    from edgecnn.core.device import Deployment, DeviceProfile, Hardware, PowerMode
    from edgecnn.measure.checkup import DeviceCheckup
    from edgecnn.workflows.devices import AddedDevice

app = typer.Typer(
    help="Show, add and check devices: what `--target` may name.", no_args_is_help=True, rich_markup_mode=None
)

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red"), "unknown": ("?", "dim")}

DeviceFile = Annotated[
    str, typer.Argument(metavar="DEVICE", help="A device's name or alias, or the path of a YAML file.")
]


def _added(added: AddedDevice, options: Mapping[str, Any]) -> str:
    name = options["name"]
    return f"{name}: {added.profile.title}, at {options['ssh']}, in {added.path}\nnext: edgecnn devices check {name}"


@app.command("list")
@command("edgecnn.workflows.devices:list", printer=lambda profiles, _: _table(profiles))
def list_(json: options.PrintJson = False) -> None:
    """List the devices that are shipped and your own.

    Yours lie in ~/.config/edgecnn/devices, one YAML file each: `edgecnn devices add` writes one.
    """


@app.command()
@command("edgecnn.workflows.devices:show", printer=lambda profile, _: _page(profile))
def show(name: DeviceFile, json: options.PrintJson = False) -> None:
    """Print what is known about a device.

    Hardware, formats in order of preference, power modes, and where the figures come from.
    """


@app.command()
@command("edgecnn.workflows.devices:add", printer=_added)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: small letters, digits and '-'.")],
    ssh: Annotated[str, typer.Option(metavar="HOST", help="A Host of your ~/.ssh/config, or user@host; keys only.")],
    like: Annotated[str, typer.Option(metavar="DEVICE", help="The device it is one of: `edgecnn devices list`.")],
    python: Annotated[
        str | None, typer.Option(metavar="PATH", help="Python on the board, such as ~/edgecnn/bin/python.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another ssh configuration than ~/.ssh/config.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it anew if it is there already.")] = False,
    json: options.PrintJson = False,
) -> None:
    """Give a board of yours a name: `--device NAME` then runs there.

    Writes a short file to ~/.config/edgecnn/devices; nothing is sent to the board.
    """


@app.command()
@command("edgecnn.workflows.devices:check", printer=lambda checked, _: _checkup(checked.checkup, checked.profile))
def check(name: DeviceFile, json: options.PrintJson = False) -> None:
    """Ask a board what works there and what would spoil times.

    Each finding comes with the command that mends it. Exits 4 when nothing can run there, 2 when it is another board.
    """


def _checkup(checkup: DeviceCheckup, profile: DeviceProfile) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows: list[tuple[Any, ...]] = []
    shown = set[str]()
    for item in checkup.findings:
        style = "" if item.level == "ok" else "dim" if item.level == "unknown" else "default"
        rows.append((Text(*MARKS[item.level]), item.code, Text(item.message, style)))
        repeated = item.command in shown
        for line in ["as above"] if repeated else item.command.splitlines():
            rows.append(("", "", Text(f"  {line}", "dim" if repeated else "bold")))
        shown |= {item.command} - {""}
    where = "this host" if profile.local else profile.connect.ssh if profile.connect else ""
    title = Text.assemble((profile.name, "bold"), f"  {profile.title}", (f"  {where}", "dim"))
    return Group(
        title, "", _machine(checkup.facts), "", console.grid(rows, "", "", ""), "", _conclusion(checkup, profile)
    )


def _machine(facts: Mapping[str, Any]) -> Any:
    from edgecnn.measure.wire.answers import DeviceFacts

    known = DeviceFacts.read(facts)
    cores, memory = known.usable_cores, known.memory_bytes
    cpu = [known.cpu or "unknown", *([f"{cores} cores"] if cores else []), *known.isa]
    kernel = " ".join(filter(None, (known.system, known.release, known.machine)))
    memory_text = f"{memory / 1e9:.1f} GB" if memory else "unknown"
    return console.grid((("cpu", ", ".join(cpu)), ("memory", memory_text), ("kernel", kernel)), "dim", "")


def _conclusion(checkup: DeviceCheckup, profile: DeviceProfile) -> Any:
    from rich.text import Text

    if not checkup.usable:
        return Text(f"nothing can run on {profile.name} before what is marked ✗ is mended", "bold red")
    doubtful, unknown = (sum(item.level == level for item in checkup.findings) for level in ("warn", "unknown"))
    parts = [f"{doubtful} to look at (!)"] if doubtful else []
    parts += [f"{unknown} unknown (?): what cannot be read is not taken for good"] if unknown else []
    if not parts:
        return Text(f"{profile.name} is ready", "green")
    return Text.assemble((f"{profile.name} can be used", "green"), "; ", ", ".join(parts))


def _table(profiles: list[DeviceProfile]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "what it is", "formats", "reached by", "aliases"):
        table.add_column(title, no_wrap=title in ("device", "formats", "reached by"), overflow="fold")
    for profile in profiles:
        aliases = Text(", ".join(profile.aliases), "dim")
        way = "this host" if profile.local else f"ssh {profile.connect.ssh}" if profile.connect else "–"
        reached = Text(way, "" if profile.reachable else "dim")
        formats = Text(", ".join(profile.delivered))
        table.add_row(Text(profile.name, "bold"), Text(profile.title), formats, reached, aliases)
    return table


def _page(profile: DeviceProfile) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = [("aliases", ", ".join(profile.aliases) or "none"), ("reached by", _connection(profile))]
    rows += _hardware(profile.hardware) if profile.hardware else []
    labels = ("formats", *("" for _ in profile.deployments[1:]))
    rows += zip(labels, map(_deployment, profile.deployments), strict=False)
    rows += _behaviour(profile)
    rows += [("source", profile.source.strip())] if profile.source else []
    title = Text.assemble((profile.name, "bold"), f"  {profile.title}")
    return Group(title, "", console.grid(rows, "dim", ""))


def _connection(profile: DeviceProfile) -> str:
    connect = profile.connect
    if connect is None:
        command = f"edgecnn devices add NAME --ssh USER@HOST --like {profile.name}"
        return "this host" if profile.local else f"nothing yet: {command}"
    more = (("configuration", connect.config), ("python", connect.python), ("folder", connect.folder))
    return ", ".join([f"ssh {connect.ssh}", *(f"{label} {value}" for label, value in more if value)])


def _deployment(item: Deployment) -> str:
    asked = f"; only with --format {item.format}" if item.on_request else ""
    lacks = "" if "int8" in item.precisions else "; no INT8"
    return f"{item.format}, run by {item.backend}{lacks}{asked}{f'  ({item.note})' if item.note else ''}"


def _behaviour(profile: DeviceProfile) -> list[tuple[str, str]]:
    """Power modes by name, power rails, temperatures, and what tells of throttling."""
    rows = []
    if profile.jetpack:
        rows.append(("jetpack", f"{profile.jetpack.min} to {profile.jetpack.max}"))
    for label, modes in (("power modes", profile.power_modes), ("super modes", profile.power_modes_super)):
        if modes:
            rows.append((label, _modes(modes)))
    if rails := profile.rails:
        rows.append(("power", f"rail {rails.total}" if rails.total else f"sum of the rails {', '.join(rails.sum)}"))
    elif profile.estimated_power:
        rows.append(("power", "an estimate from the rails of its power chip"))
    if limits := profile.thermal:
        words = (
            (limits.soft_limit_c, "first limit"),
            (limits.throttle_c, "slows down"),
            (limits.hard_limit_c, "slows down far"),
            (limits.shutdown_c, "shuts down"),
        )
        rows.append(("temperature", ", ".join(f"{word} at {value:g} °C" for value, word in words if value)))
    if profile.throttle:
        rows.append(("throttling", f"told by {', '.join(profile.throttle)}"))
    return rows


def _modes(modes: Mapping[str, PowerMode]) -> str:
    return ", ".join(f"{name} (default)" if mode.default else name for name, mode in modes.items())


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
        if faster := gpu.super:
            quick = ((faster.fp16_tflops, "TFLOPS FP16"), (faster.int8_tops, "TOPS INT8"))
            lines.append(("", _facts("in Super modes", (faster.max_mhz, "MHz"), *quick)))
    if dla := hardware.dla:
        lines.append(("dla", _facts(f"{dla.count} of version {dla.version}", (dla.int8_tops, "TOPS INT8 together"))))
    sizes = memory.gb if isinstance(memory.gb, tuple) else (memory.gb,)
    amount = alternatives(f"{size:g}" for size in sizes) + " GB"
    rates = ((memory.gbps, "GB/s"), (memory.gbps_super, "GB/s in Super modes"))
    lines.append(("memory", _facts(f"{amount} {memory.type or ''}".rstrip(), *rates)))
    return lines


def _facts(first: str, *measures: tuple[float | None, str]) -> str:
    return ", ".join([first, *(f"{value:g} {unit}" for value, unit in measures if value is not None)])
