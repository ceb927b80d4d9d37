"""Prompts for collages and scenes: enough of them, the same for the same seed, and what a language model says in their place."""

import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from same_subject.nodes.synthesis import asking, chance, prompts


def test_the_lists_have_what_the_paper_needs_and_nothing_twice():
    sizes = {name: len(prompts.listed(name)) for name in ("objects", "details", "scenes", "styles")}
    assert sizes["objects"] >= 500 and sizes["scenes"] >= 30 and min(sizes.values()) >= 20, "the tooltips say so"
    for name in sizes:
        assert len(set(prompts.listed(name))) == sizes[name]
    assert all(one.count("{object}") == 1 for name in ("details", "scenes") for one in prompts.listed(name))


def test_a_seed_decides_and_seeds_reach_every_object_and_scene():
    assert prompts.drawn(7, 4) == prompts.drawn(7, 4) != prompts.drawn(8, 4)
    many = [prompts.drawn(seed, 4) for seed in range(3000)]
    assert len({one.subject for one in many}) > 0.98 * len(prompts.listed("objects"))
    assert all(len(set(one.scenes)) == 4 for one in many), "no scene twice in a set"
    shares = [chance.share(1, "x", number) for number in range(4000)]
    assert abs(sum(shares) / 4000 - 0.5) < 0.02 and 0 <= min(shares) and max(shares) < 1


def test_a_collage_shows_photos_of_the_same_and_scenes_name_the_object_with_its_article():
    made = prompts.drawn(3, 2, "umbrella")
    assert made.collage.startswith("photos of the same umbrella ") and all(" {object}" not in scene for scene in made.scenes)
    assert all("an umbrella" in scene for scene in made.scenes)
    assert (
        prompts.drawn(3, 1, "ukulele", "A ukulele with a shark on it").collage == "photos of the same ukulele with a shark on it"
    )
    assert prompts.drawn(3, 3, "cat", scenes=("{object} here",)).scenes == ("a cat here",) * 3
    assert prompts.lines(" one\n\n# not this\ntwo ") == ("one", "two")


@pytest.fixture
def model():
    """A language model's server; what it was asked is in `asked`, what it answers in `answers`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append((self.path, self.headers.get("Authorization"), said))
            status, answer = served.answers.pop(0)
            body = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Retry-After", served.after)
            self.end_headers()
            self.wfile.write(body)

    served = HTTPServer(("127.0.0.1", 0), Handler)
    served.asked, served.answers, served.after = [], [], ""
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def known(server, **more):
    return {asking.URL: f"http://127.0.0.1:{server.server_port}/v1/", asking.MODEL: "small", **more}


def test_a_language_model_writes_looks_and_scenes(model):
    model.answers += [(200, "A red teapot with stars.\n"), (200, "1. A teapot on a hill\n- A teapot in a bar\n\nA teapot at sea")]
    assert asking.texts("teapot", 2, 5, known(model, **{asking.KEY: "secret"})) == (
        "A red teapot with stars.", ("A teapot on a hill", "A teapot in a bar"),
    )  # fmt: skip
    paths, keys, said = zip(*model.asked, strict=True)
    assert set(paths) == {"/v1/chat/completions"} and set(keys) == {"Bearer secret"}
    assert said[0]["model"] == "small" and "teapot" in said[0]["messages"][0]["content"]


def test_nothing_is_asked_without_an_address_and_no_key_goes_elsewhere(model):
    for settings, reason in (
        ({}, f"Set {asking.URL}"),
        ({asking.URL: "file:///etc/passwd"}, f"Set {asking.URL}"),
        ({asking.URL: "http://models.example/v1", asking.KEY: "secret"}, "would travel unencrypted to models.example"),
    ):
        with pytest.raises(asking.Unanswered, match=reason):
            asking.texts("teapot", 2, 5, settings)
    model.answers.append((302, "elsewhere"))
    with pytest.raises(asking.Unanswered, match="answered 302"):
        asking.texts("teapot", 2, 5, known(model, **{asking.KEY: "secret"}))
    assert len(model.asked) == 1


def test_too_few_lines_are_refused(model):
    model.answers += [(200, "A red teapot."), (200, "A teapot on a hill")]
    with pytest.raises(asking.Unanswered, match="wrote 1 descriptions and 1 scenes of `teapot`, but 1 and 2 are needed"):
        asking.texts("teapot", 2, 5, known(model))


def test_marks_of_lists_are_taken_off_and_numbers_that_mean_something_stay(model):
    answer = (
        '1950s diner with a teapot\n2) A teapot\n- 3 teapots\n• "A teapot at sea"\n10. 24-hour diner\n-5 degrees\n3.5 teapots'
    )
    model.answers += [(200, "A red teapot."), (200, answer)]
    assert asking.texts("teapot", 7, 5, known(model))[1] == (
        "1950s diner with a teapot", "A teapot", "3 teapots", "A teapot at sea", "24-hour diner", "-5 degrees", "3.5 teapots",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "after", "again", "seconds"),
    [(429, "7", True, 7), (503, "", True, 0), (500, "soon", True, 0), (401, "", False, 0), (302, "", False, 0),
     (429, "Wed, 21 Oct 2015 07:28:00 GMT", True, 0)],
)  # fmt: skip
def test_it_is_said_whether_and_when_another_question_may_be_answered(model, code, after, again, seconds):
    model.answers.append((code, "no"))
    model.after = after
    with pytest.raises(asking.Unanswered, match=f"answered {code}") as caught:
        asking.texts("teapot", 2, 5, known(model))
    assert (caught.value.again, caught.value.after) == (again, seconds)


def test_a_date_to_ask_again_at_is_understood(model):
    model.answers.append((429, "no"))
    model.after = formatdate(time.time() + 100, usegmt=True)
    with pytest.raises(asking.Unanswered) as caught:
        asking.texts("teapot", 2, 5, known(model))
    assert 90 < caught.value.after <= 100
