import csv
import io
import json

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from data_prep.rules.columns import HEADERS
from data_prep.rules.ids import to_ids
from serving.client.__main__ import main
from serving.client.ids import to_id
from serving.client.rating_files import NAMES, read_ratings
from tests.serving.canned import (
    MODEL,
    canned_server,
    find_closed_port,
)
from tests.serving.processes import run_command

pytestmark = pytest.mark.integration


def test_recommend_prints_a_table(server):
    run = run_command(
        "serving.client",
        *("recommend", "--url", server.url, "--num-items=2"),
        *("--rating", "alien=4", "--rating", "a = b=3"),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "1 of 2 rated items are known to the model",
        "",
        "rank  predicted rating  item",
        "   1             4.500  brazil",
        "   2             4.000  été à 東京",
    ]


def test_predict_prints_a_table(server):
    run = run_command(
        "serving.client",
        *("predict", "--url", server.url),
        *("--candidate", "cube", "--candidate=nobody", "--rating=alien=4"),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "1 of 1 rated items are known to the model",
        "",
        "predicted rating  known  item",
        "           3.500  yes    cube",
        "           4.000  no     nobody",
    ]


def test_predict_prints_deviations_of_a_model_that_knows_them(capsys):
    answer = {
        "predicted_ratings": [4.2],
        "standard_deviations": [0.8],
        "candidate_known": [True],
    }
    with canned_answer(**answer) as (url, _):
        main(["predict", "--url", url, "--candidate=cube"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "predicted rating  known  item",
        "   4.200 \N{PLUS-MINUS SIGN} 0.800  yes    cube",
    ]


def test_json_is_printed_on_request(server, capsys):
    ratings = [f"--rating={item}=4" for item in ("alien", "nobody", "nobody")]
    main(
        ["recommend", "--url", server.url, "--json", "--num_items=1", *ratings]
    )
    assert json.loads(capsys.readouterr().out) == {
        "num_rated_items": 2,
        "num_known_items": 1,
        "unknown_items": [],
        "items": [
            {
                "item_id": "brazil",
                "predicted_rating": 4.5,
                "score": 4.5,
                "title": "brazil",
            }
        ],
    }
    main(
        ["predict", "--url", server.url, "--json", "--candidate", "été à 東京"]
    )
    printed = capsys.readouterr().out
    assert "été à 東京" in printed
    assert json.loads(printed)["items"] == [
        {"item_id": "été à 東京", "predicted_rating": 3.0, "known": True}
    ]


def canned_answer(**outputs):
    """A model that publishes no length to pad to, and one answer of it."""
    refusal = b'{"error": "no such signature"}', 400
    answer = json.dumps({"predictions": [{**outputs, "num_known_items": 1}]})
    return canned_server(refusal, (answer.encode(), 200))


EXPLANATION = {
    "reason_item_ids": [["a", "b"], ["", ""]],
    "contributions": [[-0.25, 0.125], [0.0, 0.0]],
    "target_known": [True, False],
}
EXPLAIN = ["explain", "--target=c", "--target=d", "--rating=a=5"]


def test_explain_prints_the_reasons_for_each_target(capsys):
    with canned_answer(**EXPLANATION) as (url, _):
        main([*EXPLAIN, "--rating=b=2.5", "--url", url])
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2 rated items are known to the model",
        "",
        "contribution  rating  item",
        "c:",
        "      -0.250       5  a",
        "      +0.125     2.5  b",
        "d: unknown to the model",
    ]


def test_explain_prints_json_on_request(capsys):
    with canned_answer(**EXPLANATION) as (url, _):
        main([*EXPLAIN, "--json", "--url", url])
    assert json.loads(capsys.readouterr().out) == {
        "num_rated_items": 1,
        "num_known_items": 1,
        "unknown_items": [],
        "items": [
            {
                "item_id": "c",
                "known": True,
                "reasons": [
                    {"item_id": "a", "contribution": -0.25, "title": "a"},
                    {"item_id": "b", "contribution": 0.125, "title": "b"},
                ],
            },
            {"item_id": "d", "known": False, "reasons": []},
        ],
    }


SIMILAR = ["similar", "--item=alien", "--item", "nobody", "--num-items=2"]


def test_similar_prints_the_items_like_each_item(server, capsys):
    main([*SIMILAR, "--url", server.url])
    assert capsys.readouterr().out.splitlines() == [
        "similarity  item",
        "alien:",
        "     0.800  brazil",
        "     0.600  cube",
        "nobody: unknown to the model",
    ]


