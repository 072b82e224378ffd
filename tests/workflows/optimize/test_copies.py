"""Copies of the images that judge buy no verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import edgecnn

if TYPE_CHECKING:
    from workbench import Workbench


def test_a_table_that_names_images_ten_times_proves_no_more_than_once(bench: Workbench, tmp_path: Path) -> None:
    """Sixty images that all answer alike prove no budget of 2 %; six hundred would."""
    shutil.copytree(bench.data, tmp_path / "data")
    lines = ["path,label,split"]
    for part, times in (("train", 1), ("val", 10)):
        for image in sorted((tmp_path / "data" / part).glob("*/*.png")):
            lines += [f"{image.relative_to(tmp_path / 'data')},{image.parent.name},{part}"] * times
    table = tmp_path / "data" / "often.csv"
    table.write_text("\n".join(lines))
    report = edgecnn.optimize(
        bench.checkpoint,
        model=bench.model,
        data=table,
        format="onnx",
        max_drop="2%",
        profile="smoke",
        out=tmp_path / "out",
        resize=None,
        crop=(32, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    assert report.verdict != "PASS"
    assert {row.accuracy.images for row in report.rows if row.accuracy} == {60}
    assert any("540 of 600 images to judge on are copies of others" in warning for warning in report.warnings)
    assert "540 of 600 images" in (tmp_path / "out" / "report.md").read_text()
