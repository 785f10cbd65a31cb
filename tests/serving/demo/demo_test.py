import contextlib
import http.client
import http.server
import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from serving.demo.app import rating_choices
from tests.serving.canned import canned_server, find_closed_port
from tests.serving.demo.tastes import (
    HOSTILE_TITLE,
    SONG_TITLES,
    SPACE_TITLES,
    make_job,
)
from tests.serving.processes import REPOSITORY, run_command, run_server

pytestmark = pytest.mark.extended


class Demo(NamedTuple):
    """A running `serving.demo`, where it is and whom it asks."""

    process: subprocess.Popen
    url: str
    model_url: str

    def ask(self, method, target, body=None):
        """Sends one request and returns the response and its body."""
        connection = http.client.HTTPConnection(self.url.split("/")[2])
        with contextlib.closing(connection):
            connection.request(method, target, body)
            response = connection.getresponse()
            return response, response.read()

    def recommend(self, ratings):
        """Returns the status and the decoded answer."""
        body = json.dumps({"ratings": ratings})
        response, content = self.ask("POST", "/api/recommendations", body)
        return response.status, json.loads(content)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def run_demo(job_dir, *flags):
    """Yields a demo that listens on a port of its own, and stops it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.demo"),
            *("--job-dir", job_dir, "--port", "0", *flags),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    demo = None
    with process:
        try:
            asking, see_it = (process.stdout.readline() for _ in range(2))
            demo = Demo(process, see_it.split()[-1], asking.split()[-1])
            yield demo
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def job_dir(tmp_path_factory):
    return make_job(tmp_path_factory.mktemp("tastes"))


@pytest.fixture(scope="module")
def demo(job_dir):
    with run_demo(job_dir) as running:
        yield running


# ---- The command ----


def test_the_demo_serves_the_model_of_the_job_until_it_is_stopped(job_dir):
    with run_demo(job_dir) as demo:
        status, _ = demo.recommend({})
        assert status == 200
        assert demo.stop() == 0
        address = demo.model_url.split("/")[2].split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


@pytest.mark.slow
def test_a_job_that_was_not_exported_is_refused_in_one_line(job_dir, tmp_path):
    shutil.copytree(job_dir / "vocabulary", tmp_path / "vocabulary")
    run = run_command("serving.demo", "--job-dir", tmp_path, "--port=0")
    assert (run.returncode, run.stdout) == (1, "")
    assert re.search(rf"^error: .*{tmp_path}/export", run.stderr, re.MULTILINE)
    assert "Traceback" not in run.stderr


def test_a_directory_that_is_no_job_is_refused_in_one_line(tmp_path):
    run = run_command("serving.demo", "--job-dir", tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        f"error: {tmp_path}/vocabulary/items.parquet does not exist: --job_dir"
        " must be the directory of a job that python -m trainer.task has"
        " trained\n"
    )


@pytest.mark.parametrize(
    "url", ["localhost:8501", "grpc://localhost:8500/recommender"]
)
def test_a_model_that_is_not_served_over_rest_is_refused_in_one_line(url):
    run = run_command("serving.demo", "--job-dir=.", f"--url={url}")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "error: --url must be that of a model over REST, such as"
        " http://localhost:8501/v1/models/recommender. Received:"
        f" '{url}'. --help lists the flags.\n"
    )


def test_a_port_in_use_is_refused_in_one_line(job_dir):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = run_command(
            "serving.demo", "--job-dir", job_dir, f"--port={port}"
        )
    assert (run.returncode, run.stdout) == (1, "")
    assert re.fullmatch(
        rf"error: cannot listen on 127.0.0.1:{port}: .*in use.*"
        r" --port takes another, 0 a free one\.\n",
        run.stderr,
    )


def test_a_port_that_none_can_have_is_refused_in_one_line(tmp_path):
    run = run_command("serving.demo", "--job-dir", tmp_path, "--port=70000")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "error: argument --port: must be a number from 0 to 65535. Received:"
        " '70000'. --help lists the flags.\n"
    )


# ---- What the page asks for ----


def test_every_answer_forbids_what_does_not_come_from_the_demo(demo):
    for target in ("/", "/page.js", "/style.css", "/icon.svg", "/api/scale"):
        response, content = demo.ask("GET", target)
        assert response.status == 200
        assert content
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'"} <= set(policy)
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_scale_is_that_of_the_model(demo):
    _, content = demo.ask("GET", "/api/scale")
    assert json.loads(content) == {"choices": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize(
    ("scale", "choices"),
    [
        ((1, 5), [1, 2, 3, 4, 5]),
        ((0.5, 5), [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]),
        ((0, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ((-10, 10), [-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10]),
        ((0, 100), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ((0, 1), [0, 1]),
        ((3, 3), [3]),
    ],
)
def test_a_person_chooses_between_eleven_ratings_at_most(scale, choices):
    assert rating_choices(*scale) == choices


def test_items_are_found_by_their_titles(demo):
    _, content = demo.ask("GET", "/api/items?query=AMELIE%20")
    assert json.loads(content) == {
        "items": [{"item_id": "film-6", "title": "Amélie (2001)"}]
    }


def test_recommendations_come_with_titles_and_signed_reasons(demo):
    _, answer = demo.recommend({"film-0": 5, "film-7": 1})
    titles = [item["title"] for item in answer["items"]]
    assert set(titles[:5]) == set(SPACE_TITLES[1:])
    assert len(titles) == 10
    for item in answer["items"][:5]:
        reasons = {reason["title"]: reason for reason in item["reasons"]}
        assert set(reasons) == {"Alien (1979)", "Cabaret (1972)"}
        assert reasons["Alien (1979)"]["rating"] == 5
        assert reasons["Alien (1979)"]["contribution"] > 0


def test_ratings_that_the_model_does_not_know_are_counted(demo):
    _, answer = demo.recommend({"film-0": 5, "film-99": 1})
    assert answer["num_known_items"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"ratings": [5]}',
        b'{"ratings": {"film-0": "5"}}',
        b'{"ratings": {"film-0": true}}',
        b'{"ratings": {"film-0": NaN}}',
        b'{"ratings": {"film-0": 1%s}}' % (b"0" * 400),
        b'{"ratings": {"": 5}}',
        b'{"ratings": ' + b"[" * 9999 + b"]" * 9999 + b"}",
        b'{"ratings": {"%s": 5}}' % (b"x" * 2**20),
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_ratings_in_another_form_are_refused(demo, body):
    response, content = demo.ask("POST", "/api/recommendations", body)
    assert response.status == 400
    assert json.loads(content)["error"].startswith(
        'The body must be {"ratings": {ITEM_ID: NUMBER}}'
    )


def test_ratings_off_the_scale_are_refused(demo):
    status, answer = demo.recommend({"film-0": 99})
    assert status == 400
    assert "scale from 1 to 5" in answer["error"]


def test_items_may_be_rated_by_title(demo):
    _, by_id = demo.recommend({"film-0": 5, "film-7": 1})
    _, by_title = demo.recommend({"Alien (1979)": 5, "Cabaret (1972)": 1})
    assert by_title == by_id


def test_there_is_nothing_else(demo):
    for method, target in (
        ("GET", "/demo_app.py"),
        ("GET", "/../demo_app.py"),
        ("POST", "/"),
        ("GET", "/api/recommendations"),
    ):
        assert demo.ask(method, target)[0].status == 404


def test_the_demo_says_so_while_the_model_is_away(job_dir):
    url = f"http://127.0.0.1:{find_closed_port()}/v1/models/recommender"
    with run_demo(job_dir, "--url", url) as demo:
        response, content = demo.ask("GET", "/api/scale")
        assert response.status == 502
        assert f"Nothing listens at {url}" in json.loads(content)["error"]
        status, answer = demo.recommend({"film-0": 5})
        assert status == 502
        assert f"Nothing listens at {url}" in answer["error"]


def test_a_model_of_another_kind_is_called_so(job_dir):
    answer = b'{"predictions": [{"y": 1.0}]}', 200
    with (
        canned_server(answer) as (url, _),
        run_demo(job_dir, "--url", url) as demo,
    ):
        response, content = demo.ask("GET", "/api/scale")
    assert response.status == 502
    assert json.loads(content)["error"] == (
        "The model does not say its rating scale. Received:"
        ' {"y": 1.0} (HTTP status 200)'
    )


# ---- The page, in a browser ----


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        executable = next(
            filter(None, map(shutil.which, names)),
            playwright.chromium.executable_path,
        )
        if not Path(executable).exists():
            pytest.skip(
                "There is no Chromium: `apt-get install chromium` or `python"
                " -m playwright install chromium` brings one."
            )
        # For machines that do much else.
        expect.set_options(timeout=30_000)
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that nobody has rated on yet."""
    with browser.new_context() as context:
        yield context.new_page()


