"""The disks that a cloud's machine brings along, made one disk for weights before its container starts.

Decides where weights are kept on such a machine, and that they survive the container, which Ray removes when it stops (`--rm`).
"""

#: The disk's folder, on the machine and in its container.
FOLDER = "/mnt/herd"
#: Hugging Face's cache and the herd's own are there.
ENVIRONMENT = {"HF_HOME": f"{FOLDER}/huggingface", "HERD_CACHE": f"{FOLDER}/llama-herd"}
#: The option of `docker run` that shows it to the container.
VOLUME = f"--volume={FOLDER}:{FOLDER}"
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


def prepared(disks: str | None) -> str:
    """Returns the shell script. `disks` is the command that prints the devices; without one, weights are on the machine's first disk."""
    one = "" if disks is None else ONE.format(disks=disks, dlami=DLAMI, folder=FOLDER)
    return one + OWNED.format(folders=" ".join(ENVIRONMENT.values()), user=CONTAINER_USER)
