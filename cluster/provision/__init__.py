"""Files that bring machines up: `ray up`, KubeRay, systemd, HAProxy. Imports the rooms of `cluster` below it."""
