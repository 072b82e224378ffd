"""Building a network to train, by name or from code, with fresh weights or those of a file under a new head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import EdgecnnError, InputError, StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.units import first_few
from edgecnn.models import facts, input_shape, match, one_logit, open, reference, registry
from edgecnn.models.pruned import PruningPlan
from edgecnn.models.rebuilding import for_other_classes, plan_in, stated_of
from edgecnn.models.registry import Entry, Form, shapes
from edgecnn.models.sources import source_files
from edgecnn.models.versions import load_state
from edgecnn.models.weights import Weights, read_weights, require_classes

_DROPS_PATHS = ("StochasticDepth", "DropPath")
"""What torchvision and timm call the module that leaves a residual branch out."""
_TIMM_OPTIONS = {"drop_rate": "dropout", "drop_path_rate": "stochastic depth"}
# Two counts of classes that no layer of a network has for another reason.
_ASKED = (1009, 1013)


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Which weights of a file a network took. `fresh` are the network's keys that start anew, `unused` the file's."""

    file: Path
    sha256: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    why: str = ""
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None

    def __str__(self) -> str:
        anew = f"; fresh: {first_few(self.fresh)} ({self.why})" if self.fresh else ""
        unused = f"; not used: {first_few(self.unused)}" if self.unused else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors taken from {self.file}{anew}{unused}"


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """A network ready to be trained, on the CPU in FP32. `architecture` is what `open_model` finds it by.

    `needs_model` tells that it is built by somebody's code, which a checkpoint cannot name: `--model` is then needed.
    `preprocessing` is that of the file or of the library, as `preprocessing_source` says ("checkpoint", "torchvision",
    "timm" or empty); `source_files` are (module, sha256) of the user's code. `plan` is that of a pruned network and
    `history` what made the file it comes from, oldest first: who saves the network passes them on.
    """

    module: nn.Module
    architecture: str
    notes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing | None = None
    preprocessing_source: str = ""
    taken: LoadedWeights | None = None
    needs_model: bool = False
    source_files: tuple[tuple[str, str], ...] = field(default=())
    plan: PruningPlan | None = None
    history: tuple[str, ...] = ()


