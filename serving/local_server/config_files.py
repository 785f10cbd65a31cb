"""Reads TensorFlow Serving's configuration files, protobufs in text format."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf.message import Message  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

# The messages of TensorFlow Serving that the package tensorflow-serving-api
# lacks, with their numbers and types (session_bundle_config.proto and
# monitoring_config.proto of https://github.com/tensorflow/serving).
_SCHEMA = """
    name: "serving/config_files.proto"
    package: "tensorflow.serving"
    syntax: "proto3"
    dependency: "google/protobuf/wrappers.proto"
    message_type {
      name: "BatchingParameters"
      field {
        name: "max_batch_size" number: 1 label: LABEL_OPTIONAL
        type_name: ".google.protobuf.Int64Value"
      }
      field {
        name: "batch_timeout_micros" number: 2 label: LABEL_OPTIONAL
        type_name: ".google.protobuf.Int64Value"
      }
      field {
        name: "max_enqueued_batches" number: 3 label: LABEL_OPTIONAL
        type_name: ".google.protobuf.Int64Value"
      }
      field {
        name: "num_batch_threads" number: 4 label: LABEL_OPTIONAL
        type_name: ".google.protobuf.Int64Value"
      }
      field {
        name: "thread_pool_name" number: 5 label: LABEL_OPTIONAL
        type_name: ".google.protobuf.StringValue"
      }
      field {
        name: "allowed_batch_sizes" number: 6 label: LABEL_REPEATED
        type: TYPE_INT64
      }
      field {
        name: "pad_variable_length_inputs" number: 7 label: LABEL_OPTIONAL
        type: TYPE_BOOL
      }
    }
    message_type {
      name: "PrometheusConfig"
      field {
        name: "enable" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL
      }
      field {
        name: "path" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING
      }
    }
    message_type {
      name: "MonitoringConfig"
      field {
        name: "prometheus_config" number: 1 label: LABEL_OPTIONAL
        type_name: ".tensorflow.serving.PrometheusConfig"
      }
    }
"""

# The path of the metrics unless the file names one.
_PROMETHEUS_PATH = "/monitoring/prometheus/metrics"


class ConfigError(ValueError):
    """A configuration that is malformed or that this server cannot serve."""


@dataclass(frozen=True)
class VersionPolicy:
    """The choice of the versions to serve among those on disk.

    Args:
        num_newest: serve so many of the newest; None for all.
        specific: serve exactly these instead.
    """

    num_newest: int | None = 1
    specific: frozenset[int] | None = None

    def choose(self, numbers: Collection[int]) -> list[int]:
        """Returns the versions to serve, newest first."""
        newest_first = sorted(numbers, reverse=True)
        if self.specific is not None:
            return [each for each in newest_first if each in self.specific]
        return newest_first[: self.num_newest]


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a model.

    Args:
        name: the name in requests.
        base_path: the directory of the numbered versions.
        policy: which versions to serve.
        version_labels: the numbers of versions by label.
    """

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    version_labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchingParameters:
    """The parameters of batching, with TensorFlow Serving's defaults.

    Args:
        max_batch_size: the most rows in a batch.
        batch_timeout_micros: how long a request waits for others while a
            thread is idle.
        max_enqueued_batches: the longest queue; requests beyond it are
            refused.
        num_batch_threads: the most batches that run at once.
        thread_pool_name: the name of their threads.
        allowed_batch_sizes: pad each batch with copies of a row to the next of
            these sizes; empty for no padding.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()


def read_models(path: str) -> list[ModelConfig]:
    """Reads a ModelServerConfig.

    Args:
        path: the file.

    Raises:
        ConfigError: if it is not one that this server can serve.
    """
    config = _read(path, model_server_config_pb2.ModelServerConfig())
    try:
        return parse_models(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_models(config: Message) -> list[ModelConfig]:
    """Converts a ModelServerConfig message.

    Raises:
        ConfigError: if it is not one that this server can serve.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise ConfigError("it must hold a model_config_list.")
    models = [_parse_model(each) for each in config.model_config_list.config]
    names = [each.name for each in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"Illegal to list model {name} multiple times in config list"
            )
    return models


def _parse_model(config: Message) -> ModelConfig:
    if not config.name:
        raise ConfigError("a model has no `name`.")
    if not config.base_path:
        raise ConfigError(f"model {config.name} has no `base_path`.")
    if config.model_platform not in ("", "tensorflow"):
        raise ConfigError(
            f"`model_platform` of model {config.name} must be 'tensorflow'."
            f" Received: {config.model_platform!r}"
        )
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            versions = VersionPolicy(num_newest=None)
        case "specific":
            versions = VersionPolicy(
                specific=frozenset(policy.specific.versions)
            )
        case _:
            # Without a policy, or with 0, TensorFlow Serving serves one.
            versions = VersionPolicy(num_newest=policy.latest.num_versions or 1)
    return ModelConfig(
        name=config.name,
        base_path=config.base_path,
        policy=versions,
        version_labels=dict(config.version_labels),
    )


def read_batching_parameters(path: str) -> BatchingParameters:
    """Reads BatchingParameters.

    Args:
        path: the file.

    Raises:
        ConfigError: if the file is malformed or asks for something that this
            server does not do.
    """
    message = _read(path, _new_message("BatchingParameters"))
    if message.pad_variable_length_inputs:
        raise ConfigError(
            f"{path}: `pad_variable_length_inputs` must not be set: it pads"
            " with the first number of the batch and so answers silently with"
            " wrong numbers. Pad lists where requests are made."
        )
    values = {
        descriptor.name: value.value
        for descriptor, value in message.ListFields()
        if descriptor.message_type is not None
    }
    for name, value in values.items():
        minimum = 0 if name == "batch_timeout_micros" else 1
        if name != "thread_pool_name" and value < minimum:
            raise ConfigError(
                f"{path}: `{name}` must be {minimum} or more. Received:"
                f" {name}={value}"
            )
    parameters = BatchingParameters(
        **values, allowed_batch_sizes=tuple(message.allowed_batch_sizes)
    )
    _check_allowed_sizes(path, parameters)
    return parameters


def _check_allowed_sizes(path: str, parameters: BatchingParameters) -> None:
    sizes = parameters.allowed_batch_sizes
    if sizes and (
        sizes[0] < 1
        or list(sizes) != sorted(set(sizes))
        or sizes[-1] != parameters.max_batch_size
    ):
        raise ConfigError(
            f"{path}: `allowed_batch_sizes` must increase and end with"
            f" `max_batch_size`, {parameters.max_batch_size}. Received:"
            f" allowed_batch_sizes={list(sizes)}"
        )


def read_prometheus_path(path: str) -> str | None:
    """Reads a MonitoringConfig.

    Args:
        path: the file.

    Returns:
        The URL path of the metrics, or None if they are disabled.

    Raises:
        ConfigError: if the file is malformed.
    """
    config = _read(path, _new_message("MonitoringConfig")).prometheus_config
    if not config.enable:
        return None
    if config.path and not config.path.startswith("/"):
        raise ConfigError(
            f"{path}: `path` must begin with '/'. Received: {config.path!r}"
        )
    return config.path or _PROMETHEUS_PATH


def _read(path: str, message: Message) -> Message:
    try:
        with open(path, encoding="utf-8") as file:
            return text_format.Parse(file.read(), message)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} does not hold a {message.DESCRIPTOR.name}: {error}"
        ) from error


def _new_message(name: str) -> Message:
    # A pool of its own: another library may define the same messages.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    schema = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool.AddSerializedFile(schema.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"tensorflow.serving.{name}")
    return message_factory.GetMessageClass(descriptor)()
