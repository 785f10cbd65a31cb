"""A disk of a few kilobytes, on which writes fail for real.

It is a file system in memory in a mount namespace of its own, which needs no
privileges where the system lets users make namespaces. Other processes reach
it through `/proc`.
"""

import subprocess
import tempfile

#: Mounts with the options of each line that it reads, and answers with one.
_MOUNTS = 'while read -r options; do mount $options "$0" || exit; echo; done'


class SmallDisk:
    """A disk whose size can be changed, and which can be made read-only.

    Args:
        size: as `mount` takes it, such as `64k`.

    Attributes:
        path: its directory, for any process of this user.

    Raises:
        OSError: the system does not let this user make namespaces.
    """

    def __init__(self, size):
        self._mount_point = tempfile.TemporaryDirectory()
        place = self._mount_point.name
        self._process = subprocess.Popen(
            [
                *("unshare", "--user", "--map-root-user", "--mount", "sh"),
                *("-c", _MOUNTS),
                place,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.path = f"/proc/{self._process.pid}/root{place}"
        self._mount(f"-t tmpfs -o size={size} disk")

    def resize(self, size):
        self._mount(f"-o remount,rw,size={size}")

    def make_read_only(self):
        self._mount("-o remount,ro")

    def close(self):
        self._process.communicate()
        self._mount_point.cleanup()

    def _mount(self, options):
        try:
            self._process.stdin.write(f"{options}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        if not self._process.stdout.readline():
            raise OSError(self._process.stderr.read())
