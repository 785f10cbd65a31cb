import pyarrow as pa

import deep_recommender


def test_missing_values_are_left_out(tmp_path):
    ratings = [-1.0, *range(1, 11)] * 60
    table = pa.table(
        {
            "user": [k // 11 for k in range(len(ratings))],
            "item": [k % 13 for k in range(len(ratings))],
            "rating": ratings,
        }
    )
    manifest = deep_recommender.prepare(
        table, tmp_path, split="random", missing_values=[-1]
    )
    assert manifest.rows_dropped["missing_value"] == 60
    assert manifest.rating_min == 1
