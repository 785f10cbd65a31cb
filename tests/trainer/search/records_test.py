from trainer.search.records import (
    State,
    Trial,
    describe,
    find_best,
    read_trials,
    write_trial,
)

TRIALS = [
    Trial(0, {"b": 1, "a": "8,4"}, State.COMPLETE, 0.9, (0.95, 0.9)),
    Trial(1, {"b": 2, "a": "8"}, State.COMPLETE, 0.8, (0.95, 0.8)),
    Trial(2, {"b": 3, "a": "8"}, State.PRUNED, None, (1.2,)),
    Trial(3, {"b": 4, "a": "8"}, State.DIVERGED, reason="the loss became nan"),
    Trial(4, {"b": 5, "a": "8"}),
]


def test_trials_are_read_as_they_were_written(tmp_path):
    for trial in TRIALS:
        write_trial(str(tmp_path), trial)
    read = read_trials(str(tmp_path), ["b", "a"])
    assert read == TRIALS
    assert list(read[0].values) == ["b", "a"]


def test_a_trial_that_was_killed_before_it_had_values_is_none(tmp_path):
    write_trial(str(tmp_path), TRIALS[0])
    (tmp_path / "trial-0001").mkdir()
    assert read_trials(str(tmp_path), ["b", "a"]) == TRIALS[:1]


def test_the_best_has_the_lowest_error_of_those_with_a_model():
    assert find_best(TRIALS) is TRIALS[1]
    assert find_best(TRIALS[2:]) is None


def test_trials_are_described_by_what_came_of_them():
    assert list(map(describe, TRIALS)) == [
        "validation RMSE 0.9000",
        "validation RMSE 0.8000",
        "given up after epoch 1",
        "diverged",
        "running",
    ]
