"""Where a node keeps weights and what its engines compile: on a disk of its own, outside of the container.

Decides that both survive the container, which Ray removes when it stops (`--rm`). The disks that a cloud's machine brings along become one
before its container starts.
"""

import re
from pathlib import PurePosixPath

from configs.inventory import Inventory

#: The disk's folder on a cloud's machine, and in its container.
FOLDER = "/mnt/herd"
#: AWS's own name of an instance store, and the links that Google's images make.
AWS_DISKS = "lsblk --nodeps --noheadings --paths --output NAME,MODEL | awk '/Instance Storage/ {print $1}'"
GCP_DISKS = "find /dev/disk/by-id -name 'google-local-nvme-ssd-*' ! -name '*-part*' -exec readlink -f {} + 2> /dev/null"
#: AWS's deep learning images mount the instance store themselves.
DLAMI = "/opt/dlami/nvme"
#: The user of Ray's images.
CONTAINER_USER = 1000

ONE = """\
# The machine's own NVMe disks become one, for weights; it is empty after each stop of the machine.
disks="$({disks})"
if mountpoint -q {dlami} && ! mountpoint -q {folder}; then
  sudo mkdir -p {dlami}/herd {folder} && sudo mount --bind {dlami}/herd {folder}
elif test -n "$disks" && ! mountpoint -q {folder}; then
  # shellcheck disable=SC2086
  test -e /dev/md/herd || sudo mdadm --create /dev/md/herd --homehost=any --level=0 --force --run \\
    --raid-devices="$(echo $disks | wc -w)" $disks
  sudo blkid /dev/md/herd > /dev/null || sudo mkfs.ext4 -q -E lazy_itable_init=1,nodiscard /dev/md/herd
  sudo mkdir -p {folder} && sudo mount -o noatime /dev/md/herd {folder}
fi
"""
OWNED = """\
sudo mkdir -p {folders} && sudo chown {user}:{user} {folders}
"""
#: A folder that Docker has made is root's, and the container's user, who may use `sudo` in Ray's images, is not. Only the two folders in it
#: become that user's: the folder itself may be others' too.
KEPT = """\
mkdir -p {folders} 2> /dev/null && test -w {first} && test -w {second} ||
  sudo -n install -d -o "$(id -u)" -g "$(id -g)" {folders} ||
  {{ echo "{folder} cannot be written by $(id -un): it keeps weights and what engines compile, see {field}" >&2; exit 1; }}"""


def environment(folder: str) -> dict[str, str]:
    """Returns the variables of Hugging Face's cache and the herd's own in a folder of the node."""
    return {"HF_HOME": f"{folder}/huggingface", "HERD_CACHE": f"{folder}/llama-herd"}


def is_shown(inventory: Inventory, folder: str) -> bool:
    """Tells whether a container is shown something at this place already: Docker and Kubernetes take a place once."""
    place = PurePosixPath(folder)
    said = (words for option in inventory.run_options for words in re.split(r"[:=, ]", option)[1:])
    return any(PurePosixPath(one) == place for one in (*inventory.mounts, *said))


def volume(folder: str) -> str:
    """Returns the option of `docker run` that shows a folder of the node to its container."""
    return f"--volume={folder}:{folder}"


def kept(folder: str, field: str) -> str:
    """Returns lines of shell, for the container, that make the folder its user's; `field` is the one of the config that names it."""
    first, second = environment(folder).values()
    return KEPT.format(folder=folder, folders=f"{first} {second}", first=first, second=second, field=field)


def prepared(disks: str | None) -> str:
    """Returns the shell script. `disks` is the command that prints the devices; without one, weights are on the machine's first disk."""
    one = "" if disks is None else ONE.format(disks=disks, dlami=DLAMI, folder=FOLDER)
    return one + OWNED.format(folders=" ".join(environment(FOLDER).values()), user=CONTAINER_USER)
