"""A vLLM plugin for the serving side: of the formats that Pillow can open, only those that the gateway lets pass.

Decides nothing. Some of Pillow's other readers start programs of the machine (Ghostscript, for EPS), and some are seldom used. The gateway
refuses such files by their first bytes; here they cannot be opened even if one came through.
"""

#: Pillow's names. MPO is a JPEG file with several pictures.
FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "GIF"})


def mend() -> None:
    """vLLM calls this in each of its processes before it builds an engine."""
    from PIL import Image

    Image.init()  # loads every reader, and loads none later
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
