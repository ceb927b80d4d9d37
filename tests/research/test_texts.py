"""Texts of a language model for many collages: whatever it does, a collage is lost at most, and nothing is asked twice."""

import json
import threading
import time
from collections import Counter

import pytest
from same_subject.nodes.synthesis import asking
from same_subject.research import texts


@pytest.fixture
def model(monkeypatch):
    """A language model that answers what `answer` says of a subject; asked: for what."""

    class Model:
        asked: list[str] = []

        def answer(self, subject):
            return subject

        def texts(self, subject, count, seed):
            self.asked.append(subject)
            return f"a red {self.answer(subject)}", ("here", "there")

    model = Model()
    model.asked = []
    monkeypatch.setattr(asking, "texts", model.texts)
    monkeypatch.setattr(texts, "PAUSE", 0.01)
    return model


def items(count):
    for number in range(count):
        yield str(number), {"prompts": {"inputs": {"subject": f"cat {number}", "instances": 2, "seed": 0}}}


def texts_of(tmp_path):
    return texts.Texts(tmp_path / "texts.jsonl", {}, Counter())


def filled(made, count):
    """Descriptions by name."""
    came = [one for one in made.filled(items(count), "prompts") if one or time.sleep(0.01)]
    assert len({name for name, _ in came}) == len(came)
    return {name: graph["prompts"]["inputs"]["description"] for name, graph in came}


def on_disk(tmp_path):
    return {json.loads(line)["name"] for line in (tmp_path / "texts.jsonl").read_text().splitlines()}


def test_what_is_not_answered_is_asked_again_and_given_up_for_itself(model, tmp_path):
    fails = Counter({"cat 1": 2, "cat 3": 1000})

    def answer(subject):
        fails[subject] -= 1
        if fails[subject] >= 0:
            raise asking.Unanswered("too many questions")
        return subject

    model.answer = answer
    made = texts_of(tmp_path)
    assert filled(made, 30) == {str(number): f"a red cat {number}" for number in range(30) if number != 3}
    assert made.failures == {"too many questions": 1} and made.silence is None
    assert model.asked.count("cat 1") == 3 and model.asked.count("cat 3") == texts.TRIES
    model.answer = str
    assert filled(texts_of(tmp_path), 30)["3"] == "a red cat 3" and len(model.asked) == 29 + 2 + texts.TRIES + 1


def test_it_is_left_alone_for_as_long_as_it_says(model, tmp_path):
    times = []

    def answer(subject):
        times.append(time.monotonic())
        if len(times) == 1:
            raise asking.Unanswered("busy", after=0.5)
        return subject

    model.answer = answer
    assert filled(texts_of(tmp_path), 1) and times[1] - times[0] >= 0.5


def test_nobody_waits_for_a_slow_answer(model, tmp_path):
    slow = threading.Event()
    model.answer = lambda subject: slow.wait(10) and subject if subject == "cat 0" else subject
    coming = texts_of(tmp_path).filled(items(9), "prompts")
    others, begun = set(), time.monotonic()
    while len(others) < 8:
        others |= {one[0] for one in (next(coming),) if one}
    assert "0" not in others and next(coming) is None and time.monotonic() - begun < 5
    slow.set()
    assert [one[0] for one in coming if one] == ["0"]


def test_answers_are_kept_before_they_are_wanted_and_who_leaves_asks_no_more(model, tmp_path):
    def answer(subject):
        time.sleep(0.2)
        return subject

    model.answer = answer
    coming = texts_of(tmp_path).filled(items(1000), "prompts")
    while next(coming) is None:
        time.sleep(0.01)
    coming.close()
    assert on_disk(tmp_path) == {subject.removeprefix("cat ") for subject in model.asked}, "all that was asked is kept"
    assert texts.AT_ONCE <= len(model.asked) <= 2 * texts.AT_ONCE
    asked = len(model.asked)
    assert len(filled(texts_of(tmp_path), 10)) == 10 and len(model.asked) == max(asked, 10), "not asked twice"


def test_who_leaves_does_not_wait_for_another_try(model, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PAUSE", 100.0)

    def answer(subject):
        raise asking.Unanswered("busy")

    model.answer = answer
    coming, begun = texts_of(tmp_path).filled(items(100), "prompts"), time.monotonic()
    assert next(coming) is None
    coming.close()
    assert time.monotonic() - begun < 5 and len(model.asked) <= texts.AT_ONCE


def test_a_model_that_never_answers_is_asked_no_more_and_what_is_known_still_comes(model, tmp_path):
    assert len(filled(texts_of(tmp_path), 5)) == 5

    def answer(subject):
        raise asking.Unanswered("no such key", again=False)

    model.answer, model.asked = answer, []
    made = texts_of(tmp_path)
    backwards = reversed(list(items(1000)))
    assert {one[0] for one in made.filled(backwards, "prompts") if one} == {"0", "1", "2", "3", "4"}
    assert str(made.silence) == "no such key" and texts.AT_ONCE <= len(model.asked) <= 4 * texts.AT_ONCE


def test_a_model_that_falls_silent_is_asked_for_a_while(model, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "SILENT", 0.5)

    def answer(subject):
        if int(subject.removeprefix("cat ")) >= 20:
            raise asking.Unanswered("gone")
        return subject

    model.answer = answer
    made, begun = texts_of(tmp_path), time.monotonic()
    assert len(filled(made, 10**6)) == 20 and str(made.silence) == "gone"
    assert 0.5 < time.monotonic() - begun < 10 and made.failures.total() < 10**5


def test_where_few_are_wanted_and_none_comes_it_is_said(model, tmp_path):
    def answer(subject):
        raise asking.Unanswered("no address", again=False)

    model.answer = answer
    made = texts_of(tmp_path)
    assert not filled(made, 2) and made.failures == {"no address": 2} and str(made.silence) == "no address"
