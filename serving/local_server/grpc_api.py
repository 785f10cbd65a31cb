"""TensorFlow Serving's gRPC API: PredictionService and ModelService."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.local_server import config_files, tensor_messages
from serving.local_server.config_files import ConfigError
from serving.local_server.errors import RequestError, refuse
from serving.local_server.inference import (
    CLASSIFY,
    REGRESS,
    InferenceRunner,
    call_by_size,
    refuse_examples,
)
from serving.local_server.model import ModelVersion
from serving.local_server.model_manager import ModelManager
from serving.local_server.monitoring import Metrics
from serving.protocol import Code

_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Any]])

_LOGGER = logging.getLogger(__name__)

_MAX_MESSAGE_LENGTH = 1024
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def create_server(
    manager: ModelManager,
    runner: InferenceRunner,
    metrics: Metrics,
    *,
    max_body_bytes: int,
    as_tensor_content: bool,
    with_healthcheck: bool,
) -> grpc.aio.Server:
    """Returns a server that is neither bound nor started.

    Args:
        manager: the models to serve.
        runner: runs the requests.
        metrics: counts the requests.
        max_body_bytes: the size of the largest message, and of the largest
            tensor in memory.
        as_tensor_content: whether to write the numbers of answers as
            `tensor_content`.
        with_healthcheck: whether to answer grpc.health.v1.Health/Check.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # A second server on the same port shall fail to start.
            ("grpc.so_reuseport", 0),
        ]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(
            manager, runner, metrics, max_body_bytes, as_tensor_content
        ),
        server,
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(manager), server
    )
    if with_healthcheck:
        check = grpc.unary_unary_rpc_method_handler(_check_health)
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "grpc.health.v1.Health", {"Check": check}
                )
            ]
        )
    return server


def _refusing(method: _Method) -> _Method:
    """Makes a method end its call with the status of the error it raises."""

    @functools.wraps(method)
    async def answer(
        self: Any, request: Any, context: grpc.aio.ServicerContext
    ) -> Any:
        try:
            return await method(self, request, context)
        except RequestError as error:
            code, message = error.code, error.message
        except Exception as error:
            _LOGGER.exception("A gRPC request failed.")
            code, message = Code.INTERNAL, repr(error)
        if len(message) > _MAX_MESSAGE_LENGTH:
            message = message[:_MAX_MESSAGE_LENGTH] + "...TRUNCATED"
        # A request may hold names that are not UTF-8.
        message = message.encode("utf-8", "replace").decode()
        return await context.abort(_STATUS_CODES[code.value], message)

    return answer  # type: ignore[return-value]


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(
        self,
        manager: ModelManager,
        runner: InferenceRunner,
        metrics: Metrics,
        max_body_bytes: int,
        as_tensor_content: bool,
    ):
        self._manager = manager
        self._runner = runner
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._as_tensor_content = as_tensor_content

    @_refusing
    async def Predict(  # noqa: N802
        self,
        request: predict_pb2.PredictRequest,
        context: grpc.aio.ServicerContext,
    ) -> predict_pb2.PredictResponse:
        name = request.model_spec.name
        with (
            self._metrics.measure(name, "Predict", "GRPC"),
            self._runner.admit(),
        ):
            return await self._predict(request)

    async def _predict(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        number, version = _find(self._manager, request)
        signature_name, inputs, output_names = await call_by_size(
            request.ByteSize(), version.parse, request, self._max_body_bytes
        )
        outputs = await self._runner.run(
            version, signature_name, inputs, output_names
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = signature_name
        response.model_spec.version.value = number
        await call_by_size(
            sum(array.nbytes for array in outputs.values()),
            tensor_messages.write_outputs,
            outputs,
            response,
            self._as_tensor_content,
        )
        return response

    @_refusing
    async def GetModelMetadata(  # noqa: N802
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        if not request.metadata_field:
            refuse(
                "GetModelMetadataRequest must specify at least one"
                " metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                # The "%s" is TensorFlow Serving's, unformatted.
                refuse(f"Metadata field %s is not supported{field}")
        number, version = _find(self._manager, request)
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=version.signature_defs
        )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.metadata["signature_def"].Pack(signatures)
        return response

    @_refusing
    async def Classify(  # noqa: N802
        self,
        request: classification_pb2.ClassificationRequest,
        context: grpc.aio.ServicerContext,
    ) -> None:
        self._refuse(request, "Classify", CLASSIFY)

    @_refusing
    async def Regress(  # noqa: N802
        self,
        request: regression_pb2.RegressionRequest,
        context: grpc.aio.ServicerContext,
    ) -> None:
        self._refuse(request, "Regress", REGRESS)

    def _refuse(self, request: Any, api: str, method_name: str) -> NoReturn:
        spec = request.model_spec
        with self._metrics.measure(spec.name, api, "GRPC"):
            _, version = _find(self._manager, request)
            refuse_examples(version, method_name, spec.signature_name)

    @_refusing
    async def MultiInference(  # noqa: N802
        self,
        request: inference_pb2.MultiInferenceRequest,
        context: grpc.aio.ServicerContext,
    ) -> None:
        tasks: Sequence[inference_pb2.InferenceTask] = request.tasks
        if not tasks:
            _find_by_spec(self._manager, model_pb2.ModelSpec())
        _, version = _find_by_spec(self._manager, tasks[0].model_spec)
        method_name = tasks[0].method_name
        if method_name not in (CLASSIFY, REGRESS):
            raise RequestError(
                Code.UNIMPLEMENTED,
                f"Unsupported signature method_name: {method_name}",
            )
        refuse_examples(
            version, method_name, tasks[0].model_spec.signature_name
        )


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, manager: ModelManager):
        self._manager = manager

    @_refusing
    async def GetModelStatus(  # noqa: N802
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        spec = request.model_spec
        # A label is ignored, as TensorFlow Serving does.
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._manager.statuses(spec.name, version):
            answer = response.model_version_status.add(
                version=status.version,
                state=get_model_status_pb2.ModelVersionStatus.State.Value(
                    status.state
                ),
            )
            answer.status.error_code = status.error_code.value
            answer.status.error_message = status.error_message
        return response

    @_refusing
    async def HandleReloadConfigRequest(  # noqa: N802
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.aio.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            refuse(
                "ServerModelConfig type not supported by"
                " HandleReloadConfigRequest. Only ModelConfigList is"
                " currently supported"
            )
        try:
            configs = config_files.parse_models(request.config)
        except ConfigError as error:
            raise RequestError(Code.INVALID_ARGUMENT, str(error)) from error
        await asyncio.to_thread(self._manager.reconfigure, configs)
        return model_management_pb2.ReloadConfigResponse()


def _find(manager: ModelManager, request: Any) -> tuple[int, ModelVersion]:
    _require_model_spec(request)
    return _find_by_spec(manager, request.model_spec)


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        refuse("Missing ModelSpec")


def _find_by_spec(
    manager: ModelManager, spec: model_pb2.ModelSpec
) -> tuple[int, ModelVersion]:
    if not spec.name:
        refuse("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return manager.find(
        spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
    )


async def _check_health(
    request: bytes, context: grpc.aio.ServicerContext
) -> bytes:
    """Answers grpc.health.v1.Health/Check for the server as a whole."""
    # An empty message asks for no service by name.
    if request:
        await context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    # HealthCheckResponse{status: SERVING}
    return b"\x08\x01"