def find(page, words):
    """Types words, and waits for what they find."""
    page.get_by_label("Find a title").fill(words)
    expect(
        page.get_by_text(re.compile(rf"(of|holds all words of) “{words}”"))
    ).to_be_visible()


def star(page, title, name, within="found"):
    """The button of a rating of a title."""
    group = page.locator(f"#{within}").get_by_role(
        "group", name=f"Your rating of {title}", exact=True
    )
    return group.get_by_role("radio", name=name, exact=True)


def rate(page, title, words, name):
    find(page, words)
    # The button lies unseen over its star.
    star(page, title, name).check(force=True)


def recommended(page):
    return page.locator("#recommended > li")


def test_the_keyboard_alone_searches_rates_and_removes(demo, page):
    page.goto(demo.url)
    expect(page.get_by_text("Rated most often:")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Find a title")).to_be_focused()
    page.keyboard.type("moon")
    expect(page.get_by_text("Best matches of “moon”:")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(star(page, "Moon (2009)", "1 star")).to_be_checked()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(star(page, "Moon (2009)", "5 stars")).to_be_checked()
    expect(star(page, "Moon (2009)", "5 stars")).to_be_focused()
    expect(recommended(page).first).to_contain_text(
        "because you gave 5 stars to Moon (2009)"
    )
    first_title = recommended(page).first.locator(".title").inner_text()
    assert first_title in SPACE_TITLES
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("None yet.")).to_be_visible()
    expect(page.get_by_text("To anyone who has not rated yet.")).to_be_visible()
    expect(page.locator("#rated-heading")).to_be_focused()


def test_each_rating_changes_what_is_recommended_and_why(demo, page):
    page.goto(demo.url)
    rate(page, "Moon (2009)", "moon", "5 stars")
    expect(page.get_by_text("From your 1 rating,")).to_be_visible()
    for title in recommended(page).locator(".title").all_inner_texts()[:3]:
        assert title in SPACE_TITLES
    star(page, "Moon (2009)", "1 star", "rated").check(force=True)
    rate(page, "Cabaret (1972)", "cabaret", "5 stars")
    expect(page.get_by_text("From your 2 ratings,")).to_be_visible()
    for title in recommended(page).locator(".title").all_inner_texts()[:3]:
        assert title in SONG_TITLES
    reasons = recommended(page).first.locator(".reasons")
    expect(reasons).to_contain_text(
        re.compile(r"\+\d\.\d\d because you gave 5 stars to Cabaret")
    )


def test_a_recommended_title_can_be_rated_from_the_list(demo, page):
    page.goto(demo.url)
    rate(page, "Moon (2009)", "moon", "5 stars")
    expect(page.get_by_text("From your 1 rating,")).to_be_visible()
    title = recommended(page).first.locator(".title").inner_text()
    page.get_by_role("button", name=f"Rate {title}", exact=True).click()
    expect(page.get_by_label("Find a title")).to_be_focused()
    star(page, title, "1 star").check(force=True)
    expect(page.get_by_text("From your 2 ratings,")).to_be_visible()
    assert title not in recommended(page).locator(".title").all_inner_texts()


def test_ratings_are_still_there_when_the_page_is_loaded_again(demo, page):
    page.goto(demo.url)
    rate(page, "Moon (2009)", "moon", "4 stars")
    page.reload()
    expect(star(page, "Moon (2009)", "4 stars", "rated")).to_be_checked()
    expect(page.get_by_text("From your 1 rating,")).to_be_visible()


def test_no_request_leaves_the_machine_and_nothing_is_forbidden(demo, page):
    urls, complaints = [], []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(demo.url)
    rate(page, HOSTILE_TITLE, "img", "5 stars")
    expect(page.get_by_text("From your 1 rating,")).to_be_visible()
    assert len(urls) > 5
    assert all(url.startswith(demo.url) for url in urls), urls
    assert complaints == []


def test_a_title_with_html_is_shown_as_text(demo, page):
    page.goto(demo.url)
    rate(page, HOSTILE_TITLE, "img", "5 stars")
    for list_id in ("found", "rated"):
        expect(page.locator(f"#{list_id} .title")).to_have_text(HOSTILE_TITLE)
    expect(recommended(page).first).to_contain_text(
        f"because you gave 5 stars to {HOSTILE_TITLE}"
    )
    find(page, "<b>bold</b>")
    assert page.locator("img, b").count() == 0
    expect(page).to_have_title("Recommendations from your ratings")


@pytest.mark.parametrize("width", [320, 375])
def test_nothing_is_wider_than_a_phone(demo, page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(demo.url)
    rate(page, HOSTILE_TITLE, "img", "5 stars")
    expect(recommended(page).first).to_contain_text(HOSTILE_TITLE)
    assert width_of_content(page) == width


def width_of_content(page):
    return page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_names_and_roles_are_accessible(demo, page, scheme):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(demo.url)
    rate(page, "Moon (2009)", "moon", "5 stars")
    expect(page.get_by_text("From your 1 rating,")).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize(
    ("scale", "names", "name"),
    [
        ((0.5, 5.0), [f"{k / 2:g} star" for k in range(1, 11)], "4.5 stars"),
        ((0.0, 10.0), [f"{k}" for k in range(11)], "8"),
    ],
    ids=["half stars", "numbers"],
)
def test_ratings_are_given_on_the_scale_of_the_model(
    job_dir, page, scale, names, name
):
    low, high = scale
    answer = {
        **{"rating_min": low, "rating_max": high, "history_length": 4},
        **{"item_ids": ["film-1"], "predicted_ratings": [high]},
        "num_known_items": 1,
        "target_known": [True] * 16,
        "reason_item_ids": [["film-3"]] * 16,
        "contributions": [[0.25]] * 16,
    }
    body = json.dumps({"predictions": [answer]}).encode(), 200
    # The smallest of phones.
    page.set_viewport_size({"width": 320, "height": 800})
    with (
        canned_server(body) as (url, requests),
        run_demo(job_dir, "--url", url) as demo,
    ):
        # Without ratings the answer above would be wrong.
        page.add_init_script(
            "localStorage.setItem('deep-recommender.ratings', JSON.stringify("
            f"[['film-3', {{title: 'Moon (2009)', rating: {high}}}]]))"
        )
        page.goto(demo.url)
        find(page, "moon")
        radios = page.locator("#found").get_by_role("radio")
        assert radios.count() == len(names)
        for radio, expected in zip(radios.all(), names, strict=True):
            expect(radio).to_have_accessible_name(
                re.compile(f"^{re.escape(expected)}s?$")
            )
        star(page, "Moon (2009)", name).check(force=True)
        expect(recommended(page).first).to_contain_text(
            f"+0.25 because you gave {name} to Moon (2009)"
        )
        _, request = requests[-1]
    value = float(name.split()[0])
    assert request["instances"][0]["ratings"][0] == value
    assert width_of_content(page) == 320


@pytest.mark.slow
def test_the_page_says_that_the_model_is_away_and_goes_on_when_it_is_back(
    job_dir, page
):
    with contextlib.ExitStack() as stack:
        with run_server(job_dir / "export") as server:
            demo = stack.enter_context(run_demo(job_dir, "--url", server.url))
            page.goto(demo.url)
            expect(recommended(page)).to_have_count(10)
        rate(page, "Moon (2009)", "moon", "5 stars")
        problem = page.get_by_role("alert")
        expect(problem).to_contain_text(
            f"Nothing listens at {server.url}. Is the server running?"
        )
        with run_server(job_dir / "export", "--rest_api_port", server.port):
            expect(problem).to_be_empty()
            expect(page.get_by_text("From your 1 rating,")).to_be_visible()
            demo.stop()
        page.get_by_label("Find a title").fill("alien")
        expect(problem).to_contain_text("The demo has ended")


@contextlib.contextmanager
def slow_model(url, is_slow):
    """Yields the URL of a model some of whose answers wait.

    Besides, an event that lets them go, and queues of the slow requests that
    have come and that have been answered.
    """
    go_on, come, answered = threading.Event(), queue.Queue(), queue.Queue()
    origin, _, path = url.partition("/v1/")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            slow = is_slow(json.loads(body))
            if slow:
                come.put(body)
                go_on.wait(30)
            with urllib.request.urlopen(origin + self.path, body) as answer:
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if slow:
                answered.put(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            slow_url = f"http://127.0.0.1:{server.server_port}/v1/{path}"
            yield slow_url, go_on, come, answered
        finally:
            go_on.set()
            server.shutdown()
            thread.join()


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(
    demo, job_dir, page
):
    def has_one_star(request):
        return request["instances"][0].get("ratings", [0])[0] == 1

    with (
        slow_model(demo.model_url, has_one_star) as (
            url,
            go_on,
            come,
            answered,
        ),
        run_demo(job_dir, "--url", url) as slow_demo,
    ):
        page.goto(slow_demo.url)
        rate(page, "Moon (2009)", "moon", "1 star")
        come.get(timeout=10)
        star(page, "Moon (2009)", "5 stars").check(force=True)
        expect(recommended(page).first).to_contain_text("you gave 5 stars")
        go_on.set()
        # The recommendations and their reasons.
        for _ in range(2):
            answered.get(timeout=10)
        # By then the page would have had the late answer.
        find(page, "alien")
        expect(recommended(page).first).to_contain_text("you gave 5 stars")
