import keras
import tensorflow as tf

from serving.local_server.model import ModelVersion


def test_a_model_is_loaded_without_a_word_about_its_gradients(tmp_path, caplog):
    @tf.custom_gradient
    def halve(x):
        return x / 2, lambda upstream: upstream / 2

    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        lambda x: {"y": halve(x)},
        [tf.TensorSpec([None], tf.float32, "x")],
    )
    archive.write_out(
        tmp_path,
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        verbose=False,
    )
    caplog.clear()
    model = ModelVersion(str(tmp_path))
    assert caplog.messages == []
    assert model.signature("serving_default").outputs == {"y": "float"}
