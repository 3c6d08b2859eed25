"""Lets `import torchvision` work beside a CPU build of torch when torchvision's own C++ extension does not load.

Llama 4's image processor needs only torchvision's Python transforms, but the import dies earlier, on `operator torchvision::nms
does not exist`, because the extension that would have defined the operator was built for CUDA. So right after torchvision has
tried its extension, and only if that failed, this defines the two operators' schemas; a build that loads is left alone.

`cluster/machine/environment.py` copies this file into the virtual environment beside a `.pth` file that calls `install` whenever an
interpreter starts. vLLM inspects models in a fresh subprocess and Ray starts a process per replica, so nothing less reaches all
of them. Starting must stay cheap for all of them too: torch is imported only by a process that imports torchvision anyway.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader

TYPE_CHECKING = False  # typing itself would cost every interpreter's start some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

EXTENSION = "torchvision.extension"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class ExtensionLoader(SourceFileLoader):
    """Runs the module as it is, then adds the schemas its extension did not bring."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if not module._has_ops():  # noqa: SLF001
            # torch forgets the schemas when the library object dies, so the module that lacks them keeps it alive.
            module.__dict__["herd_schemas"] = define_schemas()


class ExtensionFinder:
    """Answers for one module name; for every other import it costs one comparison."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != EXTENSION:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = ExtensionLoader(spec.loader.name, spec.loader.path)
        return spec


def define_schemas() -> object:
    from torch.library import Library

    library = Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    return library


def install() -> None:
    if ExtensionFinder not in sys.meta_path:
        sys.meta_path.insert(0, ExtensionFinder)
