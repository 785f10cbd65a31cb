"""A small model whose answers are known by hand."""

import keras
import tensorflow as tf


def write_model(path, bonus=0.0):
    """Writes the model, which predicts `bonus` more for every item.

    The items, with what is added to the mean of the user's ratings (3 without
    any) to predict their rating:

        alien +1, brazil +0.5, cube -0.5, "été à 東京" 0

    Cosines of the item vectors: alien and brazil 0.8, alien and cube 0.6,
    brazil and cube 0.96; "été à 東京" is the opposite of alien.
    """
    item_ids = tf.constant(["alien", "brazil", "cube", "été à 東京"])
    offsets = tf.constant([1.0, 0.5, -0.5, 0.0]) + bonus
    item_vectors = tf.constant(
        [[2.0, 0.0], [4.0, 3.0], [0.3, 0.4], [-1.0, 0.0]]
    )
    num_recommendations = 3
    index_of_item = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            item_ids, tf.range(4, dtype=tf.int64)
        ),
        default_value=-1,
    )

    def read_history(ids, ratings):
        with tf.control_dependencies(
            [
                tf.debugging.assert_equal(
                    tf.shape(ids),
                    tf.shape(ratings),
                    message="`ratings` must have the shape of `item_ids`.",
                )
            ]
        ):
            indices = index_of_item.lookup(tf.ensure_shape(ids, [None, None]))
        known = indices >= 0
        num_known = tf.reduce_sum(tf.cast(known, tf.int32), axis=1)
        total = tf.reduce_sum(tf.where(known, ratings, 0.0), axis=1)
        mean = tf.where(
            num_known > 0, total / tf.cast(tf.maximum(num_known, 1), "float"), 3
        )
        return indices, num_known, mean[:, tf.newaxis]

    def recommend(user_item_ids, ratings):
        indices, num_known, mean = read_history(user_item_ids, ratings)
        predictions = mean + offsets
        seen = tf.reduce_any(
            indices[:, :, tf.newaxis] == tf.range(4, dtype=tf.int64), axis=1
        )
        best, best_indices = tf.math.top_k(
            tf.where(seen, -float("inf"), predictions), num_recommendations
        )
        unseen = best > -float("inf")
        return {
            "item_ids": tf.where(unseen, tf.gather(item_ids, best_indices), ""),
            "predicted_ratings": tf.where(unseen, best, 0.0),
            "num_known_items": num_known,
        }

    def predict(user_item_ids, ratings, candidate_item_ids):
        _, num_known, mean = read_history(user_item_ids, ratings)
        candidates = index_of_item.lookup(candidate_item_ids)
        known = candidates >= 0
        offset = tf.gather(offsets, tf.maximum(candidates, 0))
        return {
            "predicted_ratings": mean + tf.where(known, offset, 0.0),
            "candidate_known": known,
            "num_known_items": num_known,
        }

    def similar(target_item_ids):
        targets = index_of_item.lookup(target_item_ids)
        known = targets >= 0
        directions = tf.math.l2_normalize(item_vectors, axis=1)
        of_targets = tf.gather(directions, tf.maximum(targets, 0))
        cosines = tf.linalg.matmul(of_targets, directions, transpose_b=True)
        is_other = targets[..., tf.newaxis] != tf.range(4, dtype=tf.int64)
        is_answer = known[..., tf.newaxis] & is_other
        best, indices = tf.math.top_k(
            tf.where(is_answer, cosines, -float("inf")), k=4
        )
        is_similar = best > -float("inf")
        return {
            "similar_item_ids": tf.where(
                is_similar, tf.gather(item_ids, indices), ""
            ),
            "similarities": tf.where(is_similar, best, 0.0),
            "target_known": known,
        }

    def spec(name, dtype, rank):
        return tf.TensorSpec([None] * rank, dtype, name)

    history = [spec("item_ids", tf.string, 2), spec("ratings", tf.float32, 2)]
    archive = keras.export.ExportArchive()
    archive.track(index_of_item)
    archive.add_endpoint("serving_default", recommend, history)
    archive.add_endpoint(
        "predict",
        predict,
        [*history, spec("candidate_item_ids", tf.string, 2)],
    )
    archive.add_endpoint(
        "similar", similar, [spec("target_item_ids", tf.string, 2)]
    )
    # The others are what the protocol must also cope with.
    archive.add_endpoint(
        "half", lambda x: {"y": x / 2}, [spec("x", tf.float32, 1)]
    )
    archive.add_endpoint(
        "successor", lambda x: {"y": x + 1}, [spec("x", tf.int64, 1)]
    )
    archive.add_endpoint(
        "total", lambda x: {"y": tf.reduce_sum(x)}, [spec("x", tf.float32, 1)]
    )
    archive.add_endpoint(
        "echo",
        lambda text: {"text": text, "text_bytes": text},
        [spec("text", tf.string, 1)],
    )
    archive.add_endpoint(
        "half_precision",
        lambda x: {"y": x},
        [spec("x", tf.float16, 1)],
    )
    for dtype in (tf.bfloat16, tf.uint16, tf.complex64):
        archive.add_endpoint(
            dtype.name, lambda x: {"y": x}, [spec("x", dtype, 1)]
        )
    archive.add_endpoint(
        "to_half",
        lambda x: {"y": tf.cast(x, tf.float16)},
        [spec("x", tf.float32, 1)],
    )
    archive.add_endpoint(
        "to_bfloat16",
        lambda x: {"y": tf.cast(x, tf.bfloat16)},
        [spec("x", tf.float32, 1)],
    )
    archive.add_endpoint(
        "offset",
        lambda index: {"y": tf.gather(offsets, index)},
        [spec("index", tf.int64, 1)],
    )
    archive.add_endpoint(
        "file",
        lambda path: {"content": tf.map_fn(tf.io.read_file, path)},
        [spec("path", tf.string, 1)],
    )
    archive.add_endpoint(
        "compiled",
        tf.function(lambda x: {"y": x + 1}, jit_compile=True),
        [spec("x", tf.float32, 1)],
    )
    archive.add_endpoint(
        "uneven",
        lambda x: {"first": x[:1], "whole": tf.identity(x)},
        [spec("x", tf.float32, 1)],
    )
    archive.add_endpoint(
        "scores",
        lambda inputs: {"scores": tf.strings.length(inputs)},
        [spec("inputs", tf.string, 1)],
    )
    archive.write_out(str(path), verbose=False)
