"""Opening a checkpoint together with its network."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from edgecnn.core.errors import EdgecnnError, InputError, MissingError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import facts, input_shape, match, one_logit, recognise, reference
from edgecnn.models.prefixes import named_as
from edgecnn.models.pruned import PruningPlan
from edgecnn.models.rebuilding import plan_in, rebuild
from edgecnn.models.registry import Entry, Form, build_empty, outline, shapes
from edgecnn.models.sources import compiled_forwards, library_versions, source_files
from edgecnn.models.weights import Weights, read_weights, require_classes


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network with its weights; satisfies `core.stage.Model`.

    `input_shape` is (C, H, W); `sha256` identifies architecture and weights; `preprocessing_source` is checkpoint,
    timm, torchvision, given or empty; `form` says how the file stored the weights, `dtype` in which type;
    `notes` what was assumed; `source_files` are (module, sha256) of the user's code it is made of; `plan` says which
    channels of the architecture are left in a pruned one. `rivals` are architectures that take the same weights and
    compute something else, where the file does not say which one was trained.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, int, int]
    sha256: str
    preprocessing: Preprocessing | None
    preprocessing_source: str
    class_names: tuple[str, ...] | None
    parameters: int
    form: str
    dtype: str
    notes: tuple[str, ...]
    source_files: tuple[tuple[str, str], ...]
    plan: PruningPlan | None
    rivals: tuple[str, ...]
    _network: nn.Module = field(repr=False, compare=False)

    def module(self) -> nn.Module:
        """A fresh FP32 module on the CPU, in eval mode."""
        fresh: nn.Module = copy.deepcopy(self._network)
        return fresh.requires_grad_(True).eval()

    def with_preprocessing(self, preprocessing: Preprocessing) -> LoadedModel:
        """The same network fed by other preprocessing. Raises InputError or StepError when it cannot take that size."""
        shape = (preprocessing.channels, *preprocessing.crop)
        if shape[0] != self.input_shape[0]:
            raise InputError(
                "channels-differ",
                f"the preprocessing gives {shape[0]} channel(s) and {self.name} takes {self.input_shape[0]}",
                hint="set `color` in the preprocessing: RGB, or L for one channel",
            )
        input_shape.outputs(self._network, shape)
        notes = tuple(note for note in self.notes if not note.startswith(_ASSUMED))
        return replace(self, preprocessing=preprocessing, preprocessing_source="given", input_shape=shape, notes=notes)


OWN = ("edgecnn.train.resnet_small:resnet_small",)
"""Networks of this package that a file may name; anything else with a colon is somebody's code."""
_ANY = 1009
_ASSUMED = "input size not stated"


@dataclass(frozen=True, slots=True)
class _BuiltModel:
    """A network with weights, before its input and output are known."""

    name: str
    identity: str
    network: nn.Module
    entry: Entry | None = None
    notes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    plan: PruningPlan | None = None
    rivals: tuple[str, ...] = ()
    channels: int | None = None


def open_model(
    path: Path,
    *,
    architecture: str | None = None,
    weights: str | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    classifies: bool = True,
) -> LoadedModel:
    """Read a checkpoint and build its network.

    `architecture` is a registered name, `file.py:factory` or `pkg.module:factory`; without it the file's own metadata
    decides, then the names and shapes of the weights. `weights` says which of several in the file (`ema`). `size`
    (H, W) and `channels` are what the user says of the input. One logit is two classes where the network `classifies`.
    Raises InputError, MissingError or StepError.
    """
    return _opened(read_weights(Path(path), name=weights), architecture, size, channels, classifies)


def reopen(path: Path, *, near: Sequence[str] = ()) -> LoadedModel:
    """Read a file that this program wrote itself. Code that it names is run only where it is one of `near`, which the
    user has named: somebody may have written into the run's folder. Raises InputError architecture-is-code."""
    weights = read_weights(Path(path))
    text = facts.stated_architecture(weights.metadata)
    if text is not None and _is_code(text):
        text = next((known for known in near if _is_same_code(known, text)), None) or _named(weights)
    return _opened(weights, text)


def _opened(
    weights: Weights,
    architecture: str | None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    classifies: bool = True,
) -> LoadedModel:
    plan = plan_in(weights)
    if plan is not None:
        found = _rebuilt(weights, plan, architecture)
    else:
        found = _named_by_user(weights, architecture) if architecture else _stated(weights) or _searched(weights)
    classifies = classifies and weights.metadata.get("num_classes") != 1
    return _complete(found, weights, size, channels, classifies)


