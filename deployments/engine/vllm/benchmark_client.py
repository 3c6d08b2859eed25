"""vLLM's own benchmark client as a program: `vllm bench serve` needs the `vllm` command line, which vLLM's build for CPU has not."""

import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> None:
    """Runs the client with the words of `vllm bench serve`."""
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args(list(words)))


if __name__ == "__main__":
    main(sys.argv[1:])
