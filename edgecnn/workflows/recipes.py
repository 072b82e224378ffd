"""Recipes: those that come with the package and the user's own, listed, shown and checked."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

from edgecnn.config.recipe import Recipe, list_recipes, load_recipe

__all__ = ["CheckedRecipe", "check", "list", "show"]


def list() -> builtins.list[Recipe]:
    """The recipes that come with the package, and the user's own."""
    return list_recipes()


def show(name: str) -> Recipe:
    """A recipe by its name or the path of its YAML file. Raises one InputError with everything wrong in it."""
    return load_recipe(name)


@dataclass(frozen=True, slots=True)
class CheckedRecipe:
    """A recipe without mistakes."""

    recipe: Recipe

    def to_dict(self) -> dict[str, Any]:
        return {"ok": True, "recipe": self.recipe.to_dict()}


def check(name: str) -> CheckedRecipe:
    """Check a recipe. Raises one InputError with everything wrong in it."""
    return CheckedRecipe(load_recipe(name))
