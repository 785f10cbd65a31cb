"""Manages models: which of their versions are loaded, served and retired."""

import dataclasses
import gc
import logging
import os
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence

import tensorflow as tf

from serving.local_server.config_files import ModelConfig
from serving.local_server.errors import ModelLoadError, RequestError
from serving.local_server.model import ModelVersion, check_digests
from serving.protocol import Code, VersionStatus

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass
class _Version:
    """What is known of a version since it was first chosen to be served.

    Attributes:
        path: its directory.
        state: LOADING, AVAILABLE or END.
        model: the loaded model while AVAILABLE, otherwise None.
        error: why the last attempt to load it failed.
        num_attempts: the number of attempts to load it.
        next_attempt_at: when to try again, in seconds of time.monotonic().
    """

    path: str
    state: str = "LOADING"
    model: ModelVersion | None = None
    error: ModelLoadError | None = None
    num_attempts: int = 0
    next_attempt_at: float = 0.0


class ModelManager:
    """Loads and retires versions of models as they come and go on disk.

    A thread polls the directories. A new version is loaded and warmed up
    before an older one is retired; if it cannot be loaded, the older one
    stays. A request keeps the version that it began with until it is answered.
    Threads may share the manager.

    Args:
        configs: the models to serve.
        poll_wait_seconds: time between two polls; 0 polls only once.
        max_num_load_retries: how often a failed load is tried again.
        load_retry_interval_seconds: time between two attempts to load.
        allow_labels_for_unavailable: whether a new label may name a version
            that is not served yet.
        verify_digests: whether to load only versions whose files match their
            list of digests.

    Raises:
        RequestError: if a label names a version that is not served, with the
            code FAILED_PRECONDITION.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        poll_wait_seconds: float = 1,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60,
        allow_labels_for_unavailable: bool = False,
        verify_digests: bool = False,
    ):
        self._poll_wait_seconds = poll_wait_seconds
        self._max_num_load_retries = max_num_load_retries
        self._load_retry_interval_seconds = load_retry_interval_seconds
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._verify_digests = verify_digests
        self._thread = threading.Thread(
            target=self._run, name="model_manager", daemon=True
        )
        # Guards the attributes below and announces their changes. The lock is
        # not held while a model is loaded.
        self._changed = threading.Condition()
        self._is_stopping = False
        self._num_polls_requested = 0
        self._num_polls_done = 0
        self._configs: Mapping[str, ModelConfig] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._versions: dict[str, dict[int, _Version]] = {}
        # The last warning about each model's directory.
        self._warnings: dict[str, str] = {}
        self._adopt(configs)

    def start(self) -> None:
        """Loads the models and starts the thread that polls for versions.

        A model without a single loadable version is an error at the start;
        loading it is not retried.

        Raises:
            ModelLoadError: if a model has no version that can be served.
        """
        for config in self._configs.values():
            errors = self._load(config.name, self._choose_versions(config))
            if not self._served(config.name):
                raise errors[0] if errors else _no_version(config)
            _warn(config.name, errors)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread. Loaded versions can still be used."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()

    def find(
        self, name: str, version: int | None, label: str | None
    ) -> tuple[int, ModelVersion]:
        """Returns a served version of a model, and its number.

        Args:
            name: the name of the model.
            version: the number of the version, or None.
            label: a label of the version, or None. Without version and label
                the newest version is returned.

        Raises:
            RequestError: if no such version is served.
        """
        with self._changed:
            if label is not None:
                version = self._labels.get(name, {}).get(label)
                if version is None:
                    raise RequestError(
                        Code.INVALID_ARGUMENT,
                        f"Unrecognized servable version label: {label}",
                    )
            served = self._served(name)
            number = max(served, default=None) if version is None else version
            if number is None or number not in served:
                request = (
                    f"Latest({name})"
                    if version is None
                    else f"Specific({name}, {version})"
                )
                raise RequestError(
                    Code.NOT_FOUND, f"Servable not found for request: {request}"
                )
            return number, served[number]

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """Returns the status of a model's versions, newest first.

        Args:
            name: the name of the model.
            version: the number of the only version to return, or None for all.

        Raises:
            RequestError: if there is none, with the code NOT_FOUND.
        """
        with self._changed:
            versions = self._versions.get(name, {})
            if not versions:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Could not find any versions of model {name}",
                )
            if version is not None and version not in versions:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Could not find version {version} of model {name}",
                )
            return [
                _status(number, each)
                for number, each in sorted(versions.items(), reverse=True)
                if version in (None, number)
            ]

    def served(self) -> dict[str, list[int]]:
        """Returns the numbers of the versions served, ascending, by model."""
        with self._changed:
            return {name: sorted(self._served(name)) for name in self._versions}

    def reconfigure(self, configs: Sequence[ModelConfig]) -> None:
        """Replaces the models to serve, and waits until the new ones are.

        Models that are not in `configs` are retired.

        Raises:
            RequestError: if a label names a version that is not served, or
                some model has no version that could be loaded.
        """
        names = {config.name for config in configs}
        with self._changed:
            self._adopt(configs)
            self._num_polls_requested += 1
            poll = self._num_polls_requested
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._is_stopping or self._num_polls_done >= poll
            )
            missing = sorted(name for name in names if not self._served(name))
        if missing:
            raise RequestError(
                Code.UNKNOWN,
                "Some models did not become available:"
                f" {{{', '.join(missing)}}}",
            )

    # ---- Labels and names ----

    def _adopt(self, configs: Sequence[ModelConfig]) -> None:
        for config in configs:
            for label, version in config.version_labels.items():
                known = self._labels.get(config.name, {}).get(label, version)
                may_be_unavailable = (
                    self._allow_labels_for_unavailable and known == version
                )
                if not (
                    may_be_unavailable or version in self._served(config.name)
                ):
                    raise RequestError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model"
                        f" {config.name}, which is not currently available for"
                        " inference",
                    )
        self._configs = {config.name: config for config in configs}
        self._labels = {
            config.name: config.version_labels for config in configs
        }

    def _served(self, name: str) -> dict[int, ModelVersion]:
        return {
            number: version.model
            for number, version in self._versions.get(name, {}).items()
            if version.model is not None
        }

    # ---- The thread ----

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._waiting_seconds())
                if self._is_stopping:
                    return
                poll = self._num_polls_requested
                configs = dict(self._configs)
            for config in configs.values():
                self._poll(config)
            for name in self._versions.keys() - configs.keys():
                self._cancel_retries(name, [])
                self._retire(name, [])
            with self._changed:
                self._num_polls_done = poll
                self._changed.notify_all()

    def _has_work(self) -> bool:
        return (
            self._is_stopping
            or self._num_polls_requested > self._num_polls_done
        )

    def _waiting_seconds(self) -> float | None:
        """Returns the seconds until the next poll or retry, if there is one."""
        waits = [
            max(0.0, version.next_attempt_at - time.monotonic())
            for versions in self._versions.values()
            for version in versions.values()
            if version.state == "LOADING"
        ]
        if self._poll_wait_seconds:
            waits.append(self._poll_wait_seconds)
        return min(waits, default=None)

    def _poll(self, config: ModelConfig) -> None:
        name = config.name
        try:
            chosen = self._choose_versions(config)
            warning = "" if chosen else str(_no_version(config))
        except ModelLoadError as error:
            chosen = {}
            warning = str(error)
        # Not once per poll.
        if warning and warning != self._warnings.get(name):
            _LOGGER.warning("%s", warning)
        self._warnings[name] = warning
        self._cancel_retries(name, chosen)
        _warn(name, self._load(name, chosen))
        # An old version is better than none.
        if self._served(name).keys() & chosen.keys():
            self._retire(name, chosen)

    def _choose_versions(self, config: ModelConfig) -> dict[int, str]:
        """Returns the directories of the versions to serve, by number."""
        paths = list_versions(config.base_path)
        return {number: paths[number] for number in config.policy.choose(paths)}

    def _cancel_retries(self, name: str, chosen: Collection[int]) -> None:
        """Stops retrying failed versions that are no longer chosen."""
        with self._changed:
            for number, version in self._versions.get(name, {}).items():
                if version.error and number not in chosen:
                    version.state = "END"
                    version.num_attempts = 0

    def _load(
        self, name: str, chosen: Mapping[int, str]
    ) -> list[ModelLoadError]:
        """Loads the chosen versions that are due; returns the failures."""
        errors = []
        for number, path in chosen.items():
            version = self._begin_load(name, number, path)
            if version is None:
                continue
            try:
                if self._verify_digests:
                    check_digests(path)
                model = ModelVersion(path)
            except ModelLoadError as error:
                errors.append(error)
                self._note_failure(version, error)
                continue
            with self._changed:
                version.model = model
                version.state = "AVAILABLE"
                self._changed.notify_all()
            _LOGGER.info("Serving version %d of model '%s'.", number, name)
        return errors

    def _begin_load(self, name: str, number: int, path: str) -> _Version | None:
        """Returns the version to load, or None if it is not due."""
        with self._changed:
            versions = self._versions.setdefault(name, {})
            version = versions.setdefault(number, _Version(path))
            is_due = version.num_attempts == 0 or (
                version.state == "LOADING"
                and version.next_attempt_at <= time.monotonic()
            )
            if version.model or not is_due:
                return None
            version.path = path
            version.state = "LOADING"
            version.error = None
            version.num_attempts += 1
            return version

    def _note_failure(self, version: _Version, error: ModelLoadError) -> None:
        with self._changed:
            version.error = error
            # A directory may exist before all of its files do.
            is_last = version.num_attempts > self._max_num_load_retries
            version.state = "END" if is_last else "LOADING"
            version.next_attempt_at = (
                time.monotonic() + self._load_retry_interval_seconds
            )
            self._changed.notify_all()

    def _retire(self, name: str, chosen: Collection[int]) -> None:
        """Unloads the served versions that are not chosen."""
        with self._changed:
            versions = self._versions[name]
            retired = [
                number for number in self._served(name) if number not in chosen
            ]
            for number in retired:
                versions[number] = _Version(versions[number].path, "END")
            self._changed.notify_all()
        if retired:
            # Loaded functions are reference cycles: only this frees them.
            gc.collect()
        for number in retired:
            _LOGGER.info("Retired version %d of model '%s'.", number, name)


def list_versions(base_path: str) -> dict[int, str]:
    """Returns the directories of a model's versions on disk, by number.

    A version is a directory whose name is a number; anything else in
    `base_path` is ignored.

    Raises:
        ModelLoadError: if `base_path` cannot be read.
    """
    try:
        if not tf.io.gfile.isdir(base_path):
            raise ModelLoadError(f"{base_path} is not a directory.")
        names = tf.io.gfile.listdir(base_path)
    except tf.errors.OpError as error:
        raise ModelLoadError(
            f"{base_path} cannot be listed: {error.message}"
        ) from error
    # Object stores list directories with a trailing slash.
    names = [name.rstrip("/") for name in names]
    return {
        int(name): os.path.join(base_path, name)
        for name in names
        if re.fullmatch("[0-9]{1,18}", name)
        and tf.io.gfile.isdir(os.path.join(base_path, name))
    }


def _no_version(config: ModelConfig) -> ModelLoadError:
    if config.policy.specific is not None:
        numbers = ", ".join(map(str, sorted(config.policy.specific)))
        return ModelLoadError(
            f"{config.base_path} holds none of the versions {numbers}."
        )
    if tf.io.gfile.exists(os.path.join(config.base_path, "saved_model.pb")):
        return ModelLoadError(
            f"{config.base_path} is one version of a model. Name the directory"
            f" that holds it: {os.path.dirname(config.base_path.rstrip('/'))}."
        )
    return ModelLoadError(
        f"{config.base_path} holds no version of a model. A version is a"
        " directory whose name is a number, such as"
        f" {os.path.join(config.base_path, '1')}."
    )


def _warn(name: str, errors: Sequence[ModelLoadError]) -> None:
    for error in errors:
        _LOGGER.warning(
            "A version of model '%s' is not served: %s", name, error
        )


def _status(number: int, version: _Version) -> VersionStatus:
    if version.state == "END" and version.error:
        return VersionStatus(
            number, "END", version.error.code, str(version.error)
        )
    return VersionStatus(number, version.state, Code.OK, "")
