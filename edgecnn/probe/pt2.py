"""A torch.export program (.pt2) read without trust: what `torch.export.load` would execute is refused or left out.

Read in torch 2.14: `torch.export.load` unpickles sample inputs (falling back to an unrestricted load), every weight or
constant marked `use_pickle`, custom and opaque objects and old .pt members; it resolves an operator's name through all
of `torch` (`torch.os.system` is one), evaluates shape expressions with sympy, and makes Python source of names and
guards. So the archive is written anew: weights as they are, sample inputs and metadata empty, every word checked.
"""

from __future__ import annotations

import contextlib
import json
import keyword
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from .errors import ProbeError, first_line

OPERATOR = re.compile(
    r"torch\.ops\.(?P<space>aten|quantized_decomposed)\.(?P<name>[A-Za-z_]\w*)\.(?P<overload>[A-Za-z]\w*)"
    r"|_operator\.(?:getitem|add|sub|mul|truediv|floordiv|mod|neg|lt|le|gt|ge|eq|ne|and_|or_|not_)"
    r"|math\.(?:ceil|floor|trunc)|torch\.sym_(?:int|float|max|min|not|ite|sum)"
)
WITH_FILES = ("save", "from_file")
"""The operators of aten that take a file's name."""
NAME = re.compile(r"[\w.]{0,1000}")
TEXT = re.compile(r"[\w ,.>-]{0,200}")
"""A string that an operator takes, such as `bilinear` or `ij,jk->ik`."""
EXPRESSION = re.compile(
    r"(?:Symbol\('[su]\d{1,9}'|(?:positive|nonnegative|integer|real)=(?:True|False)"
    r"|(?:Add|Mul|Integer|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|Where|Identity)\("
    r"|\d{1,18}|[-+(), ])+"
)
"""Sums, products and quotients of whole numbers and symbols: no attribute, no other text, no power."""
PAYLOAD = {"weights": re.compile(r"weight_\d+"), "constants": re.compile(r"tensor_\d+")}
MEMBER = re.compile(
    r"(?:data/(?:weights/(?:weight_\d+|model_weights_config\.json)|constants/(?:tensor_\d+|model_constants_config\.json)"
    r"|sample_inputs/model\.pt)|models/model\.json|archive_format|archive_version|byteorder"
    r"|\.data/(?:version|serialization_id))"
)
LEFT_OUT = "data/sample_inputs/model.pt"
EMPTIED: dict[str, Any] = {"metadata": {}, "guards_code": [], "treespec_namedtuple_fields": {}, "custom_obj_values": {}}
CONTAINERS = ("builtins.tuple", "builtins.list", "builtins.dict")
MAX_JSON_BYTES = 256 << 20
MAX_MEMBERS = 100_000
HINT = "export it again with torch.export.save of torch 2.9 or later, without custom classes, or measure its .onnx"


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The program as a file that `torch.export.load` takes and in which nothing is left to execute.

    Raises ProbeError cannot-load, needs-pickle or unsafe-model.
    """
    with tempfile.TemporaryFile() as target:
        try:
            with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
                _copy(source, copy)
        except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ProbeError("cannot-load", "this is no program of torch.export", first_line(error), HINT) from error
        target.seek(0)
        yield target


def _copy(source: zipfile.ZipFile, copy: zipfile.ZipFile) -> None:
    members = {entry.filename.partition("/")[2]: entry for entry in source.infolist()}
    if len(source.infolist()) > MAX_MEMBERS or len(members) != len(source.infolist()):
        raise ValueError("a file is in it twice, or too many are")
    if "models/model.json" not in members:
        raise ValueError("there is no models/model.json in it: older than torch 2.8, or no torch.export program")
    for name, entry in sorted(members.items()):
        _check_member(name, entry)
        if name == LEFT_OUT:
            copy.writestr("model/" + name, b"")
        elif name.endswith(".json"):
            copy.writestr("model/" + name, json.dumps(_checked(name, _json(source, entry))))
        else:
            with source.open(entry) as reading, copy.open("model/" + name, "w", force_zip64=True) as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)


def _check_member(name: str, entry: zipfile.ZipInfo) -> None:
    if not MEMBER.fullmatch(name):
        pickled = name.endswith((".pt", ".pkl")) or name.startswith("data/constants/")
        code, why = ("needs-pickle", "an object") if pickled else ("unsafe-model", "a file")
        raise ProbeError(code, "the program is not loaded", f"{why} in it would be executed: {name[:80]!r}", HINT)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed, which torch.export.save does not do")


def _json(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.file_size > MAX_JSON_BYTES:
        raise ValueError("its description is too big")
    return json.loads(source.read(entry))


def _checked(name: str, content: Any) -> Any:
    for kind, pattern in PAYLOAD.items():
        if name == f"data/{kind}/model_{kind}_config.json":
            _check_payload(content["config"], pattern)
    cleaned = _cleaned(content)
    _check(cleaned, "")
    return cleaned


def _check_payload(config: dict[str, Any], pattern: re.Pattern[str]) -> None:
    for name, about in config.items():
        if about["use_pickle"] is not False or not pattern.fullmatch(str(about["path_name"])):
            raise ProbeError("needs-pickle", "the program is not loaded", f"{name[:80]!r} is stored as a pickle", HINT)


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: EMPTIED[key] if key in EMPTIED else _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _check(value: Any, key: str) -> None:
    """Refuse every word that is not of the form its place allows."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_word(name, "")
            _check(item, name)
    elif isinstance(value, list):
        for item in value:
            _check(item, key)
    elif isinstance(value, str):
        _check_word(value, key)


def _check_word(word: str, key: str) -> None:
    if key in ("target", "as_operator"):
        fine = _is_operator(word)
    elif key == "expr_str":
        fine = len(word) <= 500 and EXPRESSION.fullmatch(word) is not None
    elif key in ("in_spec", "out_spec"):
        protocol, spec = json.loads(word)
        fine = protocol == 1 and _is_plain(spec)
    elif key in ("as_string", "as_strings"):
        fine = TEXT.fullmatch(word) is not None
    else:
        fine = NAME.fullmatch(word.replace("+", "") if key == "torch_version" else word) is not None
        fine = fine and not (key in ("name", "forward_arg_names") and keyword.iskeyword(word))
    if not fine:
        what = "an operator that is not allowed" if key == "target" else "a word that could be executed"
        raise ProbeError("unsafe-model", "the program is not loaded", f"it has {what}: {word[:80]!r}", HINT)


def _is_operator(word: str) -> bool:
    match = OPERATOR.fullmatch(word)
    return match is not None and match.group("name") not in WITH_FILES


def _is_plain(spec: Any) -> bool:
    """Whether a tree of inputs or outputs is made of tuples, lists and dictionaries only."""
    kind, context, children = spec["type"], spec["context"], spec["children_spec"]
    if kind is None:
        return context is None and not children
    keys = json.loads(context) or []
    names = isinstance(keys, list) and all(isinstance(key, str) and NAME.fullmatch(key) for key in keys)
    return kind in CONTAINERS and names and all(_is_plain(child) for child in children)
