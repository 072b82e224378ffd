"""The blocks of docs/python.md, the notebook and the script run as they are written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workbench import Workbench

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import save

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(bench: Workbench, here: Path) -> Path:
    """A folder with `photos` and `model.safetensors`."""
    from edgecnn.train.resnet_small import resnet_small

    (here / "photos").symlink_to(bench.data)
    stated = Preprocessing(crop=(32, 32), resize=None)
    name = "edgecnn.train.resnet_small:resnet_small"
    save(
        here / "model.safetensors", resnet_small(num_classes=4), architecture=name, num_classes=4, preprocessing=stated
    )
    return here


def run(blocks: list[str], name: str) -> dict[str, Any]:
    """Run blocks one after the other, in one namespace."""
    names: dict[str, Any] = {"__name__": name}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{name}, block {number}", "exec"), names)  # noqa: S102 (our own documentation)
    return names


@pytest.mark.slow
def test_the_blocks_of_the_page_run(photos: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = run(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S), "docs/python.md")
    assert names["samples"].size and names["warnings"] and names["trained"].out == Path("runs/net")


@pytest.mark.slow
def test_the_notebook_runs(photos: Path) -> None:
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names = run(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], "notebook.ipynb")
    html = names["report"]._repr_html_()
    assert "<table>" in html and "<h1>model.safetensors" in html


@pytest.mark.slow
def test_the_script_runs(here: Path) -> None:
    script = ROOT / "examples" / "module_to_board.py"
    done = subprocess.run([sys.executable, str(script), "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnx int8" in done.stdout and done.stderr == ""
    assert (here / "out" / "report.json").is_file()
