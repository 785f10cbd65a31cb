"""Hides what TensorFlow says of processor, absent GPUs and its own graphs.

Its errors come as exceptions. `TF_CPP_MIN_LOG_LEVEL=0` shows everything.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Lines of the native log below an error, and what goes with them.
_NOISE = re.compile(
    rb"[IW]\d{4} |WARNING: All log messages before absl|To enable the following"
)


def install() -> None:
    """Hides the messages of TensorFlow from now on; call it before it loads."""
    if os.environ.setdefault(_LEVEL, "3") != "0":
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow once, to load it quietly.

    Its libraries write to standard error before they heed the level.
    """

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module as another loader does, without its noise."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(
        self, spec: importlib.machinery.ModuleSpec
    ) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _without_noise():
            self._loader.exec_module(module)


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Drops the noise that the block writes to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file:
                if not _NOISE.match(line):
                    os.write(2, line)
