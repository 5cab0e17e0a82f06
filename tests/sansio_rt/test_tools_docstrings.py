"""What docstrings of three styles say about parameters (T1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt._docstrings import parse_docstring

GOOGLE = """Find a train.

    It looks only
    at today.

        indented stays

    Args:
        start: Where from.
        end (str, optional): Where to,
            as a name: not a code.

            With a second paragraph.
        *via: Places between.
        nothing:
        not an entry
            with more
        **options: Whatever.

    Returns:
        A train: the next one.

    Raises:
        ValueError: None runs.
    """

NUMPY = """Find a train.

    It looks only
    at today.

        indented stays

    Parameters
    ----------
    start : str
        Where from.
    end : {'a', 'b'}, optional
        Where to,
        as a name: not a code.

        With a second paragraph.
    *via
        Places between.
    nothing : int
    **options : dict
        Whatever.
    not an entry!
        with more

    Returns
    -------
    str
        A train: the next one.
    """

REST = """Find a train.

    It looks only
    at today.

        indented stays

    :param start: Where from.
    :type start: str
    :param str end: Where to,
        as a name: not a code.
        With a second paragraph.
    :arg via: Places between.
    :param nothing:
    :param: no name
    :keyword options: Whatever.
    :returns: A train: the next one.
    :raises ValueError: None runs.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_three_styles_say_the_same(text: str) -> None:
    found = parse_docstring(text)
    assert found.description == "Find a train.\n\nIt looks only\nat today.\n\n    indented stays"
    assert found.parameters == {
        "start": "Where from.",
        "end": "Where to, as a name: not a code. With a second paragraph.",
        "via": "Places between.",
        "options": "Whatever.",
    }


def test_names_that_share_a_text_in_numpy_style() -> None:
    found = parse_docstring("Add.\n\nParameters\n----------\na, b : int\n    A number.")
    assert found.parameters == {"a": "A number.", "b": "A number."}


def test_attributes_of_a_class_count_as_parameters() -> None:
    assert parse_docstring("A point.\n\nAttributes:\n    x: Right.").parameters == {"x": "Right."}


def test_other_headings_and_colons_stay_in_the_description() -> None:
    text = "Do this:\n\n- first: one\n- second: two\n\nNote:\n    Careful."
    assert parse_docstring(text) == (text, {})


def test_a_section_without_a_body_is_nothing() -> None:
    assert parse_docstring("A.\n\nArgs:\n\nB.") == ("A.\n\nB.", {})
    assert parse_docstring("A.\n\nArgs:") == ("A.", {})


def test_no_docstring_says_nothing() -> None:
    assert parse_docstring(None) == parse_docstring("") == parse_docstring(" \n ") == ("", {})


@given(st.text(alphabet="ab:-(* )\n\tArgs", max_size=80) | st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = parse_docstring(text)
    assert found.description == found.description.strip()
    assert all(value == value.strip() for value in found.parameters.values())
