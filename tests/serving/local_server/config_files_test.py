import pytest

from serving.local_server import config_files
from serving.local_server.config_files import (
    BatchingParameters,
    ConfigError,
    ModelConfig,
    VersionPolicy,
)
from tests.serving.processes import run_command


@pytest.fixture
def write(tmp_path):
    """Writes a file and returns its path."""

    def write_file(text):
        path = tmp_path / "config.txt"
        path.write_text(text)
        return str(path)

    return write_file


def models(entries):
    return f"model_config_list {{ {entries} }}"


# ---- Models ----


def test_models_are_read_with_their_policies_and_labels(write):
    path = write(
        models("""
            config { name: "a" base_path: "/a" model_platform: "tensorflow" }
            config {
              name: "b" base_path: "gs://b"
              model_version_policy { specific { versions: 2 versions: 7 } }
              version_labels { key: "stable" value: 2 }
              version_labels { key: "canary" value: 7 }
            }
            config {
              name: "c" base_path: "/c"
              model_version_policy { latest { num_versions: 3 } }
            }
            config {
              name: "d" base_path: "/d" model_version_policy { all {} }
            }
        """)
    )
    assert config_files.read_models(path) == [
        ModelConfig("a", "/a"),
        ModelConfig(
            "b",
            "gs://b",
            VersionPolicy(specific=frozenset([2, 7])),
            {"stable": 2, "canary": 7},
        ),
        ModelConfig("c", "/c", VersionPolicy(num_newest=3)),
        ModelConfig("d", "/d", VersionPolicy(num_newest=None)),
    ]


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [10]),
        (VersionPolicy(num_newest=2), [10, 9]),
        (VersionPolicy(num_newest=None), [10, 9, 1]),
        (VersionPolicy(specific=frozenset([1, 9, 11])), [9, 1]),
    ],
    ids=["the newest", "the two newest", "all", "specific ones"],
)
def test_a_policy_chooses_versions_newest_first(policy, chosen):
    assert policy.choose([9, 10, 1]) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it must hold a model_config_list"),
        ("custom_model_config {}", "it must hold a model_config_list"),
        (models('config { base_path: "/a" }'), "a model has no `name`"),
        (models('config { name: "a" }'), "model a has no `base_path`"),
        (
            models('config { name: "a" base_path: "/a" model_platform: "x" }'),
            "`model_platform` of model a must be 'tensorflow'.*'x'",
        ),
        (
            models('config { name: "a" base_path: "/a" }' * 2),
            "Illegal to list model a multiple times",
        ),
        ("models {}", 'does not hold a ModelServerConfig: .* "models"'),
    ],
)
def test_models_that_cannot_be_served_are_refused(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        config_files.read_models(path)
    assert path in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    message = f"cannot read {tmp_path}/x: No such file"
    with pytest.raises(ConfigError, match=message):
        config_files.read_models(str(tmp_path / "x"))


# ---- Batching ----


def test_batching_parameters_are_read(write):
    path = write("""
        max_batch_size { value: 64 }
        batch_timeout_micros { value: 0 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 2 }
        thread_pool_name { value: "threads" }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 64
        pad_variable_length_inputs: false
    """)
    assert config_files.read_batching_parameters(path) == BatchingParameters(
        max_batch_size=64,
        batch_timeout_micros=0,
        max_enqueued_batches=100,
        num_batch_threads=2,
        thread_pool_name="threads",
        allowed_batch_sizes=(8, 64),
    )


def test_what_a_batching_file_leaves_out_is_tensorflow_servings(write):
    parameters = config_files.read_batching_parameters(write(""))
    assert parameters == BatchingParameters()
    assert parameters.max_batch_size == 1000
    assert parameters.batch_timeout_micros == 0
    assert parameters.max_enqueued_batches == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pad_variable_length_inputs: true",
            "answers silently with wrong numbers. Pad lists",
        ),
        (
            "max_batch_size { value: 0 }",
            "`max_batch_size` must be 1 or more. Received: max_batch_size=0",
        ),
        (
            "batch_timeout_micros { value: -1 }",
            "`batch_timeout_micros` must be 0 or more",
        ),
        (
            "allowed_batch_sizes: 8",
            r"must increase and end with `max_batch_size`, 1000.*\[8\]",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [9, 8]",
            "must increase and end",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]",
            "must increase and end",
        ),
        ("max_batch_size: 8", "does not hold a BatchingParameters"),
        ("no_such_field: 8", 'BatchingParameters: .* "no_such_field"'),
    ],
)
def test_batching_that_this_server_cannot_do_is_refused(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        config_files.read_batching_parameters(path)
    assert path in str(caught.value)


# ---- Monitoring ----


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("prometheus_config {}", None),
        ('prometheus_config { path: "/metrics" }', None),
        (
            "prometheus_config { enable: true }",
            "/monitoring/prometheus/metrics",
        ),
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
    ],
)
def test_the_path_of_the_metrics_is_read(write, text, path):
    assert config_files.read_prometheus_path(write(text)) == path


def test_a_path_that_no_url_has_is_refused(write):
    path = write('prometheus_config { enable: true path: "metrics" }')
    with pytest.raises(ConfigError, match="`path` must begin with '/'"):
        config_files.read_prometheus_path(path)


# ---- The command ----


@pytest.mark.parametrize(
    "flag",
    [
        "--model_config_file",
        "--batching_parameters_file",
        "--monitoring_config_file",
    ],
)
def test_the_command_reports_a_broken_file_in_one_line(write, flag):
    path = write("nonsense")
    flags = [flag, path, "--enable_batching"]
    if flag != "--model_config_file":
        flags += ["--model_base_path", "x"]
    run = run_command("serving.local_server", *flags)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"error: {path} does not hold a ")
    assert run.stderr.count("\n") == 1
