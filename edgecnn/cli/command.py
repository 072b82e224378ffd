"""Command: its options, one call of a workflow, one printer. Nothing else happens in this room.

A module here declares a function for its options and its help alone, and says which workflow it is:

    @command("edgecnn.workflows.convert:export", preprocessing_before="json")
    def export(checkpoint: options.Checkpoint, ..., json: options.Json = False) -> None:
        (its help)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import typer

from edgecnn.cli.options import PREPROCESSING

Printer = Callable[[Any, Mapping[str, Any]], Any]
"""What a person is shown of a result, given the options: a text, something for rich, or None for nothing."""
Note = Callable[[Any, Mapping[str, Any]], str]
"""What to say on stderr beside the result; empty for nothing."""
PRINTED = ("json", "dry_run")
"""Options that the workflow does not know: how to print, and that nothing is to be done."""


def command(
    workflow: str,
    *,
    printer: Printer = lambda result, _: result.page(),
    note: Note | None = None,
    printed: tuple[str, ...] = (),
    preprocessing_before: str = "",
    dry_run: str = "",
    extends: Callable[..., None] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function that declares its options.

    `workflow` and `dry_run` (what `--dry-run` calls instead) are `package.module:function`, imported when they are
    called; the options are their keyword arguments. The options of preprocessing stand before the option named
    `preprocessing_before`, or at the "end". A command that `extends` another has its options as well, its own before
    `--json`. `printed` are options for the printer alone; `note` is said on stderr after the result. The exit code is
    the result's, where it has one.
    """

    def decorate(declared: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(declared, eval_str=True)
        parameters = list(signature.parameters.values())
        if extends is not None:
            *shared, json = inspect.signature(extends).parameters.values()
            parameters = [*shared, *parameters, json]
        if preprocessing_before:
            place = [*(parameter.name for parameter in parameters), "end"].index(preprocessing_before)
            parameters[place:place] = PREPROCESSING

        def run(**options: Any) -> None:
            if options.get("json") and options.get("csv"):
                raise typer.BadParameter("--json and --csv exclude each other")
            arguments = {name: value for name, value in options.items() if name not in (*PRINTED, *printed)}
            if options.get("dry_run"):
                for name in ("remeasure", "again"):  # a plan measures and replaces nothing
                    arguments.pop(name, None)
            result = _call(dry_run if options.get("dry_run") else workflow, arguments)
            _print(result, options, printer, note)
            code = getattr(result, "exit_code", 0)
            if code:
                raise typer.Exit(code)

        run.__name__, run.__doc__, run.__module__ = declared.__name__, declared.__doc__, declared.__module__
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.workflow, run.printed = workflow, (*PRINTED, *printed)  # type: ignore[attr-defined]
        return run

    return decorate


def rendered(document: str, file: str = "") -> Printer:
    """Print the document that `document` (`package.module:function`) makes of the result; `file` in `--out` has all of
    it."""

    def page(result: Any, options: Mapping[str, Any]) -> Any:
        from edgecnn.core.plugins import resolve
        from edgecnn.report import text

        out = options.get("out")
        return text.render(resolve(document)(result), place=str(out / file) if out and file else "")

    return page


def report_page(report: Any, options: Mapping[str, Any]) -> Any:
    """The report of a run as a terminal shows it."""
    from edgecnn.report import text

    return text.render(report.document(), place="report.md")


def wrote(files: str, otherwise: str = "") -> Note:
    """Name the files in `--out` that `files` (`package.module:function`) makes of the result; without `--out` say
    `otherwise`, unless JSON is printed."""

    def note(result: Any, options: Mapping[str, Any]) -> str:
        from edgecnn.core.plugins import resolve

        if options["out"] is None:
            return "" if options["json"] else otherwise
        return f"wrote {', '.join(str(options['out'] / name) for name in resolve(files)(result))}"

    return note


def _call(workflow: str, arguments: Mapping[str, Any]) -> Any:
    from edgecnn.cli import console
    from edgecnn.core.plugins import resolve
    from edgecnn.models.library_names import require_known

    for name in ("model", "arch"):
        if isinstance(arguments.get(name), str):  # before the workflow is imported: that takes seconds
            require_known(arguments[name])
    function = resolve(workflow)
    if "listener" not in inspect.signature(function).parameters:
        return function(**arguments)
    with console.listener() as listener:
        return function(**arguments, listener=listener)


def _print(result: Any, options: Mapping[str, Any], printer: Printer, note: Note | None) -> None:
    from edgecnn.cli import console

    if not getattr(result, "is_first", True):  # of the processes that torchrun starts one prints
        return
    if options.get("json"):
        console.json(result)
    elif (shown := printer(result, options)) is not None:
        console.result(shown)
    for failure in getattr(result, "failures", ()):
        console.failure(failure.error)
    if note is not None and (text := note(result, options)):
        console.note(text)
