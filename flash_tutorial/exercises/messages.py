"""Every sentence that a check can say, in one file: translate this one, and a class reads its checks in its language.

``MESSAGES[exercise][key]``; the exercise "all" holds what belongs to none. Words in braces are filled in.
"""

MESSAGES = {
    "all": {
        # verdicts
        "not attempted": "not attempted",
        "raises": "raises",
        "wrong": "wrong",
        "right": "right",
        "recorded": "recorded: marked by a person",
        "points": "{got} of {of} points",
        "part": "{part}: {state}",
        "in case": 'in the case "{name}" ({sizes}): {said}',
        "in case plain": 'in the case "{name}": {said}',
        "likely": "Likely: {said}",
        "next hint": 'hint("{exercise}") gives a hint; there are three.',
        # what came back
        "none": "Your function returned None: is a `return` missing?",
        "value": "expected {expected}, got {got}.",
        "type": "expected a value of type {expected}, got {got}.",
        "keys": "expected the keys {expected}, got {got}.",
        "several": "expected {expected} values, got {got}.",
        "place": "value {number}: ",
        "shape": "expected the shape {expected}, got {got}.",
        "dtype": "expected numbers of type {expected}, got {got}.",
        "first": "first difference{place}: expected {expected}, got {got} ({bad} of {of} differ).",
        "single": "Values agree to 7 digits only: somewhere the numbers pass through float32.",
        "zeros": "Every value is zero.",
        "changed": "Your function changed its argument {argument}. Copy it first; the caller still needs it.",
        "input": "You returned the input as it came.",
        # what went wrong on the way
        "error": "{kind}: {said}",
        "at line": "in your line: {line}",
        "shut": "Your function calls `{function}`. This exercise asks for your own code.",
        "missing": "{name} is not defined.",
        "asks": "Your answer asks for input from the keyboard. Nobody answers while it is checked.",
        # tests that a student writes
        "passes fault": 'Your test passes a faulty version: "{name}".',
        "fails right": 'Your test fails a version that is right: "{name}".',
        "held out": "Your test passes one of the held-out faulty versions.",
        # words
        "too short": "At least {least} words are needed; there are {words}.",
        "too long": "At most {most} words; there are {words}.",
        "needs": "Something is missing that the question asks for: {what}.",
        # progress
        "no exercise yet": "no exercise was checked yet",
        "no more hints": "That was the last hint.",
    },
    # ---- set 05
    "05.1": {
        "strided": "Chunk 0 holds tokens 0, G, 2G: the tokens of a chunk are neighbours.",
        "C first": "The first axis must be the number of chunks G, not C.",
        "front": "Padded at the front: every chunk border moved.",
        "whole chunk": "T = 8, C = 4 makes two chunks. You add a whole chunk of zeros where C divides T.",
        "tail dropped": "The last tokens are gone: T need not be a multiple of C.",
        "repeated": "Padding must be zero: it would be read.",
    },
    "05.2": {
        "inclusive": "Chunk g reads itself: inside a chunk that is the future.",
        "late": "With a lag of 1, chunk 1 must read chunk 0.",
        "last only": "Older chunks are forgotten.",
        "one more": "With a lag of 1, chunk g has g earlier chunks, not g + 1.",
        "any lag": "With a lag of 2, chunk g has g - 1 chunks to read, not g.",
        "over all": "Divided by G: the divisor may not know how long the text will become.",
        "nan": "The first chunk is NaN: 0 / 0.",
        "rolled": "Chunk 0 got the last chunk's sum: `roll` goes round.",
        "sum": "The mean was asked: right for chunk 1, twice too large for chunk 2.",
        "subtraction": "An inclusive sum minus the own chunk is equal on paper. In bfloat16 the own chunk leaks "
        "through rounding. Shift instead of subtracting.",
    },
    "05.3": {
        "bias inside": "With q_quad = 0 the local map must be relu2(bias): yours divides the bias as well.",
        "not over C": "The local part is too large: its scores are divided by C.",
        "over T": "Longer texts change the first chunk: divide by C, not by T.",
        "over sqrt S": "The scale of the local scores is C, not the root of the width.",
        "bias forgotten": "With q_quad = 0 the local part must not vanish: the bias is missing.",
        "mask before": "Masked places hold relu2(bias): mask after the bias is added.",
        "no mask": "Token 0 reads token 1: the local map needs a mask.",
        "strict": "A token sees itself.",
        "summary not over C": "The global part is C times too large: the mean is over tokens, not over chunks.",
        "inclusive": "The own chunk is in the sum: token 0 of chunk 1 reads the last token of chunk 1.",
        "inclusive over g": "The own chunk is in the sum, and the first chunk is not zero.",
        "one more": "Chunk g has g earlier chunks: the own one does not count.",
        "sum of means": "You add the means of the chunks: right for the second chunk, g times too large in chunk g.",
        "rolled": "The first chunk reads the last one.",
        "last only": "Chunk 2 does not read chunk 0.",
        "late": "Nobody reads the chunk before: no leak, and yet wrong.",
        "over all": "The first chunks change when the text grows: divide by the tokens that were read.",
        "own left out": "Without a mask the own chunk is in the sum too.",
        "places": "The last chunk may hold fewer than C tokens: count those that are there.",
        "relu": "No function stands on the linear heads: q_lin and k_lin may be negative.",
        "local only": "Chunk 1 does not read chunk 0: the global part is missing.",
        "global only": "Tokens of one chunk do not read each other: the local part is missing.",
    },
    "05.4": {
        "weak: last token": "You change the last token only: that passes a layer that never reads the chunk before.",
        "weak: first of chunk": "You change first tokens of chunks only: all tokens before them are in other chunks, "
        "so an inclusive sum passes.",
        "weak: one chunk": "With one chunk the global part never acts.",
        "weak: full chunks": "T divisible by C passes a leak in the last partial chunk.",
        "weak: allclose": "`allclose` passes subtraction instead of a shift. Compare for equality.",
        "weak: leaks only": "You look for leaks only. Ask also that everything earlier is read.",
        "weak: one reading": "You compare with one reading: the sum form is right as well.",
        "the mean over earlier chunks": 'Your test fails a layer that is right: "the mean over earlier chunks".',
        "the bare sum": 'Your test fails a layer that is right: "the bare sum".',
        "small weights": "Your test fails a layer that is right, with small weights: compare for equality.",
        "inclusive sum": 'Your test passes a faulty layer: "inclusive sum".',
        "no local mask": 'Your test passes a faulty layer: "no local mask".',
        "a leak in the last partial chunk only": 'Your test passes a faulty layer: "a leak in the last partial chunk".',
        "an inclusive sum with weights of 0.0001": 'Your test passes a faulty layer: "an inclusive sum, weak".',
        "subtraction instead of a shift": 'Your test passes a faulty layer: "subtraction instead of a shift".',
        "one chunk too far back": 'Your test passes a faulty layer: "one chunk too far back".',
        "local only": 'Your test passes a faulty layer: "local only".',
        "global only": 'Your test passes a faulty layer: "global only".',
        "diagonal hidden": 'Your test passes a faulty layer: "diagonal hidden".',
        "rolled": 'Your test passes a faulty layer: "rolled".',
    },
    "05.5": {
        "suspect_one left": "suspect_one: a later token of a chunk still moves an earlier one, through the sum.",
        "suspect_two left": "suspect_two: in bfloat16 an output still moves when a later token of its chunk moves.",
        "suspect_three left": "suspect_three: the first outputs still differ when only the number of chunks differs.",
        "over-mended": "Now nothing older is read: you removed the sum with the leak.",
        "detached": "The value still leaks; you only hid the gradient.",
        "other format": "Mend the sum, not the number format: the caller runs in bfloat16.",
        "by position": "The divisor is C at every place, not the place itself.",
    },
    "05.6": {
        "a: C": "a: on average half of it, and 1 right behind a border.",
        "a: from 0": "a: a token reads itself, so count from 1.",
        "b: one more": "b: the own chunk is not a summary yet.",
        "c: S or E": "c: set C (S + E) equal to 2 S E.",
        "c: one product": "c: the sum is built and read: two products.",
        "d: different": "d: with one chunk there is no earlier chunk, and C = T is the divisor.",
        "e: the same": "e: without a mask the one chunk is in the linear sum as well.",
        "f: exactly": "f: the diagonal of the local part is left.",
    },
    # ---- end of the sets
}


def say(exercise, key, /, **fields):
    """The sentence of an exercise, or of all."""
    table = MESSAGES.get(exercise, {})
    text = table[key] if key in table else MESSAGES["all"][key]
    return text.format(**fields) if fields else text
