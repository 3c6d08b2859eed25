"""This package on its way to nodes: in their image, or as a wheel that `ray up` copies and installs.

Decides what must be there before machines are started. Nodes without the package examine nothing and serve nothing, and clouds bill them.
"""

from collections.abc import Callable, Sequence

from configs.inventory import Inventory

#: Images of others, by the end of their names: a mirror's copy is the same image. None has this package in it.
STOCK = ("rayproject/ray", "rayproject/ray-llm", "rayproject/ray-ml", "vllm/vllm-openai", "nvidia/cuda", "nvidia/pytorch")
OF_THIS = "llama_herd-"
#: Returns the names of a folder's files; none where the folder is not there.
Files = Callable[[str], Sequence[str] | None]


def is_stock(image: str) -> bool:
    """Tells whether an image, by its name with a tag or a digest, is one of others that lacks this package."""
    name, _, last = image.partition("@")[0].rpartition("/")
    repository = f"{name}/{last.partition(':')[0]}"
    return any(repository == stock or repository.endswith(f"/{stock}") for stock in STOCK)


def without_package(inventory: Inventory, installs: bool) -> tuple[str, str] | None:
    """Returns the field to change, and how, if containers would start without this package; None if they have it.

    Args:
        inventory: the machines.
        installs: whether nodes install the wheel: `ray up` has them do it, and Kubernetes does not.
    """
    if inventory.image is None or not is_stock(inventory.image):
        return None
    if not installs:
        way_out = "`make image` builds an image that has it; push that one and name it here"
        return "cluster.image", f"{inventory.image} has no llama-herd in it, and pods install nothing: {way_out}"
    if inventory.wheel is None:
        way_out = "`make wheel` builds one, or `make image` an image that has it (cluster.image)"
        return "cluster.wheel", f"is required with {inventory.image}, which has no llama-herd in it: {way_out}"
    return None


def missing_files(inventory: Inventory, files: Files) -> list[tuple[str, str]]:
    """Returns the fields whose files are not there for `ray up` to copy, each with the way out."""
    if inventory.wheel is None:
        return []
    found = [("cluster.wheel", _absent(inventory.wheel, files, "`make wheel` builds it in the repository's root"))]
    found.append(("cluster.constraints", _absent(inventory.constraints, files, "it is in the repository's root")))
    return [(field, problem) for field, problem in found if problem is not None]


def _absent(path: str, files: Files, way_out: str) -> str | None:
    folder, _, name = path.rpartition("/")
    there = files(folder or ("/" if path.startswith("/") else "."))
    if there is None:
        return f"{path} is not here, there is no folder {folder}: {way_out}. `herd cluster emit` and `ray up` run there"
    if name in there:
        return None
    if others := [one for one in there if name.startswith(OF_THIS) and one.startswith(OF_THIS) and one.endswith(".whl")]:
        return f"{path} is not here, and {folder} has {', '.join(others)}: name that one, or {way_out.removeprefix('it is ')}"
    return f"{path} is not here: {way_out}. `herd cluster emit` and `ray up` run there"
