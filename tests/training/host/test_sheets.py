"""What a training shows of itself: the curve of its losses."""

from same_subject.nodes.training.host import sheets


def drawn_across(losses, steps, first=0):
    """The columns, from the left, in which a curve has its line, below the figure that stands in the corner."""
    shown = sheets.curve(losses, steps, first)
    background = shown.getpixel((0, shown.height - 1))
    rows = range(20, shown.height)
    return [x for x in range(shown.width) if any(shown.getpixel((x, y)) != background for y in rows)]


def test_a_curve_is_as_wide_as_its_picture_and_goes_down_with_the_losses():
    drawn = drawn_across([1.0, 0.8, 0.5, 0.3, 0.1], 1000, 5)
    assert drawn[0] <= 1 and drawn[-1] >= sheets.CURVE[0] - 2 and len(drawn) >= sheets.CURVE[0] - 2
    shown = sheets.curve([1.0, 0.8, 0.5, 0.3, 0.1], 1000, 5)
    background = shown.getpixel((0, shown.height - 1))
    lowest = [max(y for y in range(shown.height) if shown.getpixel((x, y)) != background) for x in (200, sheets.CURVE[0] - 2)]
    assert lowest[0] + 20 < lowest[1], "as the losses go down"


def test_losses_that_are_not_finite_leave_an_empty_curve():
    assert drawn_across([float("nan"), float("inf")], 10) == []
