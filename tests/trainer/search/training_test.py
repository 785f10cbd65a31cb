import os
from pathlib import Path

import tensorflow as tf

from tests.synthetic import SMALL_TAUGHT
from trainer.job.fitted_teachers import share_teachers
from trainer.job.paths import JobPaths

NAMES = ("fit.json", "interest_teacher.keras", "rating_teacher.keras")


def resolve(directory):
    return JobPaths.resolve(str(directory), environ={})


def test_teachers_are_linked_on_one_disk_and_copied_elsewhere(tmp_path):
    source = resolve(tmp_path / "search")
    os.makedirs(source.teachers_dir)
    for name in NAMES:
        Path(source.teachers_dir, name).write_text(name)
    trial = resolve(tmp_path / "search/trial-0000")
    remote = resolve("ram://trial-0001")
    for paths in (trial, remote):
        share_teachers(SMALL_TAUGHT, source, paths)
        # A trial that goes on has them already.
        share_teachers(SMALL_TAUGHT, source, paths)
        assert sorted(tf.io.gfile.listdir(paths.teachers_dir)) == list(NAMES)
    for name in NAMES:
        assert os.path.samefile(
            os.path.join(source.teachers_dir, name),
            os.path.join(trial.teachers_dir, name),
        )
        path = os.path.join(remote.teachers_dir, name)
        with tf.io.gfile.GFile(path) as file:
            assert file.read() == name
