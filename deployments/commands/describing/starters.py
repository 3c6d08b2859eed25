"""The commented configs of `herd init`, as texts.

Decides what a first config says and in which words. Which values it has is asked in `deployments.commands.describing.init`, and the
planner's choice of a shape comes from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, get_args

from configs.load import as_flow
from configs.parallelism import Parallelism
from configs.token_counts import token_text

Kind = Literal["local", "plan", "onprem", "aws", "gcp", "kuberay"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COMMENTS_AT = 40


@dataclass(frozen=True, slots=True)
class Answers:
    """The values of a first config."""

    kind: Kind
    name: str
    file: str
    """The file that is written, for the commands that its comments name."""
    planned: Mapping[str, Any]
    """The planner's config for the model; empty for small models on this machine."""
    hosts: Sequence[str] = ("10.0.0.11",)
    """Addresses of hosts of one's own, the head's first."""
    machine: str = ""
    zone: str = ""
    nodes: int = 1
    image: str = f"registry.example.com/llama-herd:{version('llama-herd')}"


Line = tuple[str, str]
"""A line of YAML, and its comment."""


def starter(said: Answers) -> str:
    """Returns the text of a first config."""
    sections = _local(said) if said.kind == "local" else [_ray(), _hardware(said), _cluster(said), _gateway(), _model(said)]
    texts = ["\n".join(_written(one) for one in section) for section in sections if section]
    return f"{_head(said)}name: {said.name}\n\n" + "\n\n".join(texts) + "\n"


def _head(said: Answers) -> str:
    return (
        f"# A herd that `herd init --from {said.kind}` has begun. `herd validate {said.file}` checks this file,\n"
        f"# `herd plan {said.file}` tells whether it fits, `herd up {said.file}` brings it up. configs/README.md has every field,\n"
        "# and `herd schema > herd.schema.json` makes editors know them.\n"
        "# yaml-language-server: $schema=herd.schema.json\n"
    )


def _written(line: Line) -> str:
    text, comment = line
    return f"{text:<{COMMENTS_AT - 2}}  # {comment}" if comment else text


def _ray() -> list[Line]:
    return [("ray:", ""), ("  address: auto", 'the Ray cluster of these machines; `eval "$(herd secret)"` before each `ray start`')]


def _hardware(said: Answers) -> list[Line]:
    values = {"node": said.machine, "nodes": said.nodes} if said.machine else said.planned["hardware"]
    return [("hardware:", "what the planner counts with"), *((f"  {name}: {as_flow(value)}", "") for name, value in values.items())]


def _gateway() -> list[Line]:
    return [
        ("gateway:", ""),
        ("  host: 0.0.0.0", "answers each machine that reaches the port, without a key: keep it inside your network"),
        ("  port: 8000", "the same on every node"),
        ("  replicas_per_node: 2", "gateway processes, which share the port"),
    ]


def _model(said: Answers) -> list[Line]:
    (model,) = said.planned["models"]
    most = _most_replicas(said)
    alias = model["id"].removeprefix("llama-4-")
    lines = [
        ("models:", ""),
        (f"  - id: {model['id']}", "clients ask for the model by this name"),
        *([(f"    aliases: [{alias}]", "or by one of these")] if alias != model["id"] else []),
        (f"    kind: {model['kind']}", "the model of the catalogue, whose limits are known"),
        (f"    checkpoint: {model['checkpoint']}", ""),
        (f"    quantization: {model['quantization']}", "how the checkpoint stores its weights"),
        (f"    accelerator: {model['accelerator']}", ""),
        (f"    parallel: {as_flow(model['parallel'])}", "the planner's choice; `parallel: auto` asks it at each `herd up`"),
        (f"    context_tokens: {token_text(model['context_tokens'])}", "a prompt and its answer together"),
    ]
    if most > 1:
        lines.append((f"    scaling: {{min_replicas: 1, max_replicas: {most}}}", "as many engines as the load asks for"))
    else:
        lines.append(("    replicas: 1", ""))
    if model.get("engine"):
        lines.append(("    engine:", "further arguments of vLLM, under its own names"))
        lines += [(f"      {name}: {as_flow(value)}", "") for name, value in model["engine"].items()]
    return lines


