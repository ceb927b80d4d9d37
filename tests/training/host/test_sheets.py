"""What a training shows of itself: the curve of its losses."""

from same_subject.nodes.training.host import sheets


def drawn_across(losses, steps, first=0):
    """The columns, from the left, in which a curve has its line, below the figure that stands in the corner."""
    shown = sheets.curve(losses, steps, first)
    background = shown.getpixel((0, shown.height - 1))
    rows = range(20, shown.height)
    return [x for x in range(shown.width) if any(shown.getpixel((x, y)) != background for y in rows)]


def test_a_curve_goes_as_far_as_the_run_and_begins_where_it_went_on():
    width, losses = sheets.CURVE[0], [1.0, 0.4, 0.5, 0.3, 0.4]
    begun, later = drawn_across(losses, 10), drawn_across(losses, 10, 5)
    assert begun[0] < 0.2 * width and max(begun) <= width / 2
    assert later[0] >= width / 2 and max(later) == width - 1


def test_losses_that_are_not_finite_leave_an_empty_curve():
    assert drawn_across([float("nan"), float("inf")], 10) == []
