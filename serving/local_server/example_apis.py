"""Refuses what TensorFlow Serving offers for signatures over tf.Examples.

Classification and regression need signatures with tensors of certain names,
which the models of this project do not have. They are refused in TensorFlow
Serving's words.
"""

from typing import NoReturn

from google.protobuf import text_format  # type: ignore[import-untyped]

from serving.local_server.model import ModelVersion
from serving.protocol import RECOMMEND, Code, RequestError

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def refuse(
    version: ModelVersion, method_name: str, signature_name: str
) -> NoReturn:
    """Says why a signature cannot classify or regress.

    Args:
        version: the model.
        method_name: CLASSIFY or REGRESS.
        signature_name: the signature to use, "" for the default.

    Raises:
        RequestError: always.
    """
    name = signature_name or RECOMMEND
    signature = version.signature_defs.get(name)
    if signature is None:
        raise RequestError(
            Code.INVALID_ARGUMENT,
            f"No signature was found with the name: {name}",
        )
    if len(signature.inputs) != 1:
        raise RequestError(Code.INVALID_ARGUMENT, "Expected one input Tensor.")
    num_outputs = len(signature.outputs)
    if method_name == CLASSIFY and num_outputs not in (1, 2):
        raise RequestError(
            Code.INVALID_ARGUMENT,
            f"Expected one or two output Tensors, found {num_outputs}",
        )
    if method_name == REGRESS and num_outputs != 1:
        raise RequestError(Code.INVALID_ARGUMENT, "Expected one output Tensor.")
    noun = "classification" if method_name == CLASSIFY else "regression"
    if "inputs" not in signature.inputs:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"No {noun} inputs found in SignatureDef:"
            f" {text_format.MessageToString(signature)}",
        )
    raise RequestError(
        Code.UNIMPLEMENTED,
        f"This server has no {noun}: signatures are for predict.",
    )