def _most_replicas(said: Answers) -> int:
    """Returns how many engines the machines have room for. One that is larger than a node takes whole nodes."""
    gpus, shape = int(said.planned["hardware"]["gpus_per_node"]), Parallelism.model_validate(said.planned["models"][0]["parallel"])
    return max(said.nodes * (gpus // shape.gpus), said.nodes // -(-shape.gpus // gpus))


def _cluster(said: Answers) -> list[Line]:
    sites: dict[Kind, Callable[[Answers], list[Line]]] = {"onprem": _onprem, "aws": _aws, "gcp": _gcp, "kuberay": _kuberay}
    if said.kind not in sites:
        return []
    made = f"`herd cluster emit {said.file} --provider {said.kind}` makes the cluster's file of it"
    image = (f"  image: {said.image}", "`make image`, pushed to your registry")
    return [("cluster:", made), image, *sites[said.kind](said)]


def _onprem(said: Answers) -> list[Line]:
    head, *workers = said.hosts
    return [
        ("  mounts: [/models, /var/lib/herd]", "folders of each host that its container sees"),
        ("  secret_command: sudo -n cat /var/lib/herd/secret", "`openssl rand -hex 32`, the same on each host, readable by root"),
        ("  secrets:", "the repositories of the weights are gated"),
        ("    HF_TOKEN: {file: /var/lib/herd/hf-token}", ""),
        ("  ssh_user: ubuntu", "`ray up` logs in so"),
        ("  ssh_key: ~/.ssh/id_ed25519", ""),
        ("  # redis: 10.0.0.5:6379", "elsewhere: a head that is lost comes back with its state"),
        ("  onprem:", ""),
        (f"    head: {head}", ""),
        (f"    workers: {as_flow(workers)}", ""),
    ]


def _aws(said: Answers) -> list[Line]:
    region = said.zone[:-1]
    return [
        *_asked_of("secretsmanager", f"import boto3; print(boto3.client('secretsmanager', '{region}')"),
        ("  aws:", ""),
        (f"    region: {region}", ""),
        (f"    zone: {said.zone}", "EFA does not leave it"),
        (f"    machine: {said.machine}", ""),
        (f"    workers: {said.nodes}", "machines with GPUs; the head has none"),
        ("    ami: ami-0123456789abcdef0", "yours: with NVIDIA's driver, Docker and EFA's driver"),
        ("    subnet: subnet-0123456789abcdef0", "yours, in the zone"),
        ("    security_group: sg-0123456789abcdef0", "yours: its members reach each other on all protocols"),
        ("    instance_profile: herd-node", "yours: it may read the secrets above"),
    ]


def _asked_of(store: str, client: str) -> list[Line]:
    def command(name: str) -> str:
        return f"python -c \"{client}.get_secret_value(SecretId='{name}')['SecretString'])\""

    return [
        ("  secret_command: >-", f"in the container; {store} has it"),
        (f"    {command('herd')}", ""),
        ("  secrets:", "the repositories of the weights are gated"),
        ("    HF_TOKEN:", ""),
        ("      command: >-", ""),
        (f"        {command('hf')}", ""),
    ]


def _gcp(said: Answers) -> list[Line]:
    def command(name: str, margin: str) -> list[Line]:
        return [
            (f'{margin}python -c "from google.cloud.secretmanager import SecretManagerServiceClient as Client;', ""),
            (f"{margin}print(Client().access_secret_version(name='projects/my-project/secrets/{name}/versions/latest')", ""),
            (f'{margin}.payload.data.decode())"', ""),
        ]

    return [
        ("  secret_command: >-", "in the container, which needs google-cloud-secret-manager"),
        *command("herd", "    "),
        ("  secrets:", "the repositories of the weights are gated"),
        ("    HF_TOKEN:", ""),
        ("      command: >-", ""),
        *command("hf", "        "),
        ("  gcp:", ""),
        ("    project: my-project", "yours"),
        (f"    zone: {said.zone}", ""),
        (f"    machine: {said.machine}", ""),
        (f"    workers: {said.nodes}", "machines with GPUs; the head has none"),
        (
            "    source_image: projects/my-project/global/images/family/gpu-node",
            "yours: NVIDIA's driver, Docker, NCCL plugin",
        ),
        (f"    subnetwork: projects/my-project/regions/{said.zone[:-2]}/subnetworks/hosts-0", "yours; further ones in gpu_subnetworks"),
        ("    nccl_folder: /usr/local/gib", ""),
        ("    nccl_profile: /usr/local/gib/scripts/set_nccl_env.sh", ""),
        ("    service_account: herd-node@my-project.iam.gserviceaccount.com", "yours: it may read the secrets above"),
    ]


def _kuberay(said: Answers) -> list[Line]:
    return [
        ("  secrets:", "a key of the Kubernetes Secret `herd`, beside the lines of `herd secret --env-file`"),
        ("    HF_TOKEN: {command: printenv HF_TOKEN}", ""),
        ("  kuberay:", ""),
        (f"    workers: {said.nodes}", "pods with GPUs, one for each node"),
        ("    worker_cpus: 64", ""),
        ("    worker_memory_gib: 512", ""),
        ("    # resources: {rdma/hca: 8}", "RDMA between pods, by its name in your cluster"),
    ]


def _local(said: Answers) -> list[list[Line]]:
    return [
        [("ray:", ""), ("  address: local", "starts a Ray node on this machine, and owns it")],
        [
            ("gateway:", ""),
            ("  host: 127.0.0.1", "this machine only"),
            ("  port: 8000", ""),
            ("  auto: [smollm2-135m-instruct, llama-4-scout-tiny]", "`model: auto`: words from the one, images to the other"),
        ],
        [
            ("x-small: &small", "values that both models share"),
            ("  enforce_eager: true", "nothing to compile for so small a model"),
            ("  kv_cache_memory_bytes: 268435456", "256 MiB"),
            ("  max_num_seqs: 64", ""),
        ],
        [
            ("models:", ""),
            ("  - id: smollm2-135m-instruct", "clients ask for the model by this name"),
            ("    aliases: [smollm2]", "or by one of these"),
            ("    kind: smollm2-135m", ""),
            ("    checkpoint: small:smollm2-135m-instruct", "built here, nothing is downloaded"),
            ("    context_tokens: 4K", "a prompt and its answer together"),
            ("    engine: *small", ""),
            ("  - id: llama-4-scout-tiny", ""),
            ("    aliases: [scout]", ""),
            ("    kind: llama-4-scout-tiny", "random weights: the shape of Llama 4 Scout, not its wits"),
            ("    checkpoint: small:llama-4-scout-tiny", ""),
            ("    context_tokens: 8K", ""),
            ("    engine:", ""),
            ("      <<: *small", ""),
            ("      skip_mm_profiling: true", "or vLLM tries large images on the CPU before it starts"),
        ],
    ]
