"""The front door for notebooks: train on a table, ask, save, export."""

import contextlib
import dataclasses
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json
from data_prep.dataset.manifest import read_manifest
from deep_recommender.catalog import Catalog
from deep_recommender.preparation import prepare, prepared_directory
from deep_recommender.signature_runner import History, SignatureRunner
from deep_recommender.users import is_table, read_table, read_users
from export.saved_model import export_job
from export.scoring.tables import RECOMMENDATIONS, tabulate_recommendations
from export.settings import ExportSettings
from serving import protocol
from trainer.config import Config
from trainer.job.paths import JobPaths
from trainer.job.record import TrainedJob, find_training_data, load_job
from trainer.recipes import DEFAULT_RECIPE, make_config
from trainer.training.distribution import create_strategy
from trainer.training.train import train_and_evaluate

#: A user's ratings: item id or title -> rating, or such pairs.
Ratings = Mapping[Any, float] | Iterable[tuple[Any, float]]


class Recommender:
    """Learns from a table of ratings and recommends items.

    It does what the commands do, on an ordinary job directory: the commands
    can go on with what it writes, and it opens what they wrote.

    Wherever an item is asked for, its id or its title will do. Answers are
    Arrow tables; `to_pandas()` turns them into DataFrames.

    Args:
        recipe: the settings to start from: a key of
            `trainer.recipes.RECIPES`, or the path of a recipe file.
        job_dir: the directory of the job, local or remote. By default a
            temporary directory, deleted with the recommender or when Python
            exits; use `save` to keep it.
        **settings: changes to the recipe, fields of `trainer.config.Config`
            such as `num_epochs=10`.

    Raises:
        UserError: an unknown recipe or setting, or a value that no job can
            use.

    Example:
        >>> recommender = Recommender(num_epochs=5).fit("ratings.csv")
        >>> recommender.metrics["test"]["rmse"]
        >>> recommender.recommend({"Alien (1979)": 5}, k=3).to_pandas()
    """

    def __init__(
        self,
        recipe: str | os.PathLike[str] = DEFAULT_RECIPE,
        *,
        job_dir: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        _check_names(settings)
        recipe = os.fspath(recipe)
        self.config = make_config(recipe, settings)
        self._settings: tuple[str, dict[str, Any]] | None = recipe, settings
        if job_dir is None:
            directory = tempfile.TemporaryDirectory(prefix="deep_recommender-")
            # Goes with the recommender, without the warning of the directory.
            weakref.finalize(self, directory.cleanup)
            job_dir = directory.name
        # A notebook's recommender keeps everything in one place, whatever
        # the environment says of the job that runs the notebook.
        self._paths = JobPaths.resolve(os.fspath(job_dir), environ={})
        self._trained: _Trained | None = None

    @classmethod
    def load(
        cls,
        job_dir: str | os.PathLike[str],
        *,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> "Recommender":
        """Opens the directory of a trained job.

        Args:
            job_dir: written by `save`, by `fit` or by `trainer.task`.
            data_dir: the prepared data of the job, where it is not in its
                directory; `recommend_users` needs it for users by id.

        Raises:
            UserError: there is no trained job, or other data than it had.
        """
        paths = JobPaths.resolve(os.fspath(job_dir), environ={})
        trained = _load(
            paths, None if data_dir is None else os.fspath(data_dir)
        )
        recommender = cls.__new__(cls)
        recommender.config = trained.job.config
        recommender._settings = None
        recommender._paths = paths
        recommender._trained = trained
        return recommender

    @property
    def job_dir(self) -> str:
        """The directory of the job."""
        return self._paths.job_dir

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`: `validation`, `test`, `baselines`.

        Raises:
            UserError: nothing was trained yet.
        """
        self._require_trained()
        metrics: dict[str, Any] = read_json(self._paths.metrics_file)
        return metrics

    @property
    def items(self) -> pa.Table:
        """The items that the model knows, the most rated first.

        Columns: `item_id`, `title` (the id where it has none), `num_ratings`
        and `mean_rating` of the training ratings.
        """
        return self._require_trained().catalog.to_table()

    def fit(
        self,
        ratings: Any,
        *,
        items: str | os.PathLike[str] | Mapping[str, str] | None = None,
        split: str = "user-time",
        user_column: str | None = None,
        item_column: str | None = None,
        rating_column: str | None = None,
        timestamp_column: str | None = None,
        verbose: bool = True,
    ) -> "Recommender":
        """Prepares ratings, trains on them and scores the result.

        Called again with the same arguments it goes on where it stopped.

        Args:
            ratings: a DataFrame of pandas or polars, an Arrow table, a path or
                glob of files, a directory of prepared data, or the name of a
                public data set such as `movielens-1m`. See `prepare`.
            items: item titles: the path of a file or, if `ratings` is a
                table, a mapping from item id to title.
            split: how ratings are held out. `user-time` holds out the last
                ratings of each user; without timestamps use `random`.
            user_column: the column of the user ids, if not a usual name.
            item_column: the column of the item ids, if not a usual name.
            rating_column: the column of the ratings, if not a usual name.
            timestamp_column: the column of the timestamps, if not a usual name.
            verbose: whether to log progress.

        Returns:
            The recommender itself.

        Raises:
            UserError: the ratings cannot be prepared, or the job directory
                holds another job.
        """
        with _log_level(logging.INFO if verbose else logging.WARNING):
            data_dir = prepared_directory(ratings)
            if data_dir is None:
                data_dir = self._paths.data_dir
                prepare(
                    ratings,
                    data_dir,
                    items=items,
                    split=split,
                    user_column=user_column,
                    item_column=item_column,
                    rating_column=rating_column,
                    timestamp_column=timestamp_column,
                )
            if self._settings is not None:
                manifest = read_manifest(data_dir)
                self.config = make_config(
                    *self._settings, manifest.num_users, manifest.num_items
                )
            train_and_evaluate(
                self.config, data_dir, self._paths, create_strategy()
            )
            self._trained = _load(self._paths, data_dir)
        return self

    def recommend(self, ratings: Ratings, k: int = 10) -> pa.Table:
        """Ranks the items that a user did not rate.

        Args:
            ratings: the user's ratings. Without any, the answer is for a user
                of whom nothing is known.
            k: the number of items.

        Returns:
            `item_id`, `title`, `predicted_rating` and `score`, which ranks,
            best first, at most `k` rows.

        Raises:
            UserError: no rated item is known, or a rating is not on the
                rating scale.
        """
        trained = self._require_trained()
        history = trained.catalog.read_history(ratings)
        return self._recommend({"": history}, k).drop_columns("user_id")

    def recommend_users(self, users: Any, k: int = 10) -> pa.Table:
        """Ranks the items that each of many users did not rate.

        Args:
            users: ids of users of the prepared data, whose ratings of all
                subsets are the input; or a table of the ratings of any users,
                its columns recognized as in `fit`.
            k: the number of items per user.

        Returns:
            `user_id`, `item_id`, `title`, `predicted_rating` and `score`: the
            users in the order given, those of a table sorted by id; of each at
            most `k` rows, best first.

        Raises:
            UserError: a user is not in the prepared data, or a rating cannot
                be used.
        """
        trained = self._require_trained()
        if is_table(users):
            histories = {
                user_id: trained.catalog.read_history(pairs)
                for user_id, pairs in read_table(users).items()
            }
            return self._recommend(histories, k)
        if trained.data_dir is None:
            raise UserError(
                f"the prepared data of {self.job_dir} is not at hand. Name it"
                " with `Recommender.load(job_dir, data_dir=...)`, or give a"
                " table of ratings."
            )
        item_ids = trained.job.items.item_ids
        return self._recommend(read_users(trained.data_dir, users, item_ids), k)

    def predict(self, ratings: Ratings, items: Iterable[Any]) -> pa.Table:
        """Predicts a user's ratings of some items.

        Args:
            ratings: the user's ratings.
            items: the items, rated ones included.

        Returns:
            `item_id`, `title`, `predicted_rating` and `known`, in the order of
            `items`. For an item that the model does not know the prediction
            says nothing about that item. Where the job knows it, also
            `standard_deviation`, that of the rating around the prediction.
        """
        trained = self._require_trained()
        item_ids = [trained.catalog.find(item) or str(item) for item in items]
        (answer,) = trained.runner.run(
            protocol.PREDICT,
            [trained.catalog.read_history(ratings)],
            {protocol.CANDIDATE_ITEM_IDS: item_ids},
        )
        columns = {
            "item_id": item_ids,
            "title": trained.catalog.titles_of(item_ids),
            "predicted_rating": answer[protocol.PREDICTED_RATINGS][0],
            "known": answer[protocol.CANDIDATE_KNOWN][0],
        }
        if protocol.STANDARD_DEVIATIONS in answer:
            deviations = answer[protocol.STANDARD_DEVIATIONS][0]
            columns["standard_deviation"] = deviations
        return pa.table(columns)

    def explain(self, ratings: Ratings, items: Iterable[Any]) -> pa.Table:
        """Says which of a user's ratings moved the scores of items most.

        Args:
            ratings: the user's ratings.
            items: the items whose scores are explained.

        Returns:
            `item_id`, `title`, `reason_item_id`, `reason_title` and
            `contribution`: the score, which ranks, minus what it would be
            without that rating. What moved a score most comes first.

        Raises:
            UserError: the model does not know an item.
        """
        trained = self._require_trained()
        item_ids = [trained.catalog.require(item) for item in items]
        (answer,) = trained.runner.run(
            protocol.EXPLAIN,
            [trained.catalog.read_history(ratings)],
            {protocol.TARGET_ITEM_IDS: item_ids},
        )
        rows = [
            (item_id, reason.decode(), float(contribution))
            for item_id, reasons, contributions in zip(
                item_ids,
                answer[protocol.REASON_ITEM_IDS][0],
                answer[protocol.CONTRIBUTIONS][0],
                strict=True,
            )
            for reason, contribution in zip(reasons, contributions, strict=True)
            if reason
        ]
        targets, reasons, contributions = _transpose(rows, 3)
        return pa.table(
            {
                "item_id": pa.array(targets, pa.string()),
                "title": pa.array(
                    trained.catalog.titles_of(targets), pa.string()
                ),
                "reason_item_id": pa.array(reasons, pa.string()),
                "reason_title": pa.array(
                    trained.catalog.titles_of(reasons), pa.string()
                ),
                "contribution": pa.array(contributions, pa.float32()),
            }
        )

    def similar_items(self, item: Any, k: int = 10) -> pa.Table:
        """Finds the items whose vectors point the same way.

        An item's vector is its row of the model's output kernel, that of
        interest if the model has two. The similarity of two items is the
        cosine of their vectors.

        Args:
            item: an item that the model knows.
            k: the number of items.

        Returns:
            `item_id`, `title` and `similarity`, in [-1, 1], the most similar
            first.

        Raises:
            UserError: the model does not know the item.
        """
        _check_k(k)
        trained = self._require_trained()
        answer = trained.runner.run_on_items(
            protocol.SIMILAR, [trained.catalog.require(item)], k
        )
        item_ids = [
            item_id.decode()
            for item_id in answer[protocol.SIMILAR_ITEM_IDS][0, 0, :k]
            if item_id
        ]
        similarities = answer[protocol.SIMILARITIES][0, 0, : len(item_ids)]
        return pa.table(
            {
                "item_id": pa.array(item_ids, pa.string()),
                "title": pa.array(
                    trained.catalog.titles_of(item_ids), pa.string()
                ),
                "similarity": similarities,
            }
        )

    def save(self, directory: str | os.PathLike[str]) -> str:
        """Copies the job to a directory that `load` and the commands open.

        Args:
            directory: a new or empty one, local or remote.

        Returns:
            The directory.

        Raises:
            UserError: nothing was trained yet, or something is there already.
        """
        self._require_trained()
        target = os.fspath(directory)
        if tf.io.gfile.exists(target) and tf.io.gfile.listdir(target):
            raise UserError(
                f"{target} is not empty. Name a new directory, so that nothing"
                " is overwritten."
            )
        _copy_directory(self.job_dir, target)
        return target

    def export(
        self, directory: str | os.PathLike[str] | None = None, **settings: Any
    ) -> str:
        """Writes the model as the next version for TensorFlow Serving.

        Args:
            directory: the parent of the numbered versions, by default
                `export` in the job directory.
            **settings: fields of `export.settings.ExportSettings`, such as
                `top_k=50`.

        Returns:
            The directory of the version.
        """
        trained = self._require_trained()
        paths = JobPaths.resolve(
            self.job_dir,
            export_dir=None if directory is None else os.fspath(directory),
            environ={},
        )
        return export_job(
            paths, ExportSettings(data_dir=trained.data_dir, **settings)
        )

    def _require_trained(self) -> "_Trained":
        if self._trained is None:
            raise UserError(
                "nothing was trained yet. Call `fit`, or open a job with"
                " `Recommender.load`."
            )
        return self._trained

    def _recommend(self, histories: Mapping[str, History], k: int) -> pa.Table:
        _check_k(k)
        trained = self._require_trained()
        user_ids = list(histories)
        tables = [RECOMMENDATIONS.empty_table()]
        for answer in trained.runner.run(
            protocol.RECOMMEND, list(histories.values()), top_k=k
        ):
            num_users = len(answer[protocol.ITEM_IDS])
            tables.append(
                tabulate_recommendations(user_ids[:num_users], answer, k)
            )
            user_ids = user_ids[num_users:]
        return pa.concat_tables(tables).select(
            ["user_id", "item_id", "title", "predicted_rating", "score"]
        )


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A trained job, ready to answer."""

    job: TrainedJob
    data_dir: str | None
    catalog: Catalog
    runner: SignatureRunner


def _load(paths: JobPaths, data_dir: str | None) -> _Trained:
    job = load_job(paths)
    return _Trained(
        job=job,
        data_dir=find_training_data(paths, job, data_dir),
        catalog=Catalog(job.items),
        runner=SignatureRunner(job),
    )


def _check_names(settings: Mapping[str, Any]) -> None:
    names = [field.name for field in dataclasses.fields(Config)]
    for name in settings:
        if name not in names:
            raise UserError(
                f"a job has no setting {name!r}. Its settings are:"
                f" {', '.join(names)}."
            )


def _copy_directory(source: str, target: str) -> None:
    for directory, _, names in tf.io.gfile.walk(source):
        copied = os.path.join(target, os.path.relpath(directory, source))
        tf.io.gfile.makedirs(copied)
        for name in names:
            tf.io.gfile.copy(
                os.path.join(directory, name), os.path.join(copied, name)
            )


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"`k` must be 1 or more. Received: k={k}")


@contextlib.contextmanager
def _log_level(level: int) -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(level)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _transpose(rows: list[Any], num_columns: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(num_columns)]
