"""Programs of torch.export: run as they are, and never executed by being loaded."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import InputError
from edgecnn.formats.files import open_artifact
from edgecnn.formats.registry import format_named
from edgecnn.probe import pt2
from edgecnn.probe.backends import torch as backend
from edgecnn.probe.errors import ProbeError
from edgecnn.testing.backend import BackendConformance

torch = pytest.importorskip("torch")

Entries = dict[str, bytes]


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        x = torch.nn.functional.relu(self.bn(self.conv(x)))
        return self.fc(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)) + torch.tensor([1.0, 2, 3, 4, 5])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small network, and the program of it with a free batch."""
    torch.manual_seed(0)
    net, path = Net().eval(), tmp_path_factory.mktemp("pt2") / "net.pt2"
    batch = torch.export.Dim("n", min=1, max=64)
    torch.export.save(torch.export.export(net, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},)), path)
    return net, path


class TestTorch(BackendConformance):
    backend = backend

    @pytest.fixture
    def model(self, exported: tuple[Any, Path]) -> Path:
        return exported[1]


def changed(path: Path, target: Path, change: Callable[[Entries], None]) -> Path:
    """The archive with another content, names without their first folder."""
    with zipfile.ZipFile(path) as source:
        entries = {name.partition("/")[2]: source.read(name) for name in source.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as out:
        for name, content in entries.items():
            out.writestr("net/" + name, content)
    return target


def edited(path: Path, target: Path, edit: Callable[[Any], None], name: str = "models/model.json") -> Path:
    def change(entries: Entries) -> None:
        content = json.loads(entries[name])
        edit(content)
        entries[name] = json.dumps(content).encode()

    return changed(path, target, change)


def nodes(program: Any) -> list[Any]:
    return program["graph_module"]["graph"]["nodes"]  # type: ignore[no-any-return]


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_the_program_answers_as_the_network_does(exported: tuple[Any, Path]) -> None:
    net, path = exported
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    with backend.load(str(path), {"threads": 2}) as session:
        (spec,) = session.inputs
        (logits,) = session.infer({"x": images})
        assert torch.get_num_threads() == 2
    assert (spec.name, spec.shape[1:], spec.dtype, spec.layout) == ("x", (3, 8, 8), "float32", "NCHW")
    assert isinstance(spec.shape[0], str)
    with torch.inference_mode():
        np.testing.assert_array_equal(logits, net(torch.from_numpy(images)).numpy())


def test_nothing_is_unpickled_not_even_the_sample_inputs(
    exported: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "executed"

    def poison(entries: Entries) -> None:
        entries["data/sample_inputs/model.pt"] = pickle.dumps(Evil(mark))

    def refuse(*words: object, **more: object) -> None:
        raise AssertionError("unpickled")

    bad = changed(exported[1], tmp_path / "bad.pt2", poison)
    for module, name in ((torch, "load"), (pickle, "loads"), (pickle, "load")):
        monkeypatch.setattr(module, name, refuse)
    with backend.load(str(bad), {}) as session:
        assert session.infer({"x": np.zeros((1, 3, 8, 8), np.float32)})[0].shape == (1, 5)
    assert not mark.exists()


def test_torch_itself_would_execute_such_a_file(exported: tuple[Any, Path], tmp_path: Path) -> None:
    """Why all this: when this fails, torch has become safer and `pt2` may become simpler."""
    mark = tmp_path / "executed"
    sink = io.BytesIO()
    torch.save(Evil(mark), sink)
    bad = changed(
        exported[1],
        tmp_path / "bad.pt2",
        lambda entries: entries.update({"data/sample_inputs/model.pt": sink.getvalue()}),
    )
    with pytest.raises(Exception):  # noqa: B017 - it has run by then
        torch.export.load(bad)
    assert mark.exists()


def pickled_weight(config: Any) -> None:
    next(iter(config["config"].values()))["use_pickle"] = True


def test_weights_that_are_pickled_are_refused(exported: tuple[Any, Path], tmp_path: Path) -> None:
    bad = edited(exported[1], tmp_path / "bad.pt2", pickled_weight, "data/weights/model_weights_config.json")
    with pytest.raises(ProbeError) as caught:
        backend.load(str(bad), {})
    assert caught.value.code == "needs-pickle"
    assert "conv.weight" in caught.value.why


@pytest.mark.parametrize(
    "name", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/weights/model.pt"]
)
def test_objects_in_the_archive_are_refused(exported: tuple[Any, Path], tmp_path: Path, name: str) -> None:
    bad = changed(exported[1], tmp_path / "bad.pt2", lambda entries: entries.update({name: b"\x80\x04."}))
    with pytest.raises(ProbeError) as caught:
        backend.load(str(bad), {})
    assert caught.value.code == "needs-pickle"
    assert name in caught.value.why


def test_compiled_code_in_the_archive_is_refused(exported: tuple[Any, Path], tmp_path: Path) -> None:
    name = "data/aotinductor/model/wrapper.so"
    bad = changed(exported[1], tmp_path / "bad.pt2", lambda entries: entries.update({name: b"\x7fELF"}))
    with pytest.raises(ProbeError) as caught:
        backend.load(str(bad), {})
    assert caught.value.code == "unsafe-model"


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.relu.__class__",
        "torch.ops.mine.relu.default",
        "_operator.methodcaller",
        "math.__loader__",
        "#mine:relu",
    ],
)
def test_operators_that_are_not_arithmetic_are_refused(exported: tuple[Any, Path], tmp_path: Path, target: str) -> None:
    bad = edited(exported[1], tmp_path / "bad.pt2", lambda program: nodes(program)[0].update(target=target))
    with pytest.raises(ProbeError) as caught:
        backend.load(str(bad), {})
    assert caught.value.code == "unsafe-model"
    assert target in caught.value.why


