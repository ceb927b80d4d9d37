"""The prompt with a clause for each subject."""

import pytest
from same_subject.nodes.subject.wording import worded


def test_each_subject_gets_a_clause_in_order_and_its_places_are_known():
    found = worded("a dog and a cat on a beach, ", ["dog", "cat"], "sks")
    assert found.text == "a dog and a cat on a beach, the dog is sks, the cat is sks"
    assert [found.text[start:end] for start, end in found.classes] == ["dog", "cat"]
    assert [found.text[start:end] for start, end in found.placeholders] == ["sks", "sks"]
    assert found.classes[1][1] + len(" is ") == found.placeholders[1][0]


def test_two_subjects_of_one_class_and_no_text_are_allowed():
    assert worded("", ["dog", "dog"], "sks").text == "the dog is sks, the dog is sks"


def test_without_subjects_the_text_stays_as_it_is():
    assert worded("a dog, ", [], "sks").text == "a dog, " and worded("sks", [], "sks").text == "sks"


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("a dog", ["dog", " "], "subject 2 has no class name"),
        ("a SKS rifle", ["dog"], "the text has the word `sks`"),
        ("a dog", ["dog", "sks dog"], "the class of subject 2 has the word `sks`"),
    ],
)
def test_what_would_be_misread_is_refused(text, names, said):
    with pytest.raises(ValueError, match=f"^Subject Prompt: .*{said}"):
        worded(text, names, "sks")
