"""File kinds, read from the first bytes of a file. The suffix does not count."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgecnn.core import plugins
from edgecnn.core.errors import InputError
from edgecnn.core.paths import require_regular

FileKind = str
"""`torch-zip`, `torch-legacy`, `safetensors` or `pt2`; for an exported model the name of its format."""

LARGEST_FACTOR, SMALL_BYTES = 16, 1 << 28
RESAVE = (
    "where the model's code is at hand, save the weights alone: torch.save(model.state_dict(), 'weights.pth'), "
    "then give that file and --model"
)
# The first thing torch.save pickled before version 1.6 (torch/serialization.py, MAGIC_NUMBER).
_LEGACY = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")


def kind_of(path: Path) -> FileKind:
    """The kind of checkpoint or exported model in `path`. Raises InputError for a file that is neither."""
    head = _head(path)
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if head[:1] == b"\x80" and _LEGACY in head[:32]:
        return "torch-legacy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"
    for format in plugins.every("formats"):
        if format.recognises is not None and format.recognises(head):
            return str(format.name)
    raise _foreign(path, head)


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(
            "not-a-file",
            f"{path} is a folder, not a checkpoint",
            hint="name the file in it: .pth, .pt, .safetensors or .pt2",
        )
    try:
        require_regular(path)
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError as error:
        raise InputError("no-such-file", f"there is no file {path}", hint=_siblings(path)) from error
    except (OSError, ValueError) as error:
        raise InputError(
            "unreadable-file", f"cannot read {path}", why=getattr(error, "strerror", "") or str(error)
        ) from error
    if not head:
        raise InputError("empty-file", f"{path} is empty", why="0 bytes", hint="save or copy the checkpoint again")
    return head


def _siblings(path: Path) -> str:
    from edgecnn.core.errors import did_you_mean

    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either: check the path"
    here = [item.name for item in path.parent.iterdir() if item.is_file() and not item.name.startswith(".")][:200]
    hint = did_you_mean(path.name, here)
    return hint if here and hint.startswith("did") else "check the path"


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            unpacked_bytes = sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise truncated(path, "the archive's table of contents is missing") from error
    if unpacked_bytes > most_bytes(path):
        raise oversized(path, unpacked_bytes)
    inner = {name.split("/", 1)[1] if "/" in name else name for name in members}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise InputError(
            "torchscript",
            f"{path} is a TorchScript archive",
            why="its layers are compiled code; pruning, distillation and export need the Python model and its weights",
            hint=f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth'), then give that and --model",
        )
    if "serialized_exported_program.json" in members or any(name.startswith("models/") for name in inner):
        return "pt2"
    if "data.pkl" in inner:
        return "torch-zip"
    raise InputError(
        "not-a-checkpoint",
        f"{path} is a zip archive, but not one that torch.save writes",
        why="it holds " + (", ".join(members[:3]) or "nothing"),
        hint="unpack it, or give the checkpoint itself: .pth, .pt, .safetensors or .pt2",
    )


def most_bytes(path: Path) -> int:
    """What a file may come to in memory: float8 becomes float32, and layers may share weights."""
    return max(LARGEST_FACTOR * path.stat().st_size, SMALL_BYTES)


def oversized(path: Path, asked_bytes: int) -> InputError:
    return InputError(
        "oversized-file",
        f"{path} asks for {asked_bytes / 1e9:.1f} GB of memory",
        why=f"the file has {path.stat().st_size:,} bytes; such a file is damaged, or made to use up the memory",
        hint=RESAVE,
    )


def truncated(path: Path, why: str) -> InputError:
    size = path.stat().st_size
    return InputError(
        "truncated-file",
        f"{path} is incomplete or damaged",
        why=f"{why}; the file has {size:,} bytes",
        hint="copy or download it again and compare the sizes",
    )


def _foreign(path: Path, head: bytes) -> InputError:
    what, hint = "not a checkpoint this program knows", "give a .pth, .pt, .safetensors or .pt2 file"
    start = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        what, hint = "a Git LFS pointer, not the file itself", "git lfs pull"
    elif start.startswith((b"<!doctype", b"<html")):
        what, hint = "a web page", "download the file itself: the link led to a page about it"
    elif head[:1] == b"\x80" and head[1:2] <= b"\x05":
        what, hint = "a Python pickle that torch.save did not write; it was not opened", RESAVE
    elif head.startswith(b"\x89HDF"):
        what, hint = "an HDF5 file (Keras)", "edgecnn takes PyTorch checkpoints: .pth, .pt, .safetensors or .pt2"
    elif b"ustar" in head[257:263] or head.startswith(b"\x1f\x8b"):
        what, hint = "an archive", "unpack it first: tar xf " + path.name
    elif head[:4] in (b"ptrt", b"ftrt"):
        what, hint = "a TensorRT engine", "an engine belongs to one GPU; give the checkpoint it was made from"
    return InputError("not-a-checkpoint", f"{path} is {what}", why=f"it begins with {head[:8]!r}", hint=hint)
