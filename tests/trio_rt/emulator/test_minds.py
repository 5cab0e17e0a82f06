"""Minds: what they say and which tools they call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rt.emulator._brain import Brain
from trio_rt.emulator._minds import LocalMind, ScriptedMind
from trio_rt.emulator._outputs import spoken_output
from trio_rt.emulator._phrases import digits
from trio_rt.emulator._roles import Action, Call, Request, Say, ToolInfo, Turn
from trio_rt.emulator._sums import find_sum

NOW = datetime(2026, 11, 22, 14, 5)
STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


def schema(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TIME = ToolInfo("get_current_time", "Tell the current local time", schema())
DICE = ToolInfo("roll_dice", "Roll dice", schema(count=INTEGER, sides=INTEGER))
WEATHER = ToolInfo(
    "get_weather",
    "Get the weather for a city",
    schema(("city",), city=STRING, unit={"type": "string", "enum": ["celsius", "fahrenheit"]}),
)
MESSAGE = ToolInfo(
    "send_message", "Send a message", schema(("recipient", "text"), recipient=STRING, text=STRING)
)
LIGHT = ToolInfo(
    "set_light",
    "Switch the light of a room on or off",
    schema(("room", "on"), room=STRING, on={"type": "boolean"}),
)
TABLE = ToolInfo("book_table", "Reserve a table", schema(("people",), people=INTEGER, time=STRING))
LIST = ToolInfo(
    "add_to_shopping_list",
    "Add items",
    schema(("items",), items={"type": "array", "items": STRING}),
)
TRAIN = ToolInfo(
    "findTrain", "Find a train", schema(("from_city", "to_city"), from_city=STRING, to_city=STRING)
)
TOOLS = (TIME, DICE, WEATHER, MESSAGE, LIGHT, TABLE, LIST, TRAIN)


def ask(
    *history: Turn | str,
    tools: tuple[ToolInfo, ...] = (),
    tool_choice: str = "auto",
    instructions: str = "",
) -> Action:
    turns = [Turn("user", turn) if isinstance(turn, str) else turn for turn in history]
    actions = LocalMind().reply(Request(turns, instructions, tools, tool_choice, NOW))
    assert len(actions) == 1
    return actions[0]


# -- scripts


def test_a_script_answers_each_request_in_order_and_then_repeats_the_last() -> None:
    call = Call("roll_dice", {"sides": 6})
    mind = ScriptedMind("one", [call, "two"], Say("three"), lambda request: request.instructions)
    request = Request([], "four")
    assert [mind.reply(request) for _ in range(5)] == [
        [Say("one")],
        [call, Say("two")],
        [Say("three")],
        [Say("four")],
        [Say("four")],
    ]


def test_a_script_that_ends_with_a_call_does_not_call_for_ever() -> None:
    mind = ScriptedMind(Call("f"))
    assert mind.reply(Request([])) == [Call("f")]
    assert mind.reply(Request([])) == [Say("I have nothing more to say.")]
    assert ScriptedMind().reply(Request([])) == [Say("I have nothing to say.")]


def test_a_scripted_brain_says_hears_and_speaks_without_the_extra() -> None:
    brain = Brain.scripted("Hello.", transcripts=["hi"])
    brain.warm_up()
    assert brain.mind.reply(Request([])) == [Say("Hello.")]
    assert brain.ears is not None
    assert brain.ears.transcribe(b"", 24_000) == "hi"
    assert b"".join(brain.voice.speak("Hello.", voice="alloy", speed=1.0))
    assert brain.make_detector() is not brain.make_detector()


def test_a_local_brain_has_real_parts() -> None:
    brain = Brain.local()
    assert brain.ears is not None
    assert (brain.voice.rate, brain.make_detector().rate) == (24_000, 16_000)


# -- what it knows by itself


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What time is it?", "It is 2:05 PM."),
        ("hello what time is it now", "It is 2:05 PM."),
        ("Tell me the date, please.", "Today is Sunday, November 22, 2026."),
        ("What day of the week is it today?", "Today is Sunday, November 22, 2026."),
        ("Hello!", "Hello! How can I help you?"),
        ("Good morning, my friend.", "Hello! How can I help you?"),
        ("Thank you very much.", "You are welcome."),
        ("Thanks, goodbye.", "Goodbye!"),
        ("Hi, how are you?", "I am fine, thank you. How can I help you?"),
        ("What can you do?", "I can tell the time and the date and do sums."),
        ("Please say hello world.", "hello world."),
        ("", "Sorry, I did not hear anything."),
        ("  ", "Sorry, I did not hear anything."),
        (
            "The cat is on the roof",
            "You said: The cat is on the roof. I can tell the time, do sums and use your tools.",
        ),
        (
            "Why is the sky blue?",
            "You said: Why is the sky blue? I can tell the time, do sums and use your tools.",
        ),
    ],
)
def test_it_answers_without_tools(question: str, answer: str) -> None:
    assert ask(question) == Say(answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is twelve times seven?", "12 times 7 is 84."),
        ("17 plus 4", "17 plus 4 is 21."),
        ("What's 17-4?", "17 minus 4 is 13."),
        ("What is five plus three times two?", "5 plus 3 times 2 is 11."),
        ("What is minus 5 plus 3?", "-5 plus 3 is -2."),
        ("half of ninety", "Half of 90 is 45."),
        ("What is the square of fifteen?", "The square of 15 is 225."),
        ("How much is fifteen squared?", "15 squared is 225."),
        ("square root of 2", "The square root of 2 is about 1.4142."),
        ("What is twenty percent of two hundred and fifty?", "20 percent of 250 is 50."),
        ("What is 20% of 1,250?", "20 percent of 1250 is 250."),
        ("add seventeen and four", "17 plus 4 is 21."),
        ("Subtract 3 from 10", "10 minus 3 is 7."),
        ("three point five times two", "3.5 times 2 is 7."),
        ("ten divided by three", "10 divided by 3 is about 3.3333."),
        ("ten divided by zero", "Nothing can be divided by zero."),
        ("2 to the power of 10", "2 to the power of 10 is 1024."),
        ("2 to the power of 1000", "That is more than I can work out."),
        ("square root of -4", "That is more than I can work out."),
    ],
)
def test_it_does_sums_in_words_and_digits(question: str, answer: str) -> None:
    assert ask(question) == Say(answer)


@pytest.mark.parametrize("text", ["We are open 24/7", "Call 555-1234", "How many times?"])
def test_what_only_looks_like_a_sum_is_none(text: str) -> None:
    assert find_sum(text) is None


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["plus", "minus", "times", "divided by"]),
)
def test_sums_are_right(left: int, right: int, operation: str) -> None:
    found = find_sum(f"What is {left} {operation} {right}?")
    assert found is not None
    result = float(found.answer().removesuffix(".").rsplit(" ", 1)[1])
    expected = {
        "plus": left + right,
        "minus": left - right,
        "times": left * right,
        "divided by": left / right,
    }[operation]
    assert result == pytest.approx(expected, abs=0.0001)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three four", "1 2 3 4"),
        ("two hundred and fifty", "250"),
        ("Twenty-one", "21"),
        ("seventeen and four", "17 and 4"),
        ("a hundred", "100"),
        ("one thousand two hundred thirty four", "1234"),
        ("three point one four", "3.14"),
        ("a horse and someone", "a horse and someone"),
        ("two million", "2000000"),
    ],
)
def test_number_words_become_digits(text: str, expected: str) -> None:
    assert digits(text) == expected


@given(st.text(max_size=80))
def test_any_text_gets_one_answer(text: str) -> None:
    ask(text, tools=TOOLS)


# -- tools


@pytest.mark.parametrize(
    ("question", "call"),
    [
        ("Hello, what time is it?", Call("get_current_time", {})),
        ("Can you roll two dice for me?", Call("roll_dice", {"count": 2})),
        ("Can you roll too dice for me?", Call("roll_dice", {"count": 2})),  # as misheard
        ("Roll two dice with twenty sides.", Call("roll_dice", {"count": 2, "sides": 20})),
        ("What is the weather like in Paris?", Call("get_weather", {"city": "Paris"})),
        ("What's the whether like in New York?", Call("get_weather", {"city": "New York"})),
        ("Is it going to rain in London tomorrow?", Call("get_weather", {"city": "London"})),
        (
            "weather for berlin in fahrenheit",
            Call("get_weather", {"city": "berlin", "unit": "fahrenheit"}),
        ),
        (
            "Send a message to David that I will be late.",
            Call("send_message", {"recipient": "David", "text": "I will be late"}),
        ),
        (
            "Please turn on the light in the kitchen.",
            Call("set_light", {"room": "kitchen", "on": True}),
        ),
        (
            "Turn off the light in the living room, please.",
            Call("set_light", {"room": "living room", "on": False}),
        ),
        (
            "Book a table for four people at eight o'clock.",
            Call("book_table", {"people": 4, "time": "eight o'clock"}),
        ),
        (
            "Add milk, bread and butter to my shopping list.",
            Call("add_to_shopping_list", {"items": ["milk", "bread", "butter"]}),
        ),
        (
            "When is the next train from London to Berlin?",
            Call("findTrain", {"from_city": "London", "to_city": "Berlin"}),
        ),
        ("What is the price of this book in dollars?", None),
        ("What is twelve times seven?", None),
        ("How are you?", None),
    ],
)
def test_it_calls_the_tool_that_fits_with_what_the_question_says(
    question: str, call: Call | None
) -> None:
    action = ask(question, tools=TOOLS)
    assert action == call if call else isinstance(action, Say)


@pytest.mark.parametrize(
    ("name", "value", "question", "taken"),
    [
        ("unit", {"const": "metre"}, "Measure it in feet", "metre"),
        ("unit", {"enum": ["miles"]}, "Measure it", "miles"),
        ("length", {"type": "number"}, "Measure a length of 3", 3.0),
        (
            "lengths",
            {"type": "array", "items": {"type": "integer"}},
            "Measure 3, 4 and 5",
            [3, 4, 5],
        ),
        ("lengths", {"type": "array", "items": {"type": "number"}}, "Measure 3 and 4", [3, 4]),
        ("things", {"type": "array", "items": STRING}, "Measure it", None),
        ("city", STRING, "Can you measure, Berlin or not?", "Berlin"),
        ("thing", {"type": "object"}, "Measure it", None),
    ],
)
def test_a_parameter_takes_what_its_schema_allows(
    name: str, value: dict[str, Any], question: str, taken: object
) -> None:
    tool = ToolInfo("measure", "Measure", schema((), **{name: value}))
    arguments = {} if taken is None else {name: taken}
    assert ask(question, tools=(tool,)) == Call("measure", arguments)


def test_arguments_that_nobody_said_are_the_least_that_fits() -> None:
    parameters = schema(
        ("size", "odd"), size={"type": "integer", "default": 7}, odd={"type": "null"}
    )
    action = ask("Hello", tools=(TIME, ToolInfo("f", "", parameters)), tool_choice="f")
    assert isinstance(action, Call)
    assert action.arguments["size"] == 7


def test_a_calculator_gets_the_sum() -> None:
    calculator = ToolInfo("calculate", "Evaluate", schema(("expression",), expression=STRING))
    action = ask("What is twelve times seven?", tools=(TIME, calculator))
    assert action == Call("calculate", {"expression": "12 * 7"})


def test_it_asks_back_for_what_lacks_and_takes_the_answer() -> None:
    asked = ask("What is the weather?", tools=TOOLS)
    assert asked == Say("For which city?")
    history = (
        "What is the weather?",
        Turn("assistant", "For which city?"),
    )
    expected = Call("get_weather", {"city": "Paris"})
    assert ask(*history, "In Paris, please.", tools=TOOLS) == expected
    assert ask(*history, "What is 3 plus 4?", tools=TOOLS) == Say("3 plus 4 is 7.")


def test_tool_choice_none_calls_nothing() -> None:
    assert ask("What time is it?", tools=TOOLS, tool_choice="none") == Say("It is 2:05 PM.")


def test_tool_choice_required_calls_the_best_or_the_first() -> None:
    assert ask("Roll a die", tools=TOOLS, tool_choice="required") == Call("roll_dice", {})
    assert ask("Hello", tools=TOOLS, tool_choice="required") == Call("get_current_time", {})
    assert isinstance(ask("Hello", tool_choice="required"), Say)  # there is none


def test_a_named_tool_is_called_with_arguments_that_fit_its_schema() -> None:
    parameters = schema(
        ("text", "count", "mode", "urgent", "tags", "options"),
        text=STRING,
        count={"type": ["integer", "null"], "minimum": 1},
        mode={"enum": ["a", "b"]},
        urgent={"type": "boolean"},
        tags={"type": "array"},
        options={"type": "object"},
    )
    action = ask("Hello", tools=(TIME, ToolInfo("f", "", parameters)), tool_choice="f")
    assert action == Call(
        "f",
        {"text": "Hello", "count": 1, "mode": "a", "urgent": False, "tags": [], "options": {}},
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"properties": None},
        {"properties": {"x": True}, "required": ["x", "y"]},
        {"properties": {"x": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, "required": None},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
    ],
)
def test_odd_schemas_do_no_harm(parameters: dict[str, Any]) -> None:
    tool = ToolInfo("dice", "", parameters)
    assert isinstance(ask("Roll the dice", tools=(tool,), tool_choice="dice"), Call)


# -- outputs, instructions, no question


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ('{"temperature": 21, "unit": "celsius"}', "The temperature is 21 degrees Celsius."),
        (
            '{"city": "Paris", "temperature": 21.50, "unit": "C", "isRaining": false}',
            "The city is Paris, the temperature is 21.5 degrees Celsius and the is raining is no.",
        ),
        ('{"rolls": [3, 5], "total": 8}', "The rolls are 3 and 5 and the total is 8."),
        ('{"time": "14:27:05"}', "The time is 2:27 PM."),
        ("2026-11-22T14:27:00+01:00", "It is 2:27 PM on Sunday, November 22, 2026."),
        ("[3, 5]", "The results are 3 and 5."),
        ("8", "The result is 8."),
        ("sunny", "The result is sunny."),
        ("It is sunny in Paris", "It is sunny in Paris."),
        ('{"error": "no such city"}', "Sorry, that did not work: no such city."),
        ("", "Done."),
        ("null", "Done."),
        ("true", "Done."),
        ("false", "The answer is no."),
        ("[]", "There is nothing."),
        ("{}", "There is nothing."),
    ],
)
def test_outputs_are_read_out(output: str, sentence: str) -> None:
    assert spoken_output(output) == sentence


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON | st.text(max_size=600))
def test_any_output_becomes_a_short_sentence(value: object) -> None:
    import json

    for output in (json.dumps(value), str(value)):
        assert 0 < len(spoken_output(output)) <= 502


def test_after_the_tools_it_says_their_results() -> None:
    history = (
        "Roll two dice and tell the time",
        Turn("tool_call", "{}", "roll_dice", "a"),
        Turn("tool_call", "{}", "get_current_time", "b"),
        Turn("tool_output", '{"total": 7}', call_id="a"),
        Turn("tool_output", "14:05", call_id="b"),
    )
    expected = Say("The total is 7. It is 2:05 PM.")
    assert ask(*history, tools=TOOLS) == expected
    assert ask(*history, tools=TOOLS, tool_choice="required") == expected


@pytest.mark.parametrize(
    ("instructions", "said"),
    [
        ("", "Hello! How can I help you?"),
        ("Greet the user.", "Hello! How can I help you?"),
        ('Say "Welcome back."', "Welcome back."),
        ("Tell the user: dinner is ready.", "dinner is ready."),
    ],
)
def test_without_a_question_it_follows_the_instructions_or_greets(
    instructions: str, said: str
) -> None:
    assert ask(instructions=instructions) == Say(said)
    answered = ("Hi", Turn("assistant", "Hello!"))
    assert ask(*answered, instructions=instructions) == Say(said)


def test_an_instruction_that_dictates_the_words_goes_before_all() -> None:
    said = ask("What time is it?", tools=TOOLS, instructions='You are kind. Say exactly: "Yes."')
    assert said == Say("Yes.")
