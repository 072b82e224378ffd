"""Bundle: a folder to copy to the board.

Model, preprocessing, labels, and code that needs numpy, Pillow and one runtime.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecnn import __version__, probe
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import beside, cannot_write
from edgecnn.data import pixels
from edgecnn.formats.registry import Format, backend_source, format_named, format_of_backend

PROBE = Path(probe.__file__).parent
TRAVELS = ("privacy.py", "specs.py", "normalise.py", "backends/__init__.py", "backends/importing.py")
"""What `infer.py` and every backend need of the probe; with each module goes what it imports."""
REQUIREMENTS = ("numpy", "Pillow>=8")


def write_bundle(
    folder: Path,
    artifact: Artifact,
    *,
    backend: str,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    decoder: Path,
    facts: Mapping[str, Any],
) -> Path:
    """Fill `folder` (replaced as a whole) for `artifact`, which `backend` runs and whose outputs the task's `decoder`
    reads; `facts` go into the manifest."""
    unfinished = beside(folder)
    try:
        _write_code(unfinished / "edge", format_named(artifact.format), backend, decoder)
        shutil.copyfile(Path(__file__).with_name("infer.py"), unfinished / "infer.py")
        _fill(unfinished, artifact, backend=backend, preprocessing=preprocessing, labels=labels, facts=facts)
        _replace(folder, unfinished)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def backends_of(format: Format, backend: str) -> tuple[str, ...]:
    """The backend, and the one that computes the same file on a CPU where the first needs a board's GPU."""
    stand_in = format.stand_in
    return (backend, stand_in.backend) if stand_in and backend == format.backend else (backend,)


def imported_modules(sources: Iterable[Path]) -> set[Path]:
    """Files of the probe and all that they import from it."""
    todo, needed = list(sources), set[Path]()
    while todo:
        path = todo.pop()
        if path not in needed:
            needed.add(path)
            todo += _imports(path)
    return needed


def _imports(path: Path) -> Iterator[Path]:
    """The files that one file imports with a dot in front."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for place in (package, *(package / alias.name for alias in node.names)):
                yield from filter(Path.is_file, (place.with_suffix(".py"), place / "__init__.py"))


def _write_code(folder: Path, format: Format, backend: str, decoder: Path) -> None:
    """The code that travels: what runs the model, reads images and decodes outputs."""
    backends = {name: backend_source(name) for name in backends_of(format, backend)}
    roots = [PROBE / name for name in TRAVELS] + [source for source in backends.values() if PROBE in source.parents]
    needed = imported_modules(roots)
    for source in needed:
        target = folder / source.relative_to(PROBE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for name, source in backends.items():
        shutil.copyfile(source, folder / "backends" / f"{name}.py")
    (folder / "__init__.py").write_text('"""What the model was measured and judged with."""\n')
    shutil.copyfile(str(pixels.__file__), folder / "pixels.py")
    shutil.copyfile(decoder, folder / "decode.py")


def _fill(
    folder: Path,
    artifact: Artifact,
    *,
    backend: str,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    format, model = format_named(artifact.format), f"model{artifact.path.suffix}"
    shutil.copyfile(artifact.path, folder / model)
    manifest = {
        "model": model,
        "format": artifact.format,
        "precision": artifact.precision,
        "sha256": artifact.sha256,
        "backend": backend,
        "options": format.backend_options(backend),
        **_on_cpu(format, backend),
        "inputs": [_spec(spec) for spec in artifact.inputs],
        "outputs": [_spec(spec) for spec in artifact.outputs],
        "edgecnn": __version__,
        **facts,
    }
    _write_json(folder / "manifest.json", manifest)
    _write_json(folder / "preprocessing.json", preprocessing.to_dict())
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    runtime = format_of_backend(backend)
    needed = (*REQUIREMENTS, *(runtime.requirements if runtime else ()))
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in needed))
    (folder / "README.md").write_text(_readme(artifact, preprocessing), encoding="utf-8")


def _on_cpu(format: Format, backend: str) -> dict[str, Any]:
    """How `infer.py --cpu` runs the file; nothing where the backend itself runs on the CPU."""
    others = backends_of(format, backend)[1:]
    return {"cpu": {"backend": others[0], "options": format.backend_options(others[0])}} if others else {}


def _readme(artifact: Artifact, preprocessing: Preprocessing) -> str:
    text = (
        f"# {artifact.format} {artifact.precision}\n\nCopy this folder to the board, then:\n\n"
        "    pip install -r requirements.txt\n    python infer.py photo.jpg\n"
    )
    more = format_named(artifact.format).readme
    if more:
        text += plugins.resolve(more)(artifact, preprocessing)
    return text


def _replace(folder: Path, unfinished: Path) -> None:
    """Put `unfinished` where `folder` is; a folder cannot be renamed over a full one, so the old one steps aside."""
    old = unfinished.with_name(unfinished.name + ".old")
    if folder.exists():
        folder.rename(old)
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / "manifest.json").is_file():  # else another run put its own there first
            raise
    shutil.rmtree(old, ignore_errors=True)


def _spec(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "layout": spec.layout}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