def test_similar_prints_json_on_request(server, capsys):
    main([*SIMILAR, "--json", "--url", server.url])
    alien, nobody = json.loads(capsys.readouterr().out)["items"]
    assert (alien["item_id"], alien["known"]) == ("alien", True)
    assert alien["items"] == [
        {
            "item_id": "brazil",
            "similarity": pytest.approx(0.8),
            "title": "brazil",
        },
        {
            "item_id": "cube",
            "similarity": pytest.approx(0.6),
            "title": "cube",
        },
    ]
    assert nobody == {"item_id": "nobody", "known": False, "items": []}


def test_encode_prints_the_code(capsys):
    for flags in ([], ["--json"]):
        with canned_answer(code=[0.5, -1.25]) as (url, _):
            main(["encode", "--url", url, "--rating=a=1", *flags])
    table, _, document = capsys.readouterr().out.partition("{")
    assert table.splitlines()[2:] == [
        "unit       value",
        "   0      0.5000",
        "   1     -1.2500",
    ]
    assert json.loads("{" + document)["code"] == [0.5, -1.25]


def test_status_prints_the_versions(server, capsys):
    main(["status", "--url", server.url])
    assert capsys.readouterr().out.splitlines() == [
        "version  state      error",
        "      3  AVAILABLE",
    ]
    main(["status", "--json", "--url", server.url])
    assert json.loads(capsys.readouterr().out) == {
        "versions": [{"version": 3, "state": "AVAILABLE", "error_message": ""}]
    }


def test_commands_work_over_grpc(server, capsys):
    for command in ("recommend", "status"):
        main([command, "--url", f"grpc://{server.grpc_address}/recommender"])
    output = capsys.readouterr().out
    assert "brazil" in output
    assert "AVAILABLE" in output


def test_recommendations_can_be_limited_to_candidates(capsys):
    with canned_answer(item_ids=["b", ""], predicted_ratings=[4.0, 0.0]) as (
        url,
        requests,
    ):
        main(["recommend", "--url", url, "--candidate=b", "--candidate=z"])
    assert requests[1][1]["signature_name"] == "recommend_from"
    assert requests[1][1]["instances"][0]["candidate_item_ids"] == ["b", "z"]
    assert "   1             4.000  b" in capsys.readouterr().out


def test_unknown_rated_items_are_named(capsys):
    refusal = b'{"error": "no such signature"}', 400
    answers = [
        {"code": [1.0], "num_known_items": 1},
        {"item_known": [True, False]},
    ]
    bodies = [json.dumps({"predictions": [a]}).encode() for a in answers]
    for flags in ([], ["--json"]):
        with canned_server(refusal, *((b, 200) for b in bodies)) as (url, _):
            main(
                ["encode", "--url", url, "--rating=a=1", "--rating=b=2", *flags]
            )
    table, _, document = capsys.readouterr().out.partition("{")
    assert "Unknown: 'b'" in table.splitlines()
    assert json.loads("{" + document)["unknown_items"] == ["b"]


def answer_with(*item_ids):
    """A canned answer of these items."""
    row = {
        "item_ids": item_ids,
        "predicted_ratings": [4.0] * len(item_ids),
        "num_known_items": 0,
    }
    return json.dumps({"predictions": [row]}).encode(), 200


REFUSAL = b'{"error": "no such signature"}', 400


def test_more_items_than_usual_are_asked_for(capsys):
    answers = answer_with("b", "c"), answer_with("b", "c", "d")
    with canned_server(REFUSAL, *answers) as (url, requests):
        main(["recommend", "--url", url, "--num-items=4"])
    output = capsys.readouterr()
    assert [line[-1] for line in output.out.splitlines()[-3:]] == [*"bcd"]
    assert not output.err
    _, request = requests[-1]
    assert request["signature_name"] == "recommend_top"
    assert request["instances"][0]["num_recommendations"] == 4


def test_an_older_model_that_cannot_answer_with_more_is_told(capsys):
    answers = REFUSAL, answer_with("b", "c"), REFUSAL
    with canned_server(*answers) as (url, _):
        main(["recommend", "--url", url, "--num-items=3"])
    assert capsys.readouterr().err == (
        "The model answers with 2 items, not 3. How many it may answer with is"
        " chosen at export: --top-k.\n"
    )


def test_fewer_items_than_usual_are_asked_for_once(capsys):
    with canned_server(REFUSAL, answer_with("b", "c")) as (url, _):
        main(["recommend", "--url", url, "--num-items=1"])
    output = capsys.readouterr()
    assert output.out.endswith("b\n")
    assert not output.err


