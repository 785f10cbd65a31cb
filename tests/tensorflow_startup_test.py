import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

LOAD = """
import os
import tensorflow_startup
tensorflow_startup.install()
import tensorflow
os.write(2, b"after\\n")
"""


def load_tensorflow(**environ):
    run = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("TF_")},
            **environ,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stderr


@pytest.mark.extended
def test_tensorflow_loads_without_a_word():
    assert load_tensorflow() == "after\n"


@pytest.mark.slow
def test_its_messages_are_shown_on_request():
    assert "cpu_feature_guard" in load_tensorflow(TF_CPP_MIN_LOG_LEVEL="0")


def test_what_fails_is_shown(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\n"
        'os.write(2, b"I0000 noise\\nthe cause\\n")\n'
        'raise ImportError("broken")\n'
    )
    with pytest.raises(subprocess.CalledProcessError) as caught:
        load_tensorflow(PYTHONPATH=f"{tmp_path}:{os.getcwd()}")
    assert "noise" not in caught.value.stderr
    assert "the cause" in caught.value.stderr
    assert "ImportError: broken" in caught.value.stderr


@pytest.mark.extended
def test_unused_libraries_are_not_loaded_with_tensorflow_but_can_be_later():
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"""{LOAD}
import sys
assert "pandas" not in sys.modules
import pandas
assert pandas.DataFrame
""",
        ],
        check=True,
    )
