"""The Beam pipeline writes the bytes of the engine (`make test-beam`)."""

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import is_prepared
from data_prep.engine import beam_stages
from data_prep.engine.request import Request
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_files, run_task

ARGUMENTS = ["--runner=FnApiRunner", "--direct_num_workers=2"]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def skewed_files(rows, tmp_path):
    """Three files: a giant user, a duplicate, a bad row in each."""
    rows += [("giant", f"g{k}", float(k % 6), 9.0 * k) for k in range(2_000)]
    rows += [("u1", "i7", 5.0, 1e6), ("late", "i1", 2.0, 1e9)]
    # The last of equal times wins, whichever piece it is in.
    rows += [("u2", f"i{k % 30}", float(k % 5), 1e6) for k in range(200)]
    for number in range(3):
        path = tmp_path / f"ratings{number}.csv"
        lines = [",".join(map(str, row)) for row in rows[number::3]]
        header = "user,item,rating,timestamp"
        path.write_text("\n".join([header, *lines, "u1,i1,bad,5"]))
    return str(tmp_path / "ratings*.csv")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several files and buckets, as with large data."""
    monkeypatch.setattr("data_prep.sources.files._BYTES_PER_PIECE", 1)
    monkeypatch.setattr(beam_stages, "_ROWS_PER_BUCKET", 100)


@pytest.mark.parametrize(
    ("split", "options"),
    [
        pytest.param(make_split("user-time"), Options(), id="user-time"),
        pytest.param(make_split("global-time"), Options(), id="global-time"),
        pytest.param(
            make_split("random", test_fraction=0.3),
            Options(min_user_ratings=5, min_item_ratings=15),
            id="random_with_minima",
        ),
        pytest.param(
            make_split(
                "global-time",
                validation_from="1970-01-01T02:00",
                test_from="1970-01-01T03:00",
            ),
            Options(),
            id="dates",
        ),
    ],
)
def test_files_are_those_of_the_local_way(
    skewed_files, split, options, tmp_path
):
    source = make_source("files", ratings=skewed_files)
    local, remote = tmp_path / "local", tmp_path / "remote"
    options = Options(**{**vars(options), "max_bad_rows": 0.01})
    prepare(source, split, str(local), num_shards=3, options=options)
    request = Request(source, split, 0, 3, options)
    beam_stages.prepare(request, str(remote), PipelineOptions(ARGUMENTS))
    assert read_files(remote) == read_files(local)


def test_too_many_bad_rows_leave_no_prepared_data(skewed_files, tmp_path):
    source = make_source("files", ratings=skewed_files)
    output_dir = str(tmp_path / "out")
    options = Options(max_bad_rows=0)
    request = Request(source, make_split("random"), 0, 3, options)
    with pytest.raises(UserError, match=r"ratings0.csv:\d+: the rating.*'bad'"):
        beam_stages.prepare(request, output_dir, PipelineOptions(ARGUMENTS))
    assert not is_prepared(output_dir)


def test_exchanged_columns_are_suspected(tmp_path, caplog):
    path = tmp_path / "ratings.csv"
    lines = [
        f"{user},{user * 50 + k // 2},{k % 5}"
        for user in range(4)
        for k in range(100)
    ]
    lines += [f"{user},{k},3" for user in range(4) for k in range(200)]
    path.write_text("\n".join(["user,item,rating", *lines]))
    source = make_source("files", ratings=str(path))
    request = Request(source, make_split("random"), 0, 1, Options())
    beam_stages.prepare(
        request, str(tmp_path / "out"), PipelineOptions(ARGUMENTS)
    )
    assert "and only 4 users. If they are exchanged" in caplog.text


@pytest.mark.integration
def test_command_runs_in_worker_processes(skewed_files, tmp_path):
    output_dir = tmp_path / "out"
    arguments = [
        *("--source", "files", "--ratings", skewed_files, "--split=user-time"),
        *("--output-dir", output_dir, "--max-bad-rows=0.01"),
    ]
    code, text, errors = run_task(
        *arguments,
        *("--runner", "FnApiRunner", "--direct_num_workers", "2"),
        "--direct_running_mode=multi_processing",
        module="data_prep.beam_pipeline",
    )
    assert code == 0, errors
    assert f"Prepared data: {output_dir}" in text
    source = make_source("files", ratings=skewed_files)
    expected = tmp_path / "expected"
    options = Options(max_bad_rows=0.01)
    prepare(source, make_split("user-time"), str(expected), options=options)
    assert read_files(output_dir) == read_files(expected)


@pytest.mark.integration
def test_flag_that_nobody_knows_is_an_error(skewed_files, tmp_path):
    code, _, errors = run_task(
        *("--source", "files", "--ratings", skewed_files, "--split=user-time"),
        *("--output-dir", tmp_path, "--direct-num-wrkers=2"),
        module="data_prep.beam_pipeline",
    )
    assert code == 1
    assert errors == [
        "error: unknown flag --direct_num_wrkers: neither this command nor"
        " Beam has it."
    ]
