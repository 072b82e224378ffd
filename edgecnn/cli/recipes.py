"""`edgecnn recipes`: the recipes that are shipped and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command

if TYPE_CHECKING:
    from edgecnn.config.recipe import Recipe
    from edgecnn.workflows.recipes import CheckedRecipe

app = typer.Typer(help="Show recipes: what `optimize` does to a model.", no_args_is_help=True, rich_markup_mode=None)

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or the path of a YAML file.")]


def _checked(checked: CheckedRecipe, options: Mapping[str, Any]) -> str:
    recipe, count = checked.recipe, len(checked.recipe.stages)
    return f"ok: {recipe.name}, {count} stage{'s' if count != 1 else ''}: {_way(recipe)}"


@app.command("list")
@command("edgecnn.workflows.recipes:list", printer=lambda recipes, _: _table(recipes))
def list_(json: options.PrintJson = False) -> None:
    """List the recipes that are shipped and your own.

    Yours lie in ~/.config/edgecnn/recipes, one YAML file each.
    """


@app.command()
@command("edgecnn.workflows.recipes:show", printer=lambda recipe, _: _yaml(recipe))
def show(name: RecipeFile, json: options.PrintJson = False) -> None:
    """Print a recipe with every option spelt out.

    What is printed is YAML: a file to start your own from.
    """


@app.command()
@command("edgecnn.workflows.recipes:check", printer=_checked)
def check(name: RecipeFile, json: options.PrintJson = False) -> None:
    """Check a recipe and print every problem in it.

    Exits 2 when there is one.
    """


def _way(recipe: Recipe) -> str:
    return " → ".join(stage.kind for stage in recipe.stages)


def _table(recipes: list[Recipe]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgecnn.config.recipe import DEFAULT

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("recipe", "stages", "may lose", "what it is"):
        table.add_column(title, overflow="fold", no_wrap=title != "what it is")
    for recipe in recipes:
        style = "bold" if recipe.name == DEFAULT else ""
        drop = f"{recipe.budget.max_drop * 100:g} %"
        table.add_row(Text(recipe.name, style), Text(_way(recipe)), Text(drop), Text(recipe.description))
    return table


def _yaml(recipe: Recipe) -> str:
    import yaml

    stages = [{stage.kind: stage.options()} if stage.options() else stage.kind for stage in recipe.stages]
    written = {key: value for key, value in recipe.to_dict().items() if value not in (None, "")}
    budget = {key: value for key, value in recipe.budget.model_dump().items() if value is not None}
    written |= {"stages": stages, "budget": {**budget, "max_drop": f"{recipe.budget.max_drop * 100:g}%"}}
    written = {key: value for key, value in written.items() if key != "ladder" or value}
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None).rstrip()
