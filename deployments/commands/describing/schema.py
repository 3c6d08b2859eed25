"""`herd schema`: the JSON Schema of a config, for editors."""

import sys

from configs.json_schema import schema_text


def schema() -> None:
    """Print the JSON Schema of a config, for editors and other tools.

    An editor with the YAML language server finds the second's file by a line `# yaml-language-server: $schema=herd.schema.json` in the
    config.

    \b
    herd schema
    herd schema > herd.schema.json
    """
    sys.stdout.write(schema_text())
