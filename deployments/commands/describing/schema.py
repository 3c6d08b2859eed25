"""`herd schema`: the JSON Schema of a config, for editors."""

import sys

from configs.json_schema import schema_text


def schema() -> None:
    """Print the JSON Schema of a config, for editors and other tools.

    `herd schema > herd.schema.json` makes the file that an editor with the YAML language server finds by a line
    `# yaml-language-server: $schema=herd.schema.json` in the config.
    """
    sys.stdout.write(schema_text())