# ---- Ratings from files ----


@pytest.mark.parametrize(
    "text",
    [
        'a,5\n"b, c",2.5\n',
        '\ufeffrating,time,item_id\r\n5,1,a\r\n\r\n2.5,2,"b, c"\r\n',
        '{"a": 5, "b, c": 2.5}',
        "movieId;Book-Rating\na;5\nb, c;2.5\n",
        "1\ta\t5\n1.0\tb, c\t2.5\n",
        ' [["a", 5], ["b, c", 2.5]]',
        '[{"item_id": "a", "rating": 5, "time": 1},'
        ' {"item_id": "b, c", "rating": 2.5}]',
        '{"asin": "a", "overall": 5}\n{"asin": "b, c", "overall": 2.5}\n',
        '["a", 5]\n["b, c", 2.5]\n',
        "u;a;5,0\nu;b, c;2,5\n",
        'rating, title\n5, a\n2.5, "b, c"\n',
        "UserID::MovieID::Rating::Timestamp\n1::a::5::1\n1::b, c::2.5::2\n",
    ],
    ids=[
        *("CSV", "CSV with names", "object", "other names and separator"),
        *("user, item and rating", "pairs", "objects", "JSON lines"),
        *("pairs on lines", "decimal commas", "quotes"),
        "double colons",
    ],
)
def test_ratings_are_read_from_files(text, tmp_path, monkeypatch):
    path = tmp_path / "ratings"
    path.write_text(text, newline="")
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()))
    )
    asked = []
    for flags in (["--ratings", str(path), "--rating=d=1"], ["--ratings=-"]):
        with canned_answer(code=[1.0]) as (url, requests):
            main(["encode", "--url", url, *flags])
        asked.append(requests[1][1]["instances"][0])
    of_file, of_input = asked
    assert of_file == {
        "item_ids": ["a", "b, c", "d"],
        "ratings": [5.0, 2.5, 1.0],
    }
    assert of_input == {"item_ids": ["a", "b, c"], "ratings": [5.0, 2.5]}


def test_a_single_line_of_json_may_hold_a_title(tmp_path):
    (tmp_path / "r.json").write_text('{"title": "Heat (1995)", "rating": 4}')
    ratings = read_ratings(str(tmp_path / "r.json")).ratings
    assert ratings == [("Heat (1995)", 4.0)]


def test_the_columns_that_were_taken_are_said(tmp_path, capsys):
    (tmp_path / "r.csv").write_text("movie_id,rating\n0068646,9\n7.0,10\n")
    with canned_answer(code=[1.0]) as (url, requests):
        flags = ["--url", url, "--ratings", str(tmp_path / "r.csv")]
        main(["encode", *flags])
    assert requests[1][1]["instances"][0]["item_ids"] == ["0068646", "7"]
    assert capsys.readouterr().err == (
        f"{tmp_path}/r.csv: items from 'movie_id', ratings from 'rating'\n"
    )


@pytest.mark.parametrize(
    ("text", "ratings"),
    [
        ("title,rating\nHeat (1995),4\n", [("Heat (1995)", 4.0)]),
        (
            "[REC] (2007),5\nHeat (1995),4\n",
            [("[REC] (2007)", 5.0), ("Heat (1995)", 4.0)],
        ),
        ('{"movieId": 6, "rating": 3.5}', [("6", 3.5)]),
    ],
)
def test_a_file_is_what_its_beginning_says(text, ratings, tmp_path):
    path = tmp_path / "ratings"
    path.write_text(text)
    assert read_ratings(str(path)).ratings == ratings


def test_columns_have_the_names_that_preparation_knows():
    for role, names in NAMES.items():
        assert names == HEADERS[role]


@hypothesis.settings(max_examples=10)
@hypothesis.given(
    texts=st.lists(
        st.text(" 07.-\xa0aN<>lué\0")
        | st.sampled_from(["NaN", "<NA>", "None"]),
        min_size=1,
    )
)
def test_ids_go_by_the_rule_of_preparation(texts):
    expected = to_ids(pa.array(texts)).to_pylist()
    assert [to_id(text) for text in texts] == expected


@hypothesis.settings(max_examples=20)
@hypothesis.given(
    numbers=st.lists(st.integers(-(2**62), 2**62), min_size=1)
    | st.lists(
        st.floats(-1e6, 1e6, width=32)
        | st.integers(-(2**53), 2**53).map(float),
        min_size=1,
    )
)
def test_numbers_are_ids_by_the_rule_of_preparation(numbers):
    expected = to_ids(pa.array(numbers)).to_pylist()
    assert [to_id(number) for number in numbers] == expected


