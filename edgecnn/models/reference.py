"""Model reference, as written after `--model`: a registered name, or a factory in a file or package.

    resnet50 | torchvision:resnet50 | timm:efficientnet_lite0 | path/to/file.py:factory | pkg.module:Net.make("b0")

Arguments are Python literals; nothing else in them is evaluated. The file or package itself is run, as it is asked for.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from edgecnn.core.errors import InputError, StepError, did_you_mean
from edgecnn.models.library_names import LIBRARIES
from edgecnn.models.registry import Entry, find

BY_PATH = "edgecnn_model_"
"""What the module names of files loaded by their path begin with."""
_GRAMMAR = "write resnet50, timm:NAME, path/to/file.py:factory or pkg.module:factory('b0', width=2)"


@dataclass(frozen=True, slots=True)
class Factory:
    """A callable in a file or a package. `source` is a .py path or a module name; `attribute` a dotted path in it."""

    text: str
    source: str
    attribute: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def is_file(self) -> bool:
        return self.source.endswith(".py")

    @property
    def module(self) -> str:
        """The name under which the code is in `sys.modules` once it was run."""
        if not self.is_file:
            return self.source
        place = str(Path(self.source).expanduser().resolve())
        return BY_PATH + hashlib.sha256(place.encode()).hexdigest()[:12]

    def identity(self) -> str:
        """What is asked for, without the place of a file; the code itself has to be told beside it."""
        return self.text.split(".py:", 1)[1] if self.is_file else self.text


def parse(text: str) -> Factory | list[Entry]:
    """A factory, or the registered entries meant (torchvision first). Raises InputError or MissingError."""
    text = text.strip()
    library, colon, rest = text.partition(":")
    if colon and library in LIBRARIES:
        return find(rest, library=library)
    if ".py:" in text:
        source, _, call = text.partition(".py:")
        return _factory(text, source + ".py", call)
    if colon:
        return _factory(text, library, rest)
    if text.endswith(".py"):
        raise InputError(
            "bad-model-reference", f"'{text}' names a file but no factory in it", hint=f"--model {text}:FUNCTION"
        )
    return find(text)


def same(one: Factory | list[Entry], other: Factory | list[Entry]) -> bool:
    """Whether both name the same network: an entry in common, or the same call in files of one name or one module."""
    if isinstance(one, Factory) and isinstance(other, Factory):
        places = [Path(item.source).name if item.is_file else item.source for item in (one, other)]
        return one.identity() == other.identity() and places[0] == places[1]
    if isinstance(one, Factory) or isinstance(other, Factory):
        return False
    return any(entry in other for entry in one)


def _factory(text: str, source: str, call: str) -> Factory:
    try:
        node: ast.expr = ast.parse(call.strip(), mode="eval").body
        args: tuple[Any, ...] = ()
        kwargs: tuple[tuple[str, Any], ...] = ()
        if isinstance(node, ast.Call):
            args = tuple(ast.literal_eval(item) for item in node.args)
            kwargs = tuple((str(item.arg), ast.literal_eval(item.value)) for item in node.keywords if item.arg)
            node = node.func
        return Factory(text, source, _dotted(node), args, kwargs)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            "bad-model-reference",
            f"cannot read --model '{text}'",
            why=f"'{call}' is not a name, or a call of one with literal arguments (numbers, strings, lists, None)",
            hint=_GRAMMAR,
        ) from error


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError("expected a name, a dotted name or a call of one")


def make(factory: Factory, *, num_classes: int | None = None) -> nn.Module:
    """Call the factory. `num_classes` is passed on where it takes such a parameter and the user gave none.

    Raises InputError when there is no such factory, StepError when its own code fails.
    """
    target = _resolve(factory)
    if isinstance(target, nn.Module):
        return target.eval()
    options = dict(factory.kwargs)
    if num_classes is not None and takes_classes(factory, target):
        options["num_classes"] = num_classes
    try:
        with quiet_stdout(), _importable(factory):
            module = target(*factory.args, **options)
    except (Exception, SystemExit) as error:
        hint = (
            f"give its arguments: --model '{factory.text}(...)'"
            if isinstance(error, TypeError)
            else "correct the factory"
        )
        raise StepError("model-code-failed", f"{factory} failed", why=_last_line(error), hint=hint) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            "not-a-module",
            f"{factory} returned a {type(module).__name__}, not a torch.nn.Module",
            hint="name a function or class that returns the network itself",
        )
    return module.eval()


def takes_classes(factory: Factory, target: Any = None) -> bool:
    """Whether the factory takes `num_classes` and the user gave none."""
    if "num_classes" in dict(factory.kwargs):
        return False
    try:
        signature = inspect.signature(target if target is not None else _resolve(factory))
        bound = signature.bind_partial(*factory.args).arguments
    except (TypeError, ValueError):
        return False
    parameters = signature.parameters
    open_ended = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    return "num_classes" not in bound and ("num_classes" in parameters or open_ended)


def _resolve(factory: Factory) -> Any:
    value: Any = _from_file(factory) if factory.is_file else _from_package(factory)
    for step, name in enumerate(factory.attribute.split(".")):
        if not hasattr(value, name):
            public = [item for item in dir(value) if not item.startswith("_") and callable(getattr(value, item, None))]
            place = ".".join([factory.source, *factory.attribute.split(".")[:step]])
            raise InputError(
                "no-such-factory",
                f"there is no '{name}' in {place}",
                hint=did_you_mean(name, public[:50] or ["nothing"]),
            )
        value = getattr(value, name)
    return value


def _from_file(factory: Factory) -> ModuleType:
    path = Path(factory.source).expanduser()
    if not path.is_file():
        raise InputError(
            "no-such-file", f"there is no model file {path}", why=f"asked for by --model {factory}", hint=_GRAMMAR
        )
    name = factory.module
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with quiet_stdout(), _importable(factory):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise StepError(
            "model-code-failed", f"{path} cannot be imported", why=_last_line(error), hint="correct the file"
        ) from error
    return module


def _from_package(factory: Factory) -> ModuleType:
    try:
        with quiet_stdout(), _importable(factory):
            return importlib.import_module(factory.source)
    except ModuleNotFoundError as error:
        known = factory.source.split(".")[0] == (error.name or "").split(".")[0]
        raise InputError(
            "no-such-module",
            f"there is no Python module '{error.name}'",
            why=f"asked for by --model {factory}",
            hint="install it, or start where it can be imported: PYTHONPATH=FOLDER edgecnn ..."
            if known
            else f"pip install {error.name}",
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(
            "bad-model-reference", f"cannot read --model '{factory}'", why=str(error), hint=_GRAMMAR
        ) from error
    except (Exception, SystemExit) as error:
        raise StepError("model-code-failed", f"{factory.source} cannot be imported", why=_last_line(error)) from error


@contextlib.contextmanager
def _importable(factory: Factory) -> Iterator[None]:
    """Modules beside a model file, and those of the current folder, can be imported while the user's code runs."""
    folder = str(Path(factory.source).expanduser().resolve().parent) if factory.is_file else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No warnings, and nothing on stdout: for code that is not ours."""
    with warnings.catch_warnings(), quiet_stdout():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """What a user's code prints goes to stderr: stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _last_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    if isinstance(error, SyntaxError) or not frames:
        return f"{text} (line {error.lineno})" if isinstance(error, SyntaxError) else text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