def build(
    architecture: str | None,
    *,
    num_classes: int,
    class_names: Sequence[str] | None = None,
    pretrained: Path | None = None,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> BuiltNetwork:
    """Build a network with `num_classes` outputs; random weights come from torch's global generator.

    `architecture` is what `--model` takes; None is the one `pretrained` names or is recognised as. The head starts anew
    where the file has other classes (another number, or other names). A pruned file gives its pruned network, and is
    refused where `architecture` is another than it was pruned from. `dropout` and `stochastic_depth` (the rate of the
    last block, rising from the first: G. Huang et al., Deep Networks with Stochastic Depth, 2016, arXiv:1603.09382)
    replace the architecture's own. `size` (H, W) and `channels` are those of the images, where they are known. Raises
    InputError, MissingError or StepError.
    """
    weights = read_weights(pretrained) if pretrained is not None else None
    plan = plan_in(weights) if weights is not None else None
    wanted = reference.parse(architecture or _named_by(pretrained))
    if weights is not None and plan is not None and not isinstance(wanted, reference.Factory):
        wanted = stated_of(wanted, weights, plan)
    rates = _Rates(dropout, stochastic_depth)
    if isinstance(wanted, reference.Factory):
        maker: _Maker = _FactoryMaker(wanted)
    else:
        maker = _EntryMaker(_nearest(wanted, weights), rates)
    module = maker.make(num_classes)
    if weights is not None and plan is not None:
        module, plan = for_other_classes(module, plan, (weights, wanted), head=maker.head())
    own_shape, outputs = input_shape.settle(
        module, channels=filter(None, [channels]), size=size or input_shape.declared_size(module)
    )
    if outputs == 1 and num_classes == one_logit.CLASSES:
        one_logit.as_two_classes(module)
    else:
        _require_outputs(maker, outputs, num_classes)
    rates.set(module, maker.name)
    taken = _take(maker, module, (pretrained, weights), num_classes=num_classes, class_names=class_names)
    preprocessing, source = _preprocessing(maker, taken)
    return BuiltNetwork(
        module=module.float().requires_grad_(True),
        architecture=maker.name,
        notes=(str(taken),) if taken else (),
        input_shape=(preprocessing.channels, *preprocessing.crop) if preprocessing is not None else own_shape,
        preprocessing=preprocessing,
        preprocessing_source=source,
        taken=taken,
        needs_model=isinstance(wanted, reference.Factory) and maker.name not in open.OWN,
        source_files=source_files(module, *maker.modules),
        plan=plan,
        history=facts.stated_history(weights.metadata) if weights is not None else (),
    )


def _named_by(pretrained: Path | None) -> str:
    if pretrained is None:
        raise InputError(
            "no-architecture",
            "nothing says which network to train",
            hint="--arch resnet18, --arch timm:NAME or --arch path/to/file.py:factory",
        )
    return open.open_model(pretrained).name


def _nearest(entries: Sequence[Entry], weights: Weights | None) -> Entry:
    """Of two libraries' networks of one name, the one the weights fit best."""
    if weights is None or len(entries) == 1:
        return entries[0]
    given = shapes(weights.state)
    outcomes = [match.fit(entry, given) for entry in entries]
    misfits = [len(outcome) if isinstance(outcome, match.Difference) else 0 for outcome in outcomes]
    return entries[misfits.index(min(misfits))]


class _EntryMaker:
    """Networks of a registered architecture."""

    modules: tuple[str, ...] = ()

    def __init__(self, entry: Entry, rates: _Rates) -> None:
        self.entry: Entry | None = entry
        self.name = str(entry)
        self._entry = entry
        self._options = rates.options_of(entry)

    def make(self, num_classes: int) -> nn.Module:
        try:
            return registry.build(self._entry, Form(num_classes, training_heads=False), **self._options)
        except StepError as error:
            refused = [what for name, what in _TIMM_OPTIONS.items() if name in self._options and name in error.why]
            if not refused:
                raise
            raise _without_module_error(self.name, refused[0]) from error

    def head(self) -> frozenset[str]:
        """Keys of the weights whose shape follows the number of classes."""
        few, more = (registry.outline(self._entry, Form(count, training_heads=False)) for count in _ASKED)
        return frozenset(key for key in few if few[key] != more[key])


class _FactoryMaker:
    """Networks of the user's own code."""

    entry: Entry | None = None

    def __init__(self, factory: reference.Factory) -> None:
        self.name = str(factory)
        self.modules = (factory.module,)
        self._factory = factory

    def make(self, num_classes: int) -> nn.Module:
        return reference.make(self._factory, num_classes=num_classes)

    def head(self) -> frozenset[str]:
        if not reference.takes_classes(self._factory):
            return frozenset()
        few, more = (shapes(self.make(count).state_dict()) for count in _ASKED)
        return frozenset(key for key in few if few[key] != more.get(key))


_Maker = _EntryMaker | _FactoryMaker


def _require_outputs(maker: _Maker, outputs: int, num_classes: int) -> None:
    if outputs != num_classes:
        raise InputError(
            "class-count",
            f"{maker.name} has {outputs} outputs and the data {num_classes} classes",
            why="its factory takes no `num_classes`, or does not follow it",
            hint=f"let the factory take `num_classes`, or give its {num_classes} as an argument of your own: "
            f"--arch '{maker.name.partition('(')[0]}(...)'",
        )


@dataclass(frozen=True, slots=True)
class _Rates:
    dropout: float | None
    depth: float | None

    def options_of(self, entry: Entry) -> dict[str, Any]:
        """timm makes the modules only where a rate is asked for."""
        if entry.library != "timm":
            return {}
        given = {"drop_rate": self.dropout, "drop_path_rate": self.depth}
        return {name: value for name, value in given.items() if value}

    def set(self, module: nn.Module, name: str) -> None:
        """Raises InputError where the network has no such module."""
        if self.dropout is not None and not _set_dropout(module, self.dropout) and self.dropout:
            raise _without_module_error(name, "dropout")
        if self.depth is not None and not _set_depth(module, self.depth) and self.depth:
            raise _without_module_error(name, "stochastic depth")


def _set_dropout(module: nn.Module, rate: float) -> bool:
    found = False
    for item in module.modules():
        if isinstance(item, nn.modules.dropout._DropoutNd):
            item.p, found = rate, True
        elif isinstance(getattr(item, "drop_rate", None), float) and item.drop_rate == rate:
            found = True  # timm's heads that call the function with a rate of their own
    return found


def _set_depth(module: nn.Module, rate: float) -> bool:
    paths = [item for item in module.modules() if type(item).__name__ in _DROPS_PATHS]
    for number, item in enumerate(paths, start=1):
        name = "p" if hasattr(item, "p") else "drop_prob"
        setattr(item, name, rate * number / len(paths))
    return bool(paths)


def _without_module_error(name: str, what: str) -> InputError:
    return InputError(
        f"no-{what.replace(' ', '-')}",
        f"{name} has no {what} whose rate could be set",
        why="no such module is in the network",
        hint=f"leave out {what.replace(' ', '_')}, or choose an architecture that has it, such as efficientnet_b0",
    )


def _take(
    maker: _Maker,
    module: nn.Module,
    given: tuple[Path | None, Weights | None],
    *,
    num_classes: int,
    class_names: Sequence[str] | None,
) -> LoadedWeights | None:
    """Load what fits of the file's weights into the network; only a head may differ."""
    path, weights = given
    if path is None or weights is None:
        return None
    state = match.with_keys_of(module, weights)
    wanted, have, head = shapes(module.state_dict()), shapes(state), maker.head()
    body = match.difference({key: shape for key, shape in wanted.items() if key not in head}, have)
    if body.missing or body.reshaped:
        raise match.mismatch(maker.name, replace(body, unexpected=_not_heads(body.unexpected, head)), have)
    classes = _outputs(head, wanted, have)
    if classes is not None:
        require_classes(weights, classes)
    names = facts.class_names(weights.metadata, classes or num_classes)[0]
    why = _fresh_head_reason(head, (wanted, have), (class_names, names))
    fresh = tuple(key for key in wanted if key in head) if why else ()
    taken = {key: value for key, value in state.items() if key in module.state_dict() and key not in fresh}
    load_state(module, {**module.state_dict(), **taken}, weights.versions)
    return LoadedWeights(
        file=path,
        sha256=sha256_of(path),
        taken=tuple(key for key in wanted if key not in fresh),
        fresh=fresh,
        unused=_not_heads(body.unexpected, head),
        why=why,
        preprocessing=facts.preprocessing_of(weights.metadata)[0],
        class_names=names,
    )


def _not_heads(keys: Sequence[str], head: frozenset[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if key not in head and not key.startswith(registry.TRAINING_HEADS))


def _outputs(head: frozenset[str], wanted: registry.Shapes, have: registry.Shapes) -> int | None:
    """How many classes the file's head has, where it has one."""
    counts = {have[key][0] for key in head if key in have and have[key][1:] == wanted[key][1:]}
    return counts.pop() if len(counts) == 1 else None


def _fresh_head_reason(
    head: frozenset[str],
    shapes_of: tuple[registry.Shapes, registry.Shapes],
    names_of: tuple[Sequence[str] | None, Sequence[str] | None],
) -> str:
    """Why the head cannot be taken; empty where it can."""
    wanted, have = shapes_of
    here, there = names_of
    outputs = _outputs(head, wanted, have)
    if any(key not in have for key in head):
        return "the file has no such head"
    if any(have[key] != wanted[key] for key in head):
        return f"{outputs} classes there, {_outputs(head, wanted, wanted)} here" if outputs else "another head there"
    if head and here is not None and there is not None and set(here) != set(there):
        strange = [name for name in there if name not in set(here)]
        return f"other classes there: {first_few(strange)}"
    return ""


def _preprocessing(maker: _Maker, taken: LoadedWeights | None) -> tuple[Preprocessing | None, str]:
    if taken is not None and taken.preprocessing is not None:
        return taken.preprocessing, "checkpoint"
    found = facts.library_preprocessing(maker.entry) if maker.entry is not None else None
    return found, maker.entry.library if found is not None and maker.entry is not None else ""


def with_training_flags(error: EdgecnnError) -> EdgecnnError:
    """The same error with the option's name on the command line of training: `--arch` where others have `--model`."""
    for name in ("message", "why", "hint"):
        setattr(error, name, getattr(error, name).replace("--model", "--arch"))
    return error
