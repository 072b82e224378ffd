"""What makes a Debian tree a Raspberry Pi: accounts, CPU, device tree, `/sys`, `vcgencmd`, the SSH server."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from board_namespace import cpus, emulation

USER = 1000
CPUS = Path("sys/devices/system/cpu")
GOVERNOR = CPUS / "cpufreq/policy0/scaling_governor"
REQUESTED = CPUS / "cpufreq/policy0/scaling_cur_freq"
TEMPERATURE = Path("sys/class/thermal/thermal_zone0/temp")
MEASURED = Path("var/lib/vcgencmd/arm")
"""The clock the firmware measures, in Hz; what the kernel asked for is REQUESTED."""
RAILS = Path("var/lib/vcgencmd/rails")
BOARD = Path("var/lib/board")
"""Files that are bound over the kernel's own."""


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of Raspberry Pi."""

    name: str
    device: str
    """The shipped device profile of it."""
    compatible: tuple[str, str]
    revision: str
    features: str
    """The line of `/proc/cpuinfo`; the emulator's core has what it names, and may have more."""
    variant: str
    part: str
    cpu_revision: int
    min_mhz: int
    max_mhz: int
    firmware: Path
    """Where the kernel says what the firmware throttles."""
    rails: str
    """What `vcgencmd pmic_read_adc` prints, where there is a power chip that measures."""


PI_5_RAILS = """\
 3V7_WL_SW_A current(0)=0.00195181A
   3V3_SYS_A current(1)=0.06343383A
   1V8_SYS_A current(2)=0.17371110A
  DDR_VDD2_A current(3)=0.02147990A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.20005650A
    0V8_SW_A current(6)=0.34254400A
  VDD_CORE_A current(7)=0.75012000A
   3V3_DAC_A current(17)=0.00018315A
   3V3_ADC_A current(18)=0.00042735A
   0V8_AON_A current(16)=0.00305250A
      HDMI_A current(22)=0.02442000A
 3V7_WL_SW_V volt(8)=3.72309000V
   3V3_SYS_V volt(9)=3.30989600V
   1V8_SYS_V volt(10)=1.79883600V
  DDR_VDD2_V volt(11)=1.10622600V
  DDR_VDDQ_V volt(12)=0.60805800V
   1V1_SYS_V volt(13)=1.10549400V
    0V8_SW_V volt(14)=0.80165400V
  VDD_CORE_V volt(15)=0.89745940V
   3V3_DAC_V volt(20)=3.31129700V
   3V3_ADC_V volt(21)=3.31038100V
   0V8_AON_V volt(19)=0.79633600V
      HDMI_V volt(23)=5.14764000V
     EXT5V_V volt(24)=5.15044000V
      BATT_V volt(25)=0.00000000V
"""
"""Twelve rails with a current and a voltage, two with a voltage only, as `vcgencmd pmic_read_adc` prints them."""

MODELS = {
    "cortex-a76": Model(
        name="Raspberry Pi 5 Model B Rev 1.0",
        device="raspberry-pi-5",
        compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
        revision="d04170",
        features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        variant="0x4",
        part="0xd0b",
        cpu_revision=1,
        min_mhz=1500,
        max_mhz=2400,
        firmware=Path("sys/devices/platform/soc@107c000000/soc@107c000000:firmware"),
        rails=PI_5_RAILS,
    ),
    "cortex-a72": Model(
        name="Raspberry Pi 4 Model B Rev 1.4",
        device="raspberry-pi-4b",
        compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
        revision="c03114",
        features="fp asimd evtstrm crc32 cpuid",
        variant="0x0",
        part="0xd08",
        cpu_revision=3,
        min_mhz=600,
        max_mhz=1800,
        firmware=Path("sys/devices/platform/soc/soc:firmware"),
        rails="",
    ),
}
SERIAL = "10000000c0ffee42"

VCGENCMD = """\
#!/bin/sh
# The firmware's answers. Their values are in files, so that a test can change them.
values=/var/lib/vcgencmd
case "$1 $2" in
"get_throttled "*)
    read -r bits </{firmware}/get_throttled
    echo "throttled=0x$bits" ;;
"measure_temp "*)
    read -r milli </{temperature}
    printf "temp=%d.%d'C\\n" $((milli / 1000)) $((milli % 1000 / 100)) ;;
"measure_clock arm")
    read -r hertz </{measured}
    echo "frequency(0)=$hertz" ;;
"measure_volts "*)
    echo "volt=0.8950V" ;;
"pmic_read_adc "*)
    if [ -s /{rails} ]; then cat /{rails}; else echo 'error=1 error_msg="Command not registered"'; exit 255; fi ;;
*)
    echo 'error=1 error_msg="Command not registered"'
    exit 255 ;;
esac
"""

SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/host_key
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers pi
UseDNS no
PrintMotd no
StrictModes yes
KexAlgorithms curve25519-sha256
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv {environment}
"""


def furnish(tree: Path, core: str, *, port: int, public_key: str) -> None:
    """Write everything but the host key into a tree that is mounted."""
    model = MODELS[core]
    _accounts(tree, public_key)
    _identity(tree, model)
    _sensors(tree, model)
    environment = " ".join(f"{name}={value}" for name, value in emulation(core).items())
    put(tree / "etc/ssh/sshd_config", SSHD.format(port=port, environment=environment))
    script = VCGENCMD.format(firmware=model.firmware, temperature=TEMPERATURE, measured=MEASURED, rails=RAILS)
    put(tree / "usr/bin/vcgencmd", script, mode=0o755)


def put(path: Path, text: str, *, mode: int = 0o444) -> None:
    """Replace a file at once: a program that reads it meanwhile sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    beside.chmod(mode)
    beside.replace(path)


def boot_id() -> str:
    """Another one each time, of the same length."""
    return f"{uuid.uuid4()}\n"


def _accounts(tree: Path, public_key: str) -> None:
    """root, sshd and `pi`, who may not use a password and has a key."""
    users = [("root", 0, "/root", "/bin/bash"), ("sshd", 100, "/run/sshd", "/usr/sbin/nologin")]
    users += [("nobody", 65534, "/nonexistent", "/usr/sbin/nologin"), ("pi", USER, "/home/pi", "/bin/bash")]
    put(
        tree / "etc/passwd",
        "".join(f"{name}:x:{uid}:{uid}::{home}:{shell}\n" for name, uid, home, shell in users),
        mode=0o644,
    )
    put(tree / "etc/shadow", "".join(f"{name}:*:20000:0:99999:7:::\n" for name, *_ in users), mode=0o600)
    groups = [f"{name}:x:{uid}:\n" for name, uid, *_ in users]
    put(tree / "etc/group", "".join([*groups, "tty:x:5:\n", "video:x:44:pi\n"]), mode=0o644)
    put(tree / "etc/hostname", "raspberrypi\n", mode=0o644)
    put(tree / "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 raspberrypi\n", mode=0o644)
    (tree / "run/sshd").mkdir(mode=0o755, parents=True)
    put(tree / "home/pi/.ssh/authorized_keys", public_key, mode=0o600)
    for path in (tree / "home/pi", tree / "home/pi/.ssh", tree / "home/pi/.ssh/authorized_keys"):
        os.chown(path, USER, USER)
    (tree / "home/pi").chmod(0o755)
    (tree / "home/pi/.ssh").chmod(0o700)


def _identity(tree: Path, model: Model) -> None:
    """Who the board says it is: device tree, CPU, boot id."""
    folder = tree / "sys/firmware/devicetree/base"
    put(folder / "model", f"{model.name}\0")
    put(folder / "compatible", "".join(f"{word}\0" for word in model.compatible))
    put(folder / "serial-number", f"{SERIAL}\0")
    processors = "".join(_processor(model, number) for number in cpus())
    put(
        tree / BOARD / "cpuinfo",
        f"{processors}Revision\t: {model.revision}\nSerial\t\t: {SERIAL}\nModel\t\t: {model.name}\n",
    )
    put(tree / BOARD / "boot_id", boot_id())


def _processor(model: Model, number: int) -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {model.features}\n"
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: {model.variant}\nCPU part\t: {model.part}\n"
        f"CPU revision\t: {model.cpu_revision}\n\n"
    )


def _sensors(tree: Path, model: Model) -> None:
    """`/sys` as plain files. Only CPUs the host lends are there: a runtime pins its threads to all it sees."""
    numbers = cpus()
    listed = ",".join(str(number) for number in numbers)
    for name in ("possible", "present", "online"):
        put(tree / CPUS / name, f"{listed}\n")
    fixed = {"cpuinfo_min_freq": model.min_mhz, "cpuinfo_max_freq": model.max_mhz}
    fixed |= {"scaling_min_freq": model.min_mhz, "scaling_max_freq": model.max_mhz}
    policy = tree / GOVERNOR.parent
    for name, mhz in fixed.items():
        put(policy / name, f"{mhz * 1000}\n")
    put(policy / "scaling_available_governors", "conservative ondemand userspace powersave performance schedutil\n")
    put(policy / "related_cpus", f"{listed.replace(',', ' ')}\n")
    for number in numbers:
        topology = tree / CPUS / f"cpu{number}/topology"
        put(topology / "physical_package_id", "0\n")
        put(topology / "core_id", f"{number}\n")
        put(topology / "thread_siblings_list", f"{number}\n")
        put(topology / "core_siblings_list", f"{listed}\n")
        (tree / CPUS / f"cpu{number}/cpufreq").symlink_to("../cpufreq/policy0")
    put(tree / TEMPERATURE.with_name("type"), "cpu-thermal\n")
