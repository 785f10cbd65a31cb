from trainer.job.paths import JobPaths

VERTEX = {
    "AIP_MODEL_DIR": "gs://bucket/job/model/",
    "AIP_CHECKPOINT_DIR": "gs://bucket/job/checkpoints/",
    "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/job/logs/",
}


def test_without_anything_else_all_places_are_in_the_job_directory():
    paths = JobPaths.resolve("job", environ={})
    assert paths.checkpoint_dir == "job/checkpoints"
    assert paths.log_dir == "job/logs"
    assert paths.export_dir == "job/export"
    assert paths.metrics_file == "job/metrics.json"


def test_vertex_ai_s_environment_goes_before_the_job_directory():
    paths = JobPaths.resolve("gs://bucket/other", environ=VERTEX)
    assert paths.export_dir == "gs://bucket/job/model/"
    assert paths.latest_checkpoint_dir == "gs://bucket/job/checkpoints/latest"
    assert paths.log_dir == "gs://bucket/job/logs/"
    assert paths.record_dir == "gs://bucket/job"
    assert paths.data_dir == "gs://bucket/other/data"


def test_trials_that_share_a_job_directory_have_a_record_each():
    trials = [
        JobPaths.resolve(
            "gs://bucket/tuning",
            environ={"AIP_CHECKPOINT_DIR": f"gs://bucket/{k}/checkpoints/"},
        )
        for k in (1, 2)
    ]
    for number, paths in enumerate(trials, start=1):
        directory = f"gs://bucket/{number}"
        assert paths.config_file == f"{directory}/config.json"
        assert paths.lease_file == f"{directory}/lease.json"
        assert paths.vocabulary_dir == f"{directory}/vocabulary"
        assert paths.metrics_file == f"{directory}/metrics.json"
        # And so the directory of the trial opens as that of a job.
        opened = JobPaths.resolve(directory, environ={})
        assert opened.config_file == paths.config_file
        assert opened.best_checkpoint_dir == paths.best_checkpoint_dir


def test_what_is_given_goes_before_the_environment():
    paths = JobPaths.resolve(
        "job", export_dir="/models", checkpoint_dir="/state", environ=VERTEX
    )
    assert paths.export_dir == "/models"
    assert paths.best_checkpoint_dir == "/state/best"
    assert paths.teachers_dir == "/state/teachers"
    assert paths.record_dir == "job"
    assert paths.log_dir == "gs://bucket/job/logs/"
