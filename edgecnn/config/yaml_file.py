"""YAML files that a person writes. Every mistake is reported at once, with its path in the file."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.paths import require_regular

MAX_BYTES = 1 << 18
"""A recipe or profile is a page of text; a file of more than 256 KiB is something else."""

_UNION_MEMBER = re.compile(r"(int|float|str|bool|[a-z-]+\[.*)$")
"""Where a field allows several types, pydantic puts the type it tried into the path."""


class _OnceOnly(yaml.SafeLoader):
    """A safe loader that refuses a key written twice (YAML's own rule, which PyYAML does not keep).

    It refuses aliases too: with them a small file can describe an enormous value.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*) are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in keys:
                mark = key_node.start_mark
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is written twice", mark)
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


_BOOL = "tag:yaml.org,2002:bool"
_OnceOnly.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# As in YAML 1.2: `cache: off` is a word. A setting that is a boolean takes it all the same.
_OnceOnly.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_mapping(path: Path, *, what: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises InputError `bad-<what>` when there is none."""
    try:
        require_regular(path)
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise InputError(f"bad-{what}", f"{path} is no {what}: it is larger than {MAX_BYTES >> 10} KiB")
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceOnly)  # noqa: S506 (a SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not a text file"
        raise InputError(
            f"bad-{what}", f"cannot read the {what} {path}", why=why, hint=f"edgecnn {what}s list"
        ) from error
    except InputError:
        raise
    except Exception as error:  # PyYAML's constructors raise what Python's own do: of dates, numbers and tags
        raise InputError(
            f"bad-{what}", f"{path} is not valid YAML", why=_yaml_problem(error), hint=f"correct {path}"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(f"bad-{what}", f"{path} is no {what}", why="it holds no keys", hint=f"edgecnn {what}s list")
    return {str(key): value for key, value in raw.items()}


def scalar(text: str) -> Any:
    """A value as YAML reads it: a number, yes or no, a text, a list in brackets. Raises ValueError."""
    try:
        return yaml.load(text, Loader=_OnceOnly)  # noqa: S506 (a SafeLoader)
    except Exception as error:  # as in `read_mapping`
        raise ValueError(_yaml_problem(error)) from error


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error) or "it is nested too deeply"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else str(problem)


def validate(model: type[BaseModel], value: Any, *, at: str, problems: list[str]) -> Any:
    """`value` as a `model`, or None with what is wrong added to `problems`, each with its YAML path under `at`."""
    if isinstance(value, Mapping):
        value = {str(key): item for key, item in value.items()}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        complaints = error.errors(include_url=False)
        for item in complaints:
            # A list left empty because its items were refused is complained about as well: the items are what to mend.
            if not any(
                other["loc"][: len(item["loc"])] == item["loc"] and other["loc"] != item["loc"] for other in complaints
            ):
                problems.append(_problem(item, at=at, model=model))
    except InputError as error:
        problems.append(f"{at}: {error.why or error.message}")
    except (ArithmeticError, ValueError, RecursionError) as error:  # of numbers that no float holds
        problems.append(f"{at}: {error}")
    return None


def _problem(item: Any, *, at: str, model: type[BaseModel]) -> str:
    location = item["loc"]
    if item["type"] == "extra_forbidden":
        return unknown(join(at, *location), str(location[-1]), _fields_at(model, location[:-1]))
    path = join(at, *(part for part in location if not (isinstance(part, str) and _UNION_MEMBER.match(part))))
    if item["type"] == "missing":
        return f"{path}: is missing"
    message = _complaint(item)
    value = item.get("input")
    shown = "" if isinstance(value, dict | list) or value is None else f" (it is {value!r})"
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def bad_option(error: ValidationError, *, command: str) -> InputError:
    """The `bad-option` for a command whose flags are the fields of a model: its first complaint, in the flag's name."""
    first = error.errors(include_url=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    said, flag = _complaint(first), names[-1].replace("_", "-") if names else ""
    message = f"--{flag} {first.get('input')}: {said}" if flag else said
    return InputError("bad-option", message, hint=f"see edgecnn {command} --help")


def _complaint(item: Any) -> str:
    """Pydantic's message about one value, in our words: `has to be less than 1 (100%)`."""
    complaint: str = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    complaint = (complaint[:1].lower() + complaint[1:]).replace("input should be", "has to be")
    bounds = [bound for name, bound in item.get("ctx", {}).items() if name in ("lt", "le", "gt", "ge")]
    if bounds and str(item.get("input")).rstrip().endswith("%"):
        complaint += f" ({bounds[0]:.0%})"
    return complaint


def _fields_at(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """The fields a mapping at this place may have: down through optional and repeated models."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = [kind for kind in _classes(field.annotation) if issubclass(kind, BaseModel)] if field else []
        if len(inner) != 1:
            return []
        model = inner[0]
    return list(model.model_fields)


def _classes(annotation: Any) -> list[type]:
    inside = [kind for part in get_args(annotation) for kind in _classes(part)]
    return inside or ([annotation] if isinstance(annotation, type) else [])


def unknown(path: str, word: str, known: Iterable[str]) -> str:
    """`path: unknown key` with the nearest known words, or all of them."""
    known = sorted(known)
    return f"{path}: unknown key" + (f"; {did_you_mean(word, known)}" if known else "")


def join(at: str, *parts: str | int) -> str:
    """`stages[1].quantize` and so on: a path a person can follow in the file."""
    for part in parts:
        at = f"{at}[{part}]" if isinstance(part, int) else f"{at}.{part}" if at else str(part)
    return at


def file_error(path: Path, problems: list[str], *, what: str) -> InputError:
    """One error for everything wrong with a file."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    hint = f"correct {path}, then: edgecnn recipes check {path}" if what == "recipe" else f"correct {path}"
    return InputError(f"bad-{what}", f"{what} {path} has {count}", why="\n".join(problems), hint=hint)
