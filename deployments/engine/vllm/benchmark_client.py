"""vLLM's own benchmark client as a program: `vllm bench serve` needs the `vllm` command line, which vLLM's build for CPU has not."""

import os
import sys
import threading
from collections.abc import Sequence


def main(words: Sequence[str]) -> None:
    """Runs the client with the words of `vllm bench serve`, until standard input ends: so no load outlives the command that wanted it."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args(list(words)))


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
