"""Error codes of the package, read from its source: `python tests/house/error_codes.py` writes `docs/errors.md`.

A code is the first argument of an error, or of `Warned`. Where it is a variable, what it may be is looked up: in an
assignment, a table that a loop reads, or the calls of the function that takes it. A message shows what is filled in
as `{name}`.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "errors.md"
FAMILIES = {
    "InputError": "Exit code 2: a file, the data, a recipe or an option has to change",
    "MissingError": "Exit code 4: a package, a tool or a device is missing",
    "StepError": "Exit code 5: a step failed",
    "ProbeError": "On the device: exit code 4 for `missing-runtime` and `python-too-old`, else 5",
    "Warned": "Warnings: the command goes on",
}
INTRODUCTION = """# Error codes

Every error has a stable code, a message, often the fact behind it, and a hint: a command to type or an edit to make.
`--json` prints them as `code`, `message`, `why`, `hint` and `exit_code`. What is filled in stands in braces.
This page is made from the source by `make docs`.
"""
DEEPEST = 2
FORWARDED = {"error", "case", "full", "failed"}
"""Names whose `.code` is that of an error built elsewhere."""

Environment = Mapping[str, str]


@dataclass(frozen=True, order=True)
class ErrorCode:
    family: str
    code: str
    message: str
    hint: str
    module: str = field(compare=False)


@dataclass(frozen=True)
class Module:
    """A source file; `parents` leads from each node to the one around it."""

    path: Path
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    parents: Mapping[ast.AST, ast.AST]

    @classmethod
    def read(cls, path: Path) -> Module:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = tuple(ast.walk(tree))
        return cls(path, tree, nodes, {child: node for node in nodes for child in ast.iter_child_nodes(node)})

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The functions around a node, innermost first, then the module."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                yield node


class Source:
    """All modules of the package."""

    def __init__(self, package: Path = ROOT / "edgecnn") -> None:
        self.modules = [Module.read(path) for path in sorted(package.rglob("*.py"))]
        self.families = {name: name for name in (*FAMILIES, "EdgecnnError")}
        for module in self.modules * 2:  # a subclass of a subclass needs the second round
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    bases = [ast.unparse(base) for base in node.bases]
                    known = [self.families[base] for base in bases if base in self.families]
                    if known and node.name not in self.families:
                        self.families[node.name] = known[0]

        self.calls: dict[str, list[tuple[Module, ast.Call]]] = {}
        for module in self.modules:
            for node in module.nodes:
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                    self.calls.setdefault(name, []).append((module, node))

    def codes(self) -> list[ErrorCode]:
        found = {}
        for module in self.modules:
            for node in module.nodes:
                if isinstance(node, ast.Call):
                    for code in self._of(module, node):
                        if not code.code.startswith("{"):
                            found[code] = code
        return sorted(found.values())

    def _of(self, module: Module, call: ast.Call) -> Iterator[ErrorCode]:
        values = _arguments(call)
        code = values.get("code")
        if code is None or (isinstance(code, ast.Attribute) and ast.unparse(code.value) in FORWARDED):
            return
        empty = ast.Constant("")
        where = str(module.path.relative_to(ROOT))
        for family in self._families(module, call):
            for bound in self.environments(module, call, _names(code)):
                texts = [self.texts(values.get(name, empty), bound) for name in ("code", "message", "hint")]
                yield from (ErrorCode(family, *one, module=where) for one in itertools.product(*texts))

    def _families(self, module: Module, call: ast.Call) -> list[str]:
        """Which families the called name builds."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        if name in self.families:
            return [self.families[name]]
        if name == "_Case":  # the table of what ssh says
            return ["InputError" if "ssh-config" in ast.unparse(call.args[1]) else "MissingError"]
        if name == "send" and {"code", "message"} <= _arguments(call).keys():
            return ["ProbeError"]
        for around in module.around(call) if name == "family" else ():
            for node in () if isinstance(around, ast.Module) else ast.walk(around):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    names = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
                    return sorted(self.families[part] for part in names & self.families.keys())
        return []

    def environments(self, module: Module, node: ast.AST, wanted: set[str], depth: int = 0) -> list[Environment]:
        """What the names `wanted` in `node` may stand for, and what the statements that bind them bind beside them."""
        result: list[Environment] = [{}]
        others = _names(node)
        for around in module.around(node) if wanted else ():
            for bindings in self._bindings(module, around, others, wanted, depth):
                if any(wanted & one.keys() for one in bindings):
                    wanted = wanted - bindings[0].keys()
                    result = [{**one, **more} for one in result for more in bindings]
        return result

    def _bindings(
        self, module: Module, around: ast.AST, names: set[str], wanted: set[str], depth: int
    ) -> Iterator[list[Environment]]:
        """For each statement of `around` that binds one of `names`: its alternatives."""
        by_names: dict[tuple[str, ...], list[Environment]] = {}
        own = around.body if isinstance(around, ast.Module) else list(ast.walk(around))
        for node in own:
            pairs: list[tuple[ast.expr, ast.expr]] = []
            if isinstance(node, ast.Assign):
                pairs = [(node.targets[0], value) for value in _branches(node.value)]
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                pairs = [(node.target, node.value)]
            elif isinstance(node, ast.For | ast.comprehension):
                pairs = [(node.target, row) for row in _rows(node.iter, module.tree)]
            for target, value in pairs:
                bound = {name: text for name, text in self._unpacked(target, value) if name in names}
                if bound:
                    by_names.setdefault(tuple(bound), []).append(bound)
        yield from by_names.values()
        if isinstance(around, ast.FunctionDef) and depth < DEEPEST:
            parameters = {argument.arg for argument in (*around.args.args, *around.args.kwonlyargs)} & names
            if parameters & wanted and (calls := self._calls(module, around, parameters, wanted, depth)):
                yield calls

    def _unpacked(self, target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, part in zip(target.elts, value.elts, strict=False):
                yield from self._unpacked(one, part)
        elif isinstance(target, ast.Name):
            for text in self.texts(value, {})[:1]:
                if not text.startswith("{"):
                    yield target.id, text

    def _calls(
        self, module: Module, function: ast.FunctionDef, names: set[str], wanted: set[str], depth: int
    ) -> list[Environment]:
        """What the callers of `function` give for its parameters `names`."""
        order = [argument.arg for argument in function.args.args]
        method = order[:1] in (["self"], ["cls"])
        found: list[Environment] = []
        for caller, node in self.calls.get(function.name, ()):
            if _calls(node, function.name, module, caller, method=method):
                given = dict(zip(order[method:], node.args, strict=False))
                given |= {word.arg: word.value for word in node.keywords if word.arg}
                given = {name: value for name, value in given.items() if name in names}
                asked = {part for name in names & wanted & given.keys() for part in _names(given[name])}
                for bound in self.environments(caller, node, asked, depth + 1):
                    texts = [[(name, text) for text in self.texts(value, bound)] for name, value in given.items()]
                    found += [{k: v for k, v in one if not v.startswith("{")} for one in itertools.product(*texts)]
        return [dict(one) for one in dict.fromkeys(tuple(one.items()) for one in found if one)]

    def texts(self, node: ast.expr, bound: Environment) -> list[str]:  # noqa: PLR0911
        """What an expression may be as a text."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.Name):
            return [bound.get(node.id, f"{{{node.id}}}")]
        if isinstance(node, ast.Attribute):
            return [f"{{{node.attr.lstrip('_')}}}"]
        if isinstance(node, ast.JoinedStr):
            parts = [
                self.texts(getattr(part, "value", part) if isinstance(part, ast.FormattedValue) else part, bound)
                for part in node.values
            ]
            return ["".join(one) for one in itertools.product(*parts)]
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, bound) + self.texts(node.orelse, bound)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            pairs = itertools.product(self.texts(node.left, bound), self.texts(node.right, bound))
            return [left + right for left, right in pairs]
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self.texts(value, bound)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            text = self.texts(node.func.value, bound)
            words = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if node.func.attr in ("replace", "rstrip", "removesuffix") and len(words) == len(node.args):
                return [getattr(one, node.func.attr)(*words) for one in text]
            return text if node.func.attr == "format" else ["{…}"]
        return ["{…}"]


def _arguments(call: ast.Call) -> dict[str, ast.expr]:
    """`code`, `message`, `hint` of a call that builds an error, by position or by name."""
    positional = [part for part in call.args if not isinstance(part, ast.Starred)]
    name = ast.unparse(call.func).rpartition(".")[2]
    order = ["code", "message", "why", "hint"]
    order = {"Warned": ["code", "message", "hint"], "_Case": ["says", "code", "message", "hint"], "send": []}.get(
        name, order
    )
    return {
        **dict(zip(order, positional, strict=False)),
        **{word.arg: word.value for word in call.keywords if word.arg},
    }


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _branches(value: ast.expr) -> list[ast.expr]:
    return [*_branches(value.body), *_branches(value.orelse)] if isinstance(value, ast.IfExp) else [value]


def _rows(value: ast.expr, tree: ast.Module) -> list[ast.expr]:  # noqa: PLR0911
    """The rows of a table that a loop reads: a literal, a constant of the module, a dictionary's items."""
    if isinstance(value, ast.Name):
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and target.id == value.id:
                    return _rows(node.value, tree)
        return []
    if isinstance(value, ast.Tuple | ast.List):
        return list(value.elts)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("tuple", "list"):
        inner = value.args[0]
        return _rows(inner.generators[0].iter, tree) if isinstance(inner, ast.GeneratorExp) else _rows(inner, tree)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "items":
        return _rows(value.func.value, tree)
    if isinstance(value, ast.Dict):
        return [ast.Tuple([key, item]) for key, item in zip(value.keys, value.values, strict=True) if key is not None]
    return []


def _calls(call: ast.Call, name: str, module: Module, caller: Module, *, method: bool) -> bool:
    """Whether a call in `caller` is of the function `name` of `module`."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr == name and (
            method or ast.unparse(call.func.value) in (module.path.stem, module.path.parent.name)
        )
    if not isinstance(call.func, ast.Name) or call.func.id != name or method:
        return False
    dotted = ".".join(module.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    imports = (node for node in caller.nodes if isinstance(node, ast.ImportFrom))
    relative = any(
        (node.module == dotted or node.level) and name in {one.name for one in node.names} for node in imports
    )
    return caller is module or relative


def document(codes: list[ErrorCode]) -> str:
    """The page of all codes, one table for each family."""
    lines = [INTRODUCTION]
    for family, title in FAMILIES.items():
        lines += [f"## {title}", "", "| code | message | hint |", "|---|---|---|"]
        rows = [one for one in codes if one.family == family]
        before = ""
        for one in rows:
            lines.append(
                f"| {'' if one.code == before else f'`{one.code}`'} | {_cell(one.message)} | {_cell(one.hint)} |"
            )
            before = one.code
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>")


if __name__ == "__main__":
    DOCUMENT.write_text(document(Source().codes()), encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT.relative_to(ROOT)}\n")
