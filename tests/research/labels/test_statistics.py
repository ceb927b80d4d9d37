"""Table 5 and figure 6 of labelled pictures."""

from same_subject.research.labels import statistics


def record(outcome=statistics.KEPT, caption="a dog and a cat", classes=(), **more):
    return {"key": "x", "outcome": outcome, "caption": caption, "entities": [{"class": name} for name in classes], **more}


def counted(*records):
    made = statistics.Statistics()
    for one in records:
        made.add(statistics.summary(one))
    return made


def test_only_kept_pictures_count_for_classes_words_and_boxes():
    made = counted(
        record(classes=("dog", "dog", "cat"), candidates=9, dropped={"5": 4, "6": 2}),
        record(classes=("dog",), caption="one two three four five", candidates=1, dropped={}),
        record(statistics.NOTHING_LEFT, candidates=2, dropped={"6": 2}),
        {"key": "y", "outcome": statistics.DAMAGED, "reason": "it ends"},
    )
    said = made.as_dict()
    assert said["pictures"][statistics.KEPT] == 2 and said["pictures"][statistics.DAMAGED] == 1
    assert said["entities"] == 4 and said["classes"] == {"dog": 3, "cat": 1}
    assert said["candidates"] == 12 and said["dropped"] == {**dict.fromkeys("12347", 0), "5": 4, "6": 4}
    assert said["words"] == {"5": 2} and said["boxes"] == {"1": 1, "3": 1}


def test_the_report_names_every_filter_the_paper_and_why_pictures_are_damaged():
    text = counted(record(classes=("dog",)), {"key": "y", "outcome": statistics.DAMAGED, "reason": "it ends"}).text()
    for number in range(1, 8):
        assert f"filter {number}:" in text
    for piece in ("76M", "222M", "162K", "1 it ends", "5 to 9", "dog"):
        assert piece in text


def test_the_bins_of_a_figure_hold_every_picture_once():
    both = zip((4, 5, 9, 10, 15, 16, 20, 21), (1, 2, 3, 4, 5, 6, 10, 11), strict=True)
    lines = counted(*(record(caption="w " * words, classes=("dog",) * boxes) for words, boxes in both)).text().splitlines()
    words, boxes = (lines.index(f"Figure 6: {name}") + 1 for name in ("words a caption", "boxes a picture"))
    assert [line.split()[-3 if "#" in line else -2] for line in lines[words : words + 5]] == ["1", "2", "2", "2", "1"]
    assert [line.split()[-3 if "#" in line else -2] for line in lines[boxes : boxes + 7]] == ["1", "1", "1", "1", "1", "2", "1"]


def test_a_report_without_pictures_is_still_a_report():
    assert "0 pictures" in statistics.Statistics().text()
