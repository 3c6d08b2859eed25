"""Whether there is a whole checkpoint in a folder of this machine.

Decides by the names of files and by the headers of those with weights, which say how long each file must be: milliseconds, where vLLM takes
minutes to an error that names no file. It takes a path that is not there for a repository of the Hub, and a pointer of Git LFS for a header
of exabytes.
"""

import json
from pathlib import Path

#: vLLM reads one of them first.
DESCRIPTIONS = ("config.json", "params.json")
#: What `safetensors` takes at most, in bytes.
LONGEST_HEADER = 100_000_000
_LFS = b"version "


def why_no_checkpoint(checkpoint: str) -> str:
    """Returns why there is no checkpoint where a path says, and the way out; empty where there is one, or for a name at the Hub."""
    folder = Path(checkpoint)
    try:
        return _why_not(folder) if folder.is_absolute() else ""
    except PermissionError as error:
        return f"{error.filename} may not be read by this user. `ls -ld` on it and the folders above, then `chmod` or `chown`."
    except FileNotFoundError as error:
        return f"{error.filename} is a link to a file that is not there. Copy it again, or mount the folder that it leads to."
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror}."


def _why_not(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} is not there. Correct `checkpoint`, or copy or mount the folder at that place."
    if not folder.is_dir():
        return ""
    if not any((folder / name).is_file() for name in DESCRIPTIONS):
        return f"{folder} has no config.json, so it is no checkpoint of Hugging Face's form. Is it the folder above, or Meta's own form?"
    damaged = [f"{file} {why}" for file in sorted(folder.glob("*.safetensors")) if (why := why_damaged(file))]
    return " ".join(damaged[:3]) + (f" And {len(damaged) - 3} more." if len(damaged) > 3 else "")


def why_damaged(file: Path) -> str:
    """Returns what is wrong with a file of weights, and the way out; empty where it is as long as its header says."""
    size = file.stat().st_size
    with file.open("rb") as content:
        first = content.read(len(_LFS))
        if first == _LFS:
            return "is a pointer of Git LFS, and not the file. `git lfs pull` in its folder fetches it."
        length = int.from_bytes(first, "little")
        try:
            header = json.loads(content.read(length) if len(first) + length <= min(size, LONGEST_HEADER) else b"")
            ends = [0, *(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            ends = []
    if not ends:
        return f"is no file of safetensors ({size:,} bytes). Copy it again."
    whole = len(first) + length + max(ends)
    return "" if size == whole else f"is incomplete: it has {size:,} of {whole:,} bytes. Copy it again."
