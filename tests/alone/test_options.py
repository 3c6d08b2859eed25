"""What Ray Serve is told of an engine's deployment is what `ray.serve.llm`, which the builder does not import, would tell it."""

from configs.names import Accelerator
from deployments.lifecycle.applications import engine_options
from tests.alone import vllm_itself
from tests.unit.samples import scout

MODELS = [
    scout(),
    scout(parallel={"tensor": 8, "expert": True}),
    scout(parallel={"tensor": 8, "pipeline": 2}),
    scout(parallel={"tensor": 4, "data": 2, "expert": True}),
]
ACCELERATORS: tuple[Accelerator, ...] = ("cpu", "gpu", "H100")


def test_placement_and_environment_are_those_of_rays_own_builder() -> None:
    asked = [(model.model_dump(mode="json"), accelerator) for accelerator in ACCELERATORS for model in MODELS]
    ours = [vllm_itself.told(engine_options(model, accelerator)) for accelerator in ACCELERATORS for model in MODELS]
    assert ours == vllm_itself.ask("options", asked)
