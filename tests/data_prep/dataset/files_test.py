import errno
import os

import pytest
import tensorflow as tf

from data_prep.dataset.errors import TransientError, UserError
from data_prep.dataset.files import writing


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b"),
        tf.errors.ResourceExhaustedError(
            None,
            None,
            "{{function_node Save}} a/b; No space left on device [Op:SaveV2]",
        ),
    ],
    ids=["Python", "TensorFlow"],
)
def test_a_full_disk_is_named_with_the_file_and_the_remedy(error):
    with (
        pytest.raises(
            UserError,
            match=r"^cannot write a checkpoint: [^{]*No space left on"
            r" device(: 'a/b')?\. Make room\.$",
        ) as caught,
        writing("a checkpoint", "Make room."),
    ):
        raise error
    assert "a/b" in str(caught.value)
    assert not isinstance(caught.value, TransientError)


def test_a_store_that_does_not_answer_may_do_so_later():
    with (
        pytest.raises(
            TransientError, match=r"cannot write a checkpoint: All 10 retry"
        ),
        writing("a checkpoint", "Make room."),
    ):
        raise tf.errors.AbortedError(
            None, None, "All 10 retry attempts failed. The last failure: 503"
        )
