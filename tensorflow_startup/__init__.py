"""Makes TensorFlow load faster and without its messages.

Commands call `install` before anything loads TensorFlow. They are spared its
remarks on the processor, absent GPUs and its own graphs; its errors come as
exceptions. `TF_CPP_MIN_LOG_LEVEL=0` shows everything.
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

#: What Keras imports if it is installed, for parts of it that no command uses.
#: It is a third of the time to load TensorFlow where all of it is installed.
_UNUSED = ("matplotlib", "pandas", "sklearn")

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Lines of the native log below an error, and what goes with them.
_NOISE = re.compile(
    rb"[IW]\d{4} |WARNING: All log messages before absl|To enable the following"
)


def install(*, whole_keras: bool = False) -> None:
    """Has TensorFlow loaded fast, and its messages hidden from now on.

    Call it before TensorFlow is loaded.

    Args:
        whole_keras: whether Keras finds its optional libraries, as users of a
            library expect; a command does not need them.
    """
    os.environ.setdefault(_LEVEL, "3")
    sys.meta_path.insert(0, _Finder(() if whole_keras else _UNUSED))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow once, to load it fast and quietly."""

    def __init__(self, hidden: Sequence[str]) -> None:
        self._hidden = hidden

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
            spec.loader = _Loader(spec.loader, self._hidden)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module as another loader does, without noise or unused parts."""

    def __init__(
        self, loader: importlib.abc.Loader, hidden: Sequence[str]
    ) -> None:
        self._loader = loader
        self._hidden = hidden

    def create_module(
        self, spec: importlib.machinery.ModuleSpec
    ) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _without_noise(), _hidden(self._hidden):
            self._loader.exec_module(module)


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Drops the noise that the block writes to standard error.

    TensorFlow's libraries write some before they heed the level.
    """
    if os.environ[_LEVEL] == "0":
        yield
        return
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


@contextlib.contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Makes modules that are not yet loaded seem not to be installed."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