@pytest.fixture
def client_alone():
    """Undoes what data preparation sets in this process, not in a client's."""
    limit = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(limit)


@pytest.mark.usefixtures("client_alone")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,5\nb\n", ":2: expected an item id and a finite number."),
        (b"a,five\n", ":1: expected an item id and a finite number."),
        (b"a,nan\n", "Received: 'a' and 'nan'"),
        (b",5\n", "Received: '' and '5'"),
        (b"[1, 2]", ", rating 1: expected an item id"),
        (b'[["a", "5"]]', "finite number. Received: 'a' and '5'"),
        (b'{"a": true}', ", rating 1: expected an item id"),
        (b'{"a": 1', " is no JSON: "),
        (b"\xff", " is not UTF-8 text: "),
        (b"name,rating\na,1\n", ": no columns of the item among name, rating."),
        (
            b"item,book,rating\n",
            ": several columns of the item among item, book",
        ),
        (b"u,a,1\nv,a,2\n", ":2: the ratings of a second user, 'v', after"),
        (b"[" * 9999, " is no JSON: "),
        (b"", " holds no ratings."),
        (b"item,rating\n", " holds no ratings."),
        (b"[]", " holds no ratings."),
        (b"{}", " holds no ratings."),
        (b"a," + b"x" * 999 + b"\n", f"'a' and '{'x' * 199} ..."),
        (b"item,rating\n" + b"x" * 200_000, " is no CSV: field larger"),
        (b'[["a", ' + b"9" * 400 + b"]]", "'a' and 9999"),
    ],
)
def test_a_file_that_holds_no_ratings_is_one_line(
    text, message, tmp_path, capsys
):
    path = tmp_path / "ratings"
    path.write_bytes(text)
    with pytest.raises(SystemExit) as caught:
        main(["encode", "--url=x", "--ratings", str(path)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}")
    assert message in error
    assert len(error.splitlines()) == 1


# ---- Errors ----


def test_an_error_is_one_line():
    closed_url = f"http://127.0.0.1:{find_closed_port()}{MODEL}"
    run = run_command("serving.client", "recommend", "--url", closed_url)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        f"error: Nothing listens at {closed_url}. Is the server running?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["recommend"], "the following arguments are required: --url"),
        (
            ["recommend", "--url", "http://localhost"],
            "`url` must be that of a model, such as"
            " http://localhost:8501/v1/models/recommender or"
            " grpc://localhost:8500/recommender. Received:"
            " url='http://localhost'",
        ),
        (
            ["recommend", "--url=x", "--ratinsg", "a=1"],
            "unrecognized arguments: --ratinsg a=1",
        ),
        (
            ["status", "--url=x", "--rating", "a=1"],
            "unrecognized arguments: --rating a=1",
        ),
        (
            ["recommend", "--url=x", "--ratings", "/nowhere.csv"],
            "cannot read /nowhere.csv: No such file or directory",
        ),
        (
            ["recommend", "--url=x", "--timeout_seconds=0"],
            "argument --timeout_seconds: must be a positive number. Received:"
            " '0'",
        ),
        (
            ["explain", "--url=x"],
            "the following arguments are required: --target",
        ),
        (
            ["similar", "--url=x"],
            "the following arguments are required: --item",
        ),
        (
            ["similar", "--url=x", "--item=a", "--rating", "a=1"],
            "unrecognized arguments: --rating a=1",
        ),
        (
            ["recommend", "--url=x", "--num_items=0"],
            "argument --num_items: must be a positive whole number. Received:"
            " '0'",
        ),
        (
            ["predict", "--url=x"],
            "the following arguments are required: --candidate",
        ),
        (
            ["predict", "--url=x", "--candidate="],
            "argument --candidate: must not be empty",
        ),
        *(
            (
                ["recommend", "--url=x", "--rating", rating],
                "argument --rating: must be an item, '=' and a finite number,"
                f" such as 'Heat (1995)=3.5'. Received: '{rating}'",
            )
            for rating in ("alien", "=5", "alien=", "a=nan", "a=inf", "a=five")
        ),
    ],
)
def test_a_bad_flag_is_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {message}. --help lists the flags.\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["recommend"],
        ["predict"],
        ["explain"],
        ["similar"],
        ["encode"],
        ["status"],
    ],
)
def test_help_is_printed(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "python -m serving.client" in capsys.readouterr().out