def _rebuilt(weights: Weights, plan: PruningPlan, architecture: str | None) -> _BuiltModel:
    """The architecture with the channels that are left, and the weights of those."""
    text = architecture or _named(weights)
    wanted = reference.parse(text) if text is not None else None
    entry, identity, network, note = rebuild(weights, plan, wanted)
    modules = (wanted.module,) if isinstance(wanted, reference.Factory) else ()
    return _BuiltModel(str(entry or text), identity, network, entry, (note,), modules, plan)


def _named_by_user(weights: Weights, text: str) -> _BuiltModel:
    wanted = reference.parse(text)
    if isinstance(wanted, reference.Factory):
        return _from_factory(wanted, weights)
    misfits = []
    for entry in wanted:
        view = named_as(weights, [*outline(entry, Form(num_classes=_ANY))])
        outcome = match.fit(entry, given := shapes(view.weights.state))
        if isinstance(outcome, match.Fit):
            notes = () if entry == wanted[0] else (f"torchvision's '{entry.name}' has other weights; timm's was taken",)
            return _registered(outcome, view.weights, (*view.notes, *notes))
        misfits.append((len(outcome), str(entry), outcome, given))
    _, name, differs, given = min(misfits, key=lambda misfit: misfit[0])
    raise match.mismatch(name, differs, given)


def _named(weights: Weights) -> str | None:
    """The registered architecture the file names. Code that a file names is not run."""
    text = facts.stated_architecture(weights.metadata)
    if text is not None and _is_code(text):
        raise InputError(
            "architecture-is-code",
            f"the checkpoint says that its network is built by {text}",
            why="code named by a file is not run unasked",
            hint=f"if you trust it: --model {shlex.quote(text)}",
        )
    return text


def _is_code(text: str) -> bool:
    return ":" in text and text.partition(":")[0] not in ("torchvision", "timm") and text not in OWN


def _is_same_code(known: str, text: str) -> bool:
    """Whether an architecture the user named is the code a file names, which may lie elsewhere by now."""
    with contextlib.suppress(EdgecnnError):
        return known == text or (_is_code(known) and reference.same(reference.parse(known), reference.parse(text)))
    return False


def _stated(weights: Weights) -> _BuiltModel | None:
    """The registered architecture the file names, if it fits."""
    text = _named(weights)
    if text is None:
        return None
    try:
        return _named_by_user(weights, text)
    except MissingError:
        raise
    except InputError as error:
        note = f"the file says '{text}', which does not fit ({error.code}); it was searched for instead"
        try:
            found = _searched(weights)
        except InputError:
            if error.code == "architecture-mismatch":
                raise error from None
            raise
        return replace(found, notes=(note, *found.notes))


def _searched(weights: Weights) -> _BuiltModel:
    found = recognise.find(weights)
    rivals = tuple(str(entry) for entry in found.rivals)
    return replace(_registered(found.fit, found.weights, found.notes), rivals=rivals)


def _registered(best: match.Fit, weights: Weights, notes: tuple[str, ...]) -> _BuiltModel:
    network = match.load_into(build_empty(best.entry, best.form), weights.state, weights.versions)
    if best.entry.library == "torchvision" and best.entry.name in ("googlenet", "inception_v3"):
        call = f"torchvision.models:{best.entry.name}(transform_input=True, init_weights=False)"
        notes = (
            *notes,
            f"built without transform_input; weights fine-tuned from torchvision's own need --model '{call}'",
        )
    identity = f"{best.entry} {best.form}"
    return _BuiltModel(str(best.entry), identity, network, best.entry, notes, channels=best.form.in_channels)


def _from_factory(factory: reference.Factory, weights: Weights) -> _BuiltModel:
    network = reference.make(factory)
    view = named_as(weights, [*network.state_dict()])
    state, given = view.weights.state, shapes(view.weights.state)
    differs = match.difference(shapes(network.state_dict()), given)
    classes = match.other_classes(shapes(network.state_dict()), given) if differs else None
    if classes and reference.takes_classes(factory):
        network = reference.make(factory, num_classes=classes)
        differs = match.difference(shapes(network.state_dict()), given)
    if differs:
        raise match.mismatch(str(factory), differs, given)
    network = match.load_into(copy.deepcopy(network), state, view.weights.versions)
    return _BuiltModel(str(factory), factory.identity(), network, notes=view.notes, modules=(factory.module,))