def expression(text: str) -> Callable[[Any], None]:
    def edit(program: Any) -> None:
        program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = text

    return edit


def input_name(text: str) -> Callable[[Any], None]:
    return lambda program: program["graph_module"]["graph"]["inputs"][-1]["as_tensor"].update(name=text)


def in_spec(kind: str, context: str) -> Callable[[Any], None]:
    def edit(program: Any) -> None:
        leaf = {"type": kind, "context": context, "children_spec": []}
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, leaf])

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        expression("__import__('os').system('true')"),
        expression("Integer(9)**Integer(9)"),
        expression("Symbol('s0').__class__"),
        input_name("x: __import__('os') = 1"),
        input_name("x\n"),
        input_name("lambda"),
        in_spec("collections.defaultdict", '{"default_factory_module": "os"}'),
        in_spec("builtins.dict", '{"__enum__": true, "fqn": "os:system"}'),
    ],
)
def test_words_that_become_code_are_refused(
    exported: tuple[Any, Path], tmp_path: Path, edit: Callable[[Any], None]
) -> None:
    with pytest.raises(ProbeError) as caught:
        backend.load(str(edited(exported[1], tmp_path / "bad.pt2", edit)), {})
    assert caught.value.code == "unsafe-model"


def test_guards_and_metadata_are_left_out(exported: tuple[Any, Path], tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    def edit(program: Any) -> None:
        program["guards_code"] = [f"open({str(mark)!r}, 'w')"]
        nodes(program)[0]["metadata"] = {"stack_trace": "'); import os"}

    bad = edited(exported[1], tmp_path / "bad.pt2", edit)
    with backend.load(str(bad), {}) as session:
        session.infer({"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert not mark.exists()


def test_an_archive_that_reads_two_ways_is_refused(exported: tuple[Any, Path], tmp_path: Path) -> None:
    bad = changed(exported[1], tmp_path / "bad.pt2", lambda entries: None)
    with zipfile.ZipFile(bad, "a") as out:
        out.writestr("other/models/model.json", "{}")
    with pytest.raises(ProbeError) as caught:
        backend.load(str(bad), {})
    assert caught.value.code == "cannot-load"


def test_a_compressed_archive_is_refused(exported: tuple[Any, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(exported[1]) as source, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))
    with pytest.raises(ProbeError, match="no program") as caught:
        backend.load(str(bad), {})
    assert "compressed" in caught.value.why


@pytest.mark.parametrize("word", ["Symbol('s77', positive=True, integer=True)", "Add(Integer(-1), Symbol('s0'))"])
def test_shapes_as_torch_writes_them_pass(word: str) -> None:
    assert pt2.EXPRESSION.fullmatch(word)


def test_a_feed_of_the_wrong_shape_is_the_adapters_error(exported: tuple[Any, Path]) -> None:
    with backend.load(str(exported[1]), {}) as session, pytest.raises(ProbeError) as caught:
        session.infer({"x": np.ones((1, 3, 9, 9), np.float32)})
    assert caught.value.code == "cannot-run"


def test_a_gpu_is_asked_for_in_vain(exported: tuple[Any, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ProbeError) as caught:
        backend.load(str(exported[1]), {"device": "cuda"})
    assert caught.value.code == "cuda-unavailable"
    with pytest.raises(ProbeError, match="'tpu' is unknown"):
        backend.load(str(exported[1]), {"device": "tpu"})


def test_missing_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ProbeError) as caught:
        backend.version()
    assert caught.value.code == "missing-runtime"
    assert caught.value.hint == "pip install torch"


def test_the_host_takes_programs_and_not_checkpoints(exported: tuple[Any, Path], tmp_path: Path) -> None:
    assert open_artifact(exported[1]).format == "torch"
    assert format_named("torch").backend == backend.NAME
    checkpoint = tmp_path / "net.pt"
    checkpoint.write_bytes(b"PK")
    with pytest.raises(InputError) as caught:
        open_artifact(checkpoint)
    assert "edgecnn export" in caught.value.hint
