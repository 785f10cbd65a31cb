import pytest

from tests.benchmarks.commands import run_benchmark


@pytest.mark.extended
def test_small_batches_are_fastest_on_one_gpu():
    lines = run_benchmark("scaling", "--batch_size=128", "--max_gpus=4")
    speedups = [line["speedup"] for line in lines if line.get("gpus") in (2, 4)]
    assert len(speedups) == 2 * 7
    assert max(speedups) < 1


@pytest.mark.slow
def test_processes_send_the_bytes_of_the_model():
    _, *lines = run_benchmark(
        "scaling", "--measure", "--processes=1,2,3", "--steps=5"
    )
    assert [line["processes"] for line in lines] == [1, 2, 3] * 2
    for line in lines:
        assert line["megabytes"] == pytest.approx(
            line["model_megabytes"], rel=0.1, abs=0.1
        )
        assert line["milliseconds"] > 0