def _complete(
    found: _BuiltModel, weights: Weights, asked: tuple[int, int] | None, channels: int | None, classifies: bool
) -> LoadedModel:
    notes = [*weights.notes, *found.notes]
    preprocessing, note = facts.preprocessing_of(weights.metadata)
    source = "checkpoint" if preprocessing else ""
    notes += [note] if note else []
    if preprocessing is None and found.entry and found.channels in (None, 3):
        preprocessing = facts.library_preprocessing(found.entry)
        source = found.entry.library if preprocessing else ""
    size = asked or (
        (preprocessing.crop if preprocessing and source == "checkpoint" else None)
        or facts.stated_size(weights.metadata)
        or (preprocessing.crop if preprocessing else None)
        or input_shape.declared_size(found.network)
    )
    likely = [channels, found.channels, preprocessing.channels if preprocessing else None]
    shape, num_classes = input_shape.settle(found.network, channels=filter(None, likely), size=size)
    if num_classes == 1 and classifies:
        num_classes = one_logit.CLASSES
        one_logit.as_two_classes(found.network)
        found = replace(found, identity=f"{found.identity}, two classes")
        notes.append(one_logit.NOTE)
    require_classes(weights, num_classes)
    if preprocessing and preprocessing.channels != shape[0]:
        notes.append(
            f"the {source}'s preprocessing has {preprocessing.channels} channel(s) for {shape[0]} and was left aside"
        )
        preprocessing, source = None, ""
    if size is None:
        notes.append(f"{_ASSUMED}: {shape[1]}x{shape[2]} was assumed; give the preprocessing to change it")
    if preprocessing and preprocessing.crop != shape[1:]:
        preprocessing = _resized(preprocessing, shape[1:])
    names, note = facts.class_names(weights.metadata, num_classes)
    notes += [note] if note else []
    sources = source_files(found.network, *found.modules)
    code = [found.identity, *library_versions(found.network), *sorted(digest for _, digest in sources)]
    return LoadedModel(
        name=found.name,
        num_classes=num_classes,
        input_shape=shape,
        sha256=_digest("\n".join(code), found.network),
        preprocessing=preprocessing,
        preprocessing_source=source,
        class_names=names,
        parameters=sum(item.numel() for item in found.network.parameters()),
        form=f"{weights.form}, pruned" if found.plan else weights.form,
        dtype=weights.dtype,
        notes=tuple(notes),
        source_files=sources,
        plan=found.plan,
        rivals=found.rivals,
        _network=found.network,
    )


def _resized(preprocessing: Preprocessing, crop: tuple[int, int]) -> Preprocessing:
    """The library's preprocessing at the size the file states, with the same share cropped away."""
    if preprocessing.resize is None:
        return preprocessing.changed(crop=crop)
    share = max(crop) / max(preprocessing.crop)
    return preprocessing.changed(crop=crop, resize=max(*crop, round(preprocessing.resize * share)))


def in_memory(
    network: nn.Module,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    classifies: bool = True,
) -> LoadedModel:
    """A network of the caller's as a model; `size` is (H, W) where it is known. Raises InputError or StepError."""
    network = copy.deepcopy(network).cpu().float().eval()
    known = size or input_shape.declared_size(network)
    shape, num_classes = input_shape.settle(network, channels=filter(None, [channels]), size=known)
    sources, kind = source_files(network), type(network)
    two = num_classes == 1 and classifies
    if two:
        one_logit.as_two_classes(network)
    code = [repr(network), *library_versions(network), *sorted(digest for _, digest in sources)]
    code += [compiled.hex() for compiled in compiled_forwards(network)]
    return LoadedModel(
        name=f"{kind.__module__}:{kind.__qualname__}",
        num_classes=one_logit.CLASSES if two else num_classes,
        input_shape=shape,
        sha256=_digest("\n".join(code), network),
        preprocessing=None,
        preprocessing_source="",
        class_names=None,
        parameters=sum(item.numel() for item in network.parameters()),
        form="module in memory",
        dtype="float32",
        notes=(one_logit.NOTE,) if two else (),
        source_files=sources,
        plan=None,
        rivals=(),
        _network=network,
    )


def _digest(identity: str, network: nn.Module) -> str:
    digest = hashlib.sha256(identity.encode())
    for key, value in sorted(network.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            digest.update(f"\n{key} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
